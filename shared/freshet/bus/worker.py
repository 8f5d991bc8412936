"""A worker that RQ's own tools see: registered, beating, taking RQ's commands, reading RQ's queues.

Purpose: `rq info`, dashboards and `send_shutdown_command` work on ours; the loop around it is the supervisor's.
Guarantees: no message is ever deserialised or called: its id names a bundle row or it is dropped; a message lost
between pop and claim costs nothing, since the bundle's row is still unclaimed and is published again. Never: RQ's
retries, results, callbacks, scheduler or maintenance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis
from rq import SimpleWorker
from rq.command import parse_payload
from rq.worker import WorkerStatus

from freshet.bus.bus import bundle_of, job_key
from freshet.bus.connection import LONGEST_BLOCK, connect, translated

#: Seconds that RQ's registration outlives its last heartbeat.
REGISTRATION_TTL = 60


class QueueWorker(SimpleWorker):
    """RQ registration and the pop of messages. One thread pops; another may call `beat`."""

    def __init__(self, url: str, *, name: str, queues: Sequence[str], stop: Callable[[int], None]) -> None:
        """`stop` is called with a bundle's id, in another thread, when that bundle shall be stopped.

        Connects: RQ looks up its own address at birth. Raises UnreachableError.
        """
        with translated():
            super().__init__(
                list(queues),
                name=name,
                connection=connect(url, name=name),
                serializer="json",
                worker_ttl=REGISTRATION_TTL,
                log_job_description=False,
            )
        self._pops = connect(url, name=f"{name} pop")
        self._keys = [queue.key for queue in self.queues]
        self._stop = stop
        self._ours = False  # the name was registered by us
        self._served: str | None = None  # the key of RQ's hash of the message that was popped last

    def enter(self) -> None:
        """Register and listen for commands; again if that was interrupted. Raises ValueError if the name is taken."""
        with translated():
            self._register()
            if self.pubsub_thread is None:
                self.subscribe()

    def _register(self) -> None:
        try:
            self.register_birth()
        except redis.RedisError:
            self._ours = True  # or it may be: the answer was lost
            raise
        except ValueError:
            if not self._ours:
                raise
        self._ours = True

    def leave(self) -> None:
        """Sign off and stop listening."""
        with translated():
            self.teardown()

    def beat(self, *, busy: bool) -> None:
        """Refresh the registration; register again after a flush took it away."""
        with translated():
            if not self.connection.exists(self.key):
                self.register_birth()
            with self.connection.pipeline(transaction=False) as pipe:
                self.heartbeat(pipeline=pipe)
                self.set_state(WorkerStatus.BUSY if busy else WorkerStatus.IDLE, pipeline=pipe)
                pipe.execute()

    def pop(self, *, seconds: float = LONGEST_BLOCK) -> int | None:
        """The bundle that the next message names, blocking up to `seconds` (2 at the longest); None without one."""
        with translated():
            answer = self._forget_and_pop(max(0.01, min(seconds, LONGEST_BLOCK)))
        if answer is None:
            return None
        self._keys = turned(self._keys, answer[0].decode())
        bundle = bundle_of(answer[1].decode(errors="replace"))
        self._served = None if bundle is None else job_key(bundle)
        return bundle

    def _forget_and_pop(self, seconds: float) -> Any:
        # Several queues want BLPOP, which keeps no copy: the bundle's row is the copy. RQ's hash of the message before
        # goes in the same round trip, when nobody waits for it; what a death leaves behind of it expires.
        with self._pops.pipeline(transaction=False) as pipe:
            if self._served is not None:
                pipe.unlink(self._served)
            pipe.blpop(self._keys, timeout=seconds)
            answer = pipe.execute()[-1]
        self._served = None
        return answer

    def handle_payload(self, message: Any) -> None:
        """Our own command besides RQ's: stop a bundle."""
        payload = parse_payload(message)
        if payload.get("command") == "freshet-stop":
            self._stop(int(payload["bundle"]))
        else:
            super().handle_payload(message)


def turned(keys: list[str], served: str) -> list[str]:
    """The keys in the order in which the next pop looks at them: the one that was served goes last.

    BLPOP takes from the first key that holds something. In a fixed order, a queue that does not run dry would starve
    all that come after it: the end of a small map waited for all of a wide one.
    """
    place = keys.index(served) + 1
    return keys[place:] + keys[:place]
