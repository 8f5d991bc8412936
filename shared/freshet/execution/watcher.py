"""Job services in flight, watched in bulk.

Purpose: one worker of an installation polls one statement for all jobs and ends those that are over. Guarantees: a job
is ended once, by the same delete as everything else; a transient error of Snowflake's fails no task; what is shown is
read before the rows; a turn costs one statement about all jobs, one about all pools while some job waits for one, and
a bounded number about single jobs: logs of those that run (`freshet.execution.log_tail`), reasons of those that wait
(`freshet.execution.pending`), ends; besides, one for each job with a timeout when it is first
seen running. Never: a drop, which is for `freshet.execution.reaper` to decide.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from freshet.bus import Bus
from freshet.domain.model import JobServiceSpec
from freshet.execution.contract import Item, Outcome
from freshet.execution.job_outcome import gone, not_started, outcome_of, timed_out
from freshet.execution.job_result import speaker, speaker_of, with_rows
from freshet.execution.job_service import index_path, job_prefix
from freshet.execution.log_tail import LogTail
from freshet.execution.payload import Definitions
from freshet.execution.pending import Pending
from freshet.execution.reaper import Reaper
from freshet.execution.watch_loop import Candidate, Rhythm, Watched, WatchLoop
from freshet.runtime import fault, log
from freshet.runtime.beside import Spawn, in_thread
from freshet.runtime.clock import Clock
from freshet.snowflake import JobRow, JobServices, JobStatus, SnowflakeRefusedError
from freshet.storage.database import Row
from freshet.storage.worker_store import WorkerStore

#: Seconds between two candidacies of those that stand by.
STANDBY = 5.0
#: Jobs that one turn ends at most: the logs of those that run must not wait for all of them.
ENDS = 100
#: Seconds between two looks for jobs that nobody owns while no attempt has one, at most.
REAP_EVERY = 60.0


def utc_now() -> dt.datetime:
    """The time of this machine."""
    return dt.datetime.now(dt.UTC)


class Watcher(WatchLoop):
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
        rhythm = Rhythm(name="watcher", wake="watcher", standby=STANDBY, poll=poll)
        super().__init__(rhythm, bus=bus, candidate=candidate, clock=clock, spawn=spawn, close=jobs.close)
        self._jobs = jobs
        self._store = store
        self._definitions = definitions
        self._installation = installation
        self._result_limit = result_limit
        self._ran_before: dict[str, float] = {}  # seconds that a job had run when it was first seen running
        self._seen_at: dict[str, float] = {}  # and when that was
        self._missing: set[str] = set()  # watched, but not shown at the last poll
        self._speakers: dict[str, str] = {}  # the container whose log counts, by job
        self._tail = LogTail(jobs, store=store, clock=clock, limit=log_limit, container_of=self._speaker)
        self._pending = Pending(jobs, store=store, clock=clock)
        self._reaper = Reaper(
            jobs,
            store=store,
            installation=installation,
            clock=clock,
            keep=keep,
            last_look=lambda job: self._tail.last_of_stopped(job, installation()),
        )
        self._look_every = min(REAP_EVERY, keep)
        self._shown = 0  # jobs of ours at the last poll, without those of which only the name is kept
        self._reaped_at = float("-inf")
        self._now = now

    def _at_most(self) -> float:
        """What prints fast is looked at sooner than all else has a reason to be."""
        return self._tail.danger_in()

    def _is_waited_for(self) -> bool:
        return bool(self._shown)

    def _woken(self) -> None:
        self._reaped_at = float("-inf")  # there is something to see, be it a job that is nobody's

    # --- one turn ---------------------------------------------------------------------------------------------------

    def turn(self) -> Watched:
        """Poll once, if this worker has the watch. Raises UnreachableError."""
        if not self._candidate.campaign():
            self._tail.follow([])  # another one reads the logs now, and nothing here is urgent
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
        self._missing = names - shown.keys()
        reaped = self._reaper.reap([job for name, job in shown.items() if name not in names])
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
        if spec is None or job.status is not JobStatus.PENDING:
            return None
        if watch["waiting_s"] <= spec.start_timeout and not self._pending.is_unpullable(name):
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


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
