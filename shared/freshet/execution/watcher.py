"""Job services in flight, watched in bulk.

Purpose: one worker of an installation polls one statement for all jobs and ends those that are over. Guarantees: a job
is ended once, by the same delete as everything else; a transient error of Snowflake's fails no task; what is shown is
read before the rows; a turn costs one statement about all jobs, one about all pools while some job waits for one, and
a bounded number about single jobs: logs of those that run (`freshet.execution.log_tail`), reasons of those that wait
(`freshet.execution.pending`), ends. Never: a drop, which is for `freshet.execution.reaper` to decide.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.domain.model import JobServiceSpec
from freshet.execution.contract import Item, Outcome
from freshet.execution.job_outcome import gone, not_started, outcome_of, timed_out
from freshet.execution.job_result import speaker, speaker_of, with_rows
from freshet.execution.job_service import index_path, job_prefix
from freshet.execution.log_tail import LogTail
from freshet.execution.payload import Definitions
from freshet.execution.pending import Pending
from freshet.execution.reaper import Reaper
from freshet.runtime import fault, log
from freshet.runtime.beside import Running, Spawn, in_thread
from freshet.runtime.clock import Clock
from freshet.runtime.service import backoff
from freshet.snowflake import JobRow, JobServices, JobStatus, SnowflakeRefusedError
from freshet.storage.database import Row
from freshet.storage.worker_store import WorkerStore

#: Seconds between two polls right after something changed.
QUICK = 0.2
#: Seconds between two looks while no job is in flight, and between two candidacies of those that stand by.
CALM, STANDBY = 10.0, 5.0
#: Jobs that one turn ends at most: the logs of those that run must not wait for all of them.
ENDS = 100
#: Seconds between two looks for jobs that nobody owns while no attempt has one, at most.
REAP_EVERY = 60.0


def utc_now() -> dt.datetime:
    """The time of this machine."""
    return dt.datetime.now(dt.UTC)


class Candidate(Protocol):
    """One of the workers that could watch."""

    def campaign(self) -> bool:
        """Whether this one does."""
        ...

    def resign(self) -> None:
        """Let another one do it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What one turn did."""

    leads: bool = True
    ended: int = 0
    reaped: int = 0
    in_flight: int = 0


class Watcher:
    """One worker's candidacy for the watch, and the watch itself."""

    def __init__(
        self,
        jobs: JobServices,
        *,
        store: WorkerStore,
        bus: Bus,
        candidate: Candidate,
        definitions: Definitions,
        installation: Callable[[], str],
        clock: Clock,
        poll: float,
        keep: float,
        result_limit: int,
        log_limit: int,
        spawn: Spawn = in_thread,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        """`poll`: seconds between two polls while nothing changes; `keep`: see Reaper; limits in bytes; `now` is
        compared to Snowflake's times.
        """
        self._jobs = jobs
        self._store = store
        self._bus = bus
        self._candidate = candidate
        self._definitions = definitions
        self._installation = installation
        self._clock = clock
        self._poll = poll
        self._result_limit = result_limit
        self._ran_before: dict[str, float] = {}  # seconds that a job had run when it was first seen running
        self._seen_at: dict[str, float] = {}  # and when that was
        self._missing: set[str] = set()  # watched, but not shown at the last poll
        self._speakers: dict[str, str] = {}  # the container whose log counts, by job
        self._tail = LogTail(jobs, store=store, clock=clock, limit=log_limit, container_of=self._speaker)
        self._pending = Pending(jobs, store=store)
        self._reaper = Reaper(jobs, store=store, installation=installation, clock=clock, keep=keep)
        self._look_every = min(REAP_EVERY, keep)
        self._shown = 0  # jobs of ours at the last poll, without those of which only the name is kept
        self._reaped_at = float("-inf")
        self._end = threading.Event()
        self._spawn = spawn
        self._now = now
        self._beside: Running | None = None

    # --- the thread -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Watch in a thread of its own."""
        self._beside = self._spawn("watcher", self.run)

    def end(self) -> None:
        """Stop watching and let another worker do it."""
        self._end.set()
        if self._beside is not None:
            self._beside.join(STANDBY)
        self._candidate.resign()
        self._jobs.close()

    def run(self) -> None:
        """Turn after turn until the end."""
        wait, failures = QUICK, 0
        while not self._end.is_set():
            try:
                turn = self.turn()
                failures = 0
                wait = self._next_wait(turn, wait)
                # What prints fast is looked at sooner than all else has a reason to be.
                self._rest(turn, max(QUICK, min(wait, self._tail.danger_in())))
            except Exception as error:  # noqa: BLE001  (whatever it is, jobs go on and must be watched)
                failures += 1
                self._complain(error, failures)
                self._clock.wait(self._end, backoff(failures))

    def _complain(self, error: Exception, failures: int) -> None:
        if isinstance(error, UnreachableError):
            if failures == 1:
                log.logger().warning("server_unreachable", message=error.message)
            return
        log.logger().exception("watch_failed", message=str(error))
        self._candidate.resign()  # another worker may do better

    def _next_wait(self, turn: Watched, wait: float) -> float:
        if not turn.leads:
            return STANDBY
        if turn.ended or turn.reaped:
            return QUICK
        if not turn.in_flight and not self._shown:
            return CALM
        return min(self._poll, max(QUICK, wait) * 1.5) if wait <= self._poll else QUICK

    def _rest(self, turn: Watched, seconds: float) -> None:
        """Wait, but no longer than until a job is submitted; those that stand by must not take the wake-up away."""
        if not turn.leads:
            self._clock.wait(self._end, seconds)
            return
        until = self._clock.monotonic() + seconds
        while not self._end.is_set() and (left := until - self._clock.monotonic()) > 0:
            if self._bus.await_wake(["watcher"], seconds=left) is not None:
                self._reaped_at = float("-inf")  # there is something to see, be it a job that is nobody's
                return

    # --- one turn ---------------------------------------------------------------------------------------------------

    def turn(self) -> Watched:
        """Poll once, if this worker has the watch. Raises UnreachableError."""
        if not self._candidate.campaign():
            return Watched(leads=False)
        now = self._clock.monotonic()
        if not self._shown and now - self._reaped_at < self._look_every and not self._store.watched():
            return Watched()
        # Shown first, rows second: a job submitted in between has its row by the time the rows are read.
        prefix = job_prefix(self._installation())
        shown = {job.name: job for job in self._jobs.list_jobs(prefix)}
        watches = self._store.watched()
        ended = self._follow_all(watches, shown)
        self._look_into(watches, shown)
        names = {watch["job_name"] for watch in watches}
        reaped = self._reaper.reap([job for name, job in shown.items() if name not in names])
        self._missing = names - shown.keys()
        self._shown, self._reaped_at = len(shown) - self._reaper.kept, now
        self._forget(set(shown))
        return Watched(ended=ended, reaped=reaped, in_flight=len(watches) - ended)

    def _follow_all(self, watches: Sequence[Row], shown: Mapping[str, JobRow]) -> int:
        """Look at each watch until enough of them have ended; how many have."""
        ended = 0
        for watch in watches:
            ended += self._follow(watch, shown.get(watch["job_name"]))
            if ended == ENDS:
                break
        return ended

    def _look_into(self, watches: Sequence[Row], shown: Mapping[str, JobRow]) -> None:
        """What those that run have printed, and what the others wait for."""
        known = [(watch, shown[watch["job_name"]]) for watch in watches if watch["job_name"] in shown]
        running = [watch for watch, job in known if job.status is JobStatus.RUNNING]
        self._tail.follow(running)
        self._pending.explain([each for each in known if each[1].status is JobStatus.PENDING], running)

    def _follow(self, watch: Row, job: JobRow | None) -> bool:
        """Look at one watch; whether it was ended."""
        try:
            outcome = self._judge(watch, job)
            return outcome is not None and self._finish(watch, outcome)
        except SnowflakeRefusedError as error:
            log.logger(job=watch["job_name"]).warning("job_unreadable", message=error.message)
            return False

    def _judge(self, watch: Row, job: JobRow | None) -> Outcome | None:
        name: str = watch["job_name"]
        if job is None:
            # Submitted after the poll, most likely; only what is missing twice is gone.
            return gone(self._jobs.history(name), self._spec(watch)) if name in self._missing else None
        if job.status.is_terminal:
            text = self._tail.last(watch)
            containers = [] if job.status is JobStatus.DONE else self._jobs.containers(name)
            outcome = outcome_of(job.status, containers, text, limit=self._result_limit)
            return with_rows(outcome, job, self._jobs, limit=self._result_limit)
        if job.status is JobStatus.RUNNING:
            return self._running(watch, name)
        return self._waiting(watch, job, name)

    def _running(self, watch: Row, name: str) -> Outcome | None:
        timeout: float | None = watch["timeout_s"]
        if timeout is None or self._run_time(watch, name) <= timeout:
            return None
        self._tail.last(watch)
        self._jobs.cancel(name)
        return timed_out(timeout)

    def _run_time(self, watch: Row, name: str) -> float:
        """Seconds since the container's start: asked for once, then counted here."""
        now = self._clock.monotonic()
        if name not in self._seen_at:
            started = next((each.started_on for each in self._jobs.containers(name) if each.started_on), None)
            since = 0.0 if started is None else (self._now() - _aware(started)).total_seconds()
            # The two clocks may differ, but no container has run for longer than since its submit. That is negative
            # if the database's clock was put back meanwhile: then the timeout would be as late as it went back.
            self._ran_before[name] = max(0.0, min(since, watch["waiting_s"]))
            self._seen_at[name] = now
        return self._ran_before[name] + now - self._seen_at[name]

    def _waiting(self, watch: Row, job: JobRow, name: str) -> Outcome | None:
        spec = self._spec(watch)
        if spec is None or job.status is not JobStatus.PENDING or watch["waiting_s"] <= spec.start_timeout:
            return None
        containers = self._jobs.containers(name)
        self._jobs.cancel(name)
        return not_started(spec.start_timeout, containers, job, self._jobs.pool(job.compute_pool))

    def _finish(self, watch: Row, outcome: Outcome) -> bool:
        item = Item(key=watch["items"][0], attempt=watch["attempts"][0], index=index_path(watch), payload=None)
        seconds = self._ran_before.get(watch["job_name"], 0.0)
        if watch["job_name"] in self._seen_at:
            seconds += self._clock.monotonic() - self._seen_at[watch["job_name"]]
        document = outcome.document(item, seconds or watch["waiting_s"])
        fault.reach("watch.judged")
        if not self._store.finish_job(watch["id"], watch["job_name"], [document]):
            return False
        fault.reach("watch.ended")
        self._bus.wake_dispatcher([watch["partition"]])
        return True

    def _spec(self, watch: Row) -> JobServiceSpec | None:
        return self._definitions(watch["workflow"], watch["version"]).task(watch["task"]).job_service

    def _speaker(self, watch: Row) -> str:
        """The container whose log is the attempt's."""
        name = watch["job_name"]
        if name not in self._speakers:
            self._speakers[name] = speaker(self._spec(watch)) or speaker_of(self._jobs.containers(name))
        return self._speakers[name]

    def _forget(self, shown: set[str]) -> None:
        for name in self._seen_at.keys() - shown:
            del self._seen_at[name], self._ran_before[name]
        for name in self._speakers.keys() - shown:
            del self._speakers[name]
        self._tail.forget(shown)


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
