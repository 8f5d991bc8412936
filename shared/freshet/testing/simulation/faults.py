"""What goes wrong, drawn from the seed: blows at single steps, and weather over all of them.

Purpose: crashes, lost answers, delays, outages, flushes, lost messages, stopped processes, jumping clocks. Guarantees:
whatever begins here ends with the storm; some seeds are calm, so that a break in them needs no fault. Never: a fault
that no machine could have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from freshet.domain.errors import UnreachableError
from freshet.runtime.fault import POINTS
from freshet.testing.simulation.installation import Installation
from freshet.testing.simulation.world import Killed, Process, Server

#: Points within a batch that holds its rows: nobody else may go on there, so nobody can be stopped there.
HELD = frozenset({"fold.taken", "fold.decided"})
NEVER = 1 << 60
#: Points around a job service.
JOB_POINTS = ("job.named", "job.named", "job.submitted", "watch.judged", "watch.ended")
#: Verbs whose lost answers somebody has to make up for.
VERBS = (
    *(
        "finish",
        "finish",
        "session.finish",
        "session.leave",
        "claim",
        "watch",
        "store_job_name",
        "finish_job",
        "submit",
        "progress",
    ),
    *("batch", "publish_backlog", "release_due", "release_workers", "expire_bundles", "unpublish"),
    *("publish", "wake", "announce", "pop", "enter", "register", "beat"),
    *("record", "due", "release_held", "create_run", "cancel", "campaign"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Storm:
    """How rough it gets."""

    seconds: float  # how long
    strike_every: float  # steps between two blows at single steps, in the mean; 0: none
    aim: tuple[str, int] | None  # a point, and which time it is reached, at which a process dies
    hangs: bool  # instead of dying it loses its sessions and stands still until the storm is over
    events: int  # of weather
    verb: str = ""  # one whose answers get lost often

    @classmethod
    def draw(cls, random: Random, *, jobs: bool) -> Storm:
        """One seed's. `jobs`: there are job services, and a fault at their own points is worth more than elsewhere."""
        calm = random.random() < 0.2
        points = (*POINTS, *(JOB_POINTS * 6 if jobs else ()))
        aim = (random.choice(points), random.choice((1, 1, 2, 3, 5))) if random.random() < 0.4 else None
        hangs = aim is not None and random.random() < 0.5
        return cls(
            # Who stands still is to find another one's work done when it goes on.
            seconds=40.0 if hangs else random.choice((6.0, 12.0, 20.0)),
            strike_every=0.0 if calm else random.choice((0.0, 30.0, 100.0, 300.0)),
            aim=aim,
            hangs=hangs,
            events=0 if calm else random.choice((0, 1, 2, 4, 8)),
            verb=random.choice(VERBS) if random.random() < 0.3 else "",
        )


@dataclass(kw_only=True)
class Weather:
    """The faults of one world."""

    installation: Installation
    storm: Storm
    over: bool = False
    jumped: bool = False  # the database's clock did
    said: list[str] = field(default_factory=list)
    _reached: int = 0
    _furthest: float = 0.0

    def __post_init__(self) -> None:
        self.world = self.installation.world
        self.random = self.world.random

    def begin(self) -> None:
        """Draw the weather, and wait for the first blow."""
        self.world.strike = self._strike
        self.world.aimed = self.storm.verb
        self._next_strike()
        kinds = self._kinds()
        for _ in range(self.storm.events):
            happens = self.random.choice(kinds)
            self.world.at(self.random.uniform(0.0, self.storm.seconds), partial(self._unless_over, happens))

    def end(self) -> None:
        """All is well from now on."""
        self.over = True
        self.world.strike_at, self.world.aimed = NEVER, ""
        installation = self.installation
        for server in (installation.postgres, installation.redis_server, installation.snowflake):
            server.down = False
        installation.redis.down = False
        installation.clock_offset = max(self._furthest, installation.clock_offset)
        for process in self.world.processes:
            process.resumes_at = min(process.resumes_at, self.world.now)
        self.world.stirred = True

    # --- blows at a step --------------------------------------------------------------------------------------------

    def reach(self, point: str) -> None:
        """The hook of freshet.runtime.fault: the current process is at a point. Raises Killed, UnreachableError."""
        actor = self.world.current
        if actor is None or not actor.process.alive:
            return
        if self.world.tracing is not None:
            self.world.tracing(actor.name, "reaches", point)
        aim = self.storm.aim
        if aim is not None and point == aim[0] and not self.over:
            self._reached += 1
            if self._reached == aim[1]:
                self._hit(actor.process, point)
        if self.world.steps >= self.world.strike_at:
            self._next_strike()
            draw = self.random.random()
            if draw < 0.7:
                self._crash(actor.process)
            elif point not in HELD:
                self._stop(actor.process)
                self.world.pause(0.0)

    def _hit(self, process: Process, point: str) -> None:
        if not self.storm.hangs or point in HELD:
            self._crash(process)
            return
        self._say(f"{process.name} is cut off and stands still")
        self.installation.tables.end_session(process.name)
        process.stop(self.storm.seconds)
        self.world.pause(0.0)

    def _strike(self, process: Process, server: Server | None, verb: str, what: str) -> None:
        if self.world.steps < self.world.strike_at:
            self._strike_aimed(process, server, verb)
            return
        self._next_strike()
        draw = self.random.random()
        if draw < 0.25:
            self._crash(process)
        elif draw < 0.75 and server is not None:
            self._lose(process, server, f"the {what} of {verb}")
        elif draw < 0.85:
            self._stop(process)
            self.world.pause(0.0)
        else:
            self.world.pause(self.random.choice((0.05, 0.5, 2.0, 4.0)))

    def _strike_aimed(self, process: Process, server: Server | None, verb: str) -> None:
        draw = self.random.random()
        if draw < 0.3 and server is not None:
            self._lose(process, server, f"the answer of {verb}")
        elif draw < 0.35:
            self._crash(process)

    def _lose(self, process: Process, server: Server, what: str) -> None:
        self._say(f"{process.name}: {what} is lost")
        raise UnreachableError(f"{server.name} can't be reached: the connection broke.")

    def _next_strike(self) -> None:
        every = self.storm.strike_every
        self.world.strike_at = (
            NEVER if not every or self.over else self.world.steps + 1 + int(self.random.expovariate(1 / every))
        )

    def _crash(self, process: Process) -> None:
        """The whole process dies, of a child its worker: a child that dies alone would be its item's failure."""
        while process.kind == "child":
            process = next(each for each in self.world.processes if process in each.children)
        if process.kind == "api":
            return
        self._say(f"{process.name} is killed")
        self.world.kill(process)
        current = self.world.current
        if current is not None and not current.process.alive:
            raise Killed

    def _stop(self, process: Process) -> None:
        seconds = self.random.choice((0.2, 1.0, 2.0, 4.0, 8.0))
        if process.kind == "worker" and self.random.random() < 0.1:
            seconds = self.installation.fleet.lease + 10.0
        self._say(f"{process.name} stands still for {seconds} s")
        process.stop(seconds)

    # --- weather ----------------------------------------------------------------------------------------------------

    def _kinds(self) -> list[Callable[[], None]]:
        kinds = [
            self._flush,
            self._restart_redis,
            self._redis_away,
            self._postgres_away,
            self._lose_message,
            self._double_message,
            self._shuffle_queue,
            self._lose_wakes,
            self._jump_clock,
            self._kill_someone,
            self._kill_someone,
            self._stop_someone,
            self._stop_someone,
            self._drain_someone,
        ]
        return [*kinds, self._snowflake_away] if self.installation.workload.jobs else kinds

    def _unless_over(self, happens: Callable[[], None]) -> None:
        if not self.over:
            happens()
            self.world.stirred = True

    def _say(self, sentence: str) -> None:
        if self.world.tracing is not None:
            self.world.tracing("weather", "", sentence)

    def _flush(self) -> None:
        self._say("Redis is flushed")
        self.installation.redis.flush()

    def _restart_redis(self) -> None:
        lose = self.random.choice((None, 1, 5, 30))
        seconds = self.random.choice((0.1, 1.0, 4.0))
        self._say(f"Redis restarts in {seconds} s without its newest {lose} commands")
        self._fall(self.installation.redis_server, seconds)
        self.installation.redis.restart(lose=lose)
        self.installation.redis.down = True

    def _redis_away(self) -> None:
        seconds = self.random.choice((0.3, 2.0, 6.0))
        self._say(f"Redis is away for {seconds} s")
        self._fall(self.installation.redis_server, seconds)
        self.installation.redis.down = True

    def _postgres_away(self) -> None:
        seconds = self.random.choice((0.1, 1.0, 5.0))
        self._say(f"Postgres is away for {seconds} s")
        self._fall(self.installation.postgres, seconds)
        self.installation.tables.end_sessions()

    def _snowflake_away(self) -> None:
        seconds = self.random.choice((1.0, 5.0))
        self._say(f"Snowflake is away for {seconds} s")
        self._fall(self.installation.snowflake, seconds)

    def _fall(self, server: Server, seconds: float) -> None:
        server.fall()
        epoch = server.epoch

        def rise() -> None:
            if server.epoch == epoch:
                server.down = False
                if server is self.installation.redis_server:
                    self.installation.redis.down = False
                self.world.stirred = True

        self.world.at(self.world.now + seconds, rise)

    def _queue(self) -> str | None:
        queues = [key for key, items in self.installation.redis.lists.items() if items and key.startswith("rq:queue:")]
        return self.random.choice(queues) if queues else None

    def _lose_message(self) -> None:
        if (queue := self._queue()) is not None:
            self._say(f"a message of {queue} is lost")
            self._change(queue, lambda items: items[1:])

    def _double_message(self) -> None:
        if (queue := self._queue()) is not None:
            self._say(f"a message of {queue} comes twice")
            self._change(queue, lambda items: (*items, items[0]))

    def _shuffle_queue(self) -> None:
        if (queue := self._queue()) is not None:
            self._say(f"{queue} is shuffled")
            self._change(queue, lambda items: tuple(self.random.sample(items, len(items))))

    def _lose_wakes(self) -> None:
        self._say("wake-ups are lost")
        for key in [key for key in self.installation.redis.lists if key.startswith("freshet:wake:")]:
            del self.installation.redis.lists[key]

    def _change(self, queue: str, change: Callable[[tuple[object, ...]], tuple[object, ...]]) -> None:
        lists = self.installation.redis.lists
        items = change(lists[queue])
        if items:
            lists[queue] = items
        else:
            del lists[queue]

    def _jump_clock(self) -> None:
        seconds = self.random.choice((-3600.0, -5.0, 5.0, 3600.0))
        self._say(f"the database's clock jumps by {seconds} s")
        self.jumped = True
        self._furthest = max(self._furthest, self.installation.clock_offset)
        self.installation.clock_offset += seconds

    def _someone(self) -> Process | None:
        alive = [each.process for each in self.installation.services if each.process and each.process.alive]
        return self.random.choice(alive) if alive else None

    def _kill_someone(self) -> None:
        if (process := self._someone()) is not None:
            self._crash(process)

    def _stop_someone(self) -> None:
        if (process := self._someone()) is not None:
            self._stop(self.random.choice([process, *process.children]))

    def _drain_someone(self) -> None:
        process = self._someone()
        service = None if process is None else self.installation.service_of(process)
        if service is not None:
            self._say(f"{service.kind}-{service.number} is told to end")
            service.stop()
