"""The logs of job services while they run.

Purpose: what containers write is read in windows, and what is new in each is added to the attempt's log. Guarantees: a
turn reads a bounded number of logs, whoever is in danger of outrunning the window first, then whoever was not looked at
for longest; what is kept is read from the tables each time, so another watcher goes on where this one stopped; a part
is written only after the one before it. Never: a failure of a task; at most a
line in the log that something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from freshet.domain.errors import FreshetError, UnreachableError
from freshet.execution.attempt_log import AttemptLog
from freshet.execution.job_service import index_path, job_name
from freshet.execution.job_specification import attempt_of
from freshet.execution.log_window import GAP, WINDOW, news, settled
from freshet.runtime import fault, log
from freshet.runtime.clock import Clock
from freshet.snowflake import JobRow, JobServices, SnowflakeRefusedError
from freshet.snowflake.jobs import MAIN_CONTAINER
from freshet.storage.database import Row
from freshet.storage.worker_store import JobLog, KeptLog, LogPart, WorkerStore

#: Logs that are read in one turn at most, besides those of jobs that have ended.
READS = 25
#: Seconds between two looks at a job that writes, and at one that has not written for a while.
LIVELY, SLOWEST = 2.0, 15.0
#: Seconds to the second look at a job that had written nothing at the first: nobody knows yet how fast it is.
SECOND_LOOK = 3.0
#: The part of the window that may be filled between two looks.
SHARE = 0.25


@dataclass(slots=True)
class Pace:
    """How fast one job writes. Moments of the monotonic clock, seconds."""

    looked: float  # when its log was read last, or the job was first seen running
    due: float
    pause: float = LIVELY
    looks: int = 0
    danger: float = float("inf")  # when so much may have been written that the next look should not wait

    def wrote(self, size: int, now: float) -> None:
        """So many bytes were new now."""
        fill = max(now - self.looked, 1e-3) * WINDOW / size if size else float("inf")
        self.pause = LIVELY if size else min(SLOWEST, self.pause * 1.5)
        self.looks += 1
        within = SECOND_LOOK if not size and self.looks == 1 else SHARE * fill
        self.looked, self.danger = now, now + within
        self.due = min(now + self.pause, self.danger)


class LogTail:
    """One watcher's reading of logs."""

    def __init__(
        self,
        jobs: JobServices,
        *,
        store: WorkerStore,
        clock: Clock,
        limit: int,
        reads: int = READS,
        container_of: Callable[[Row], str] = lambda _: MAIN_CONTAINER,
    ) -> None:
        """`limit`: bytes that are kept of an attempt's log; `reads`: logs that one turn reads at most; `container_of`
        names the container of a watch's job whose log is read.
        """
        self._container_of = container_of
        self._jobs = jobs
        self._store = store
        self._clock = clock
        self._limit = limit
        self._reads = reads
        self._paces: dict[str, Pace] = {}
        self._full: set[str] = set()  # jobs of whose log nothing more is kept

    def follow(self, running: Iterable[Row]) -> int:
        """Read on in the logs of the jobs that run, all of them; how many were read. Raises UnreachableError."""
        now, watches = self._clock.monotonic(), list(running)
        self._full &= {watch["job_name"] for watch in watches}
        watches = [watch for watch in watches if watch["job_name"] not in self._full]
        # Whoever is not followed any more is in danger of nothing.
        self._paces = {watch["job_name"]: self._pace(watch["job_name"], now) for watch in watches}
        wanted = [(pace, watch) for watch in watches if (pace := self._paces[watch["job_name"]]).due <= now]
        wanted.sort(key=lambda each: (min(each[0].danger, now), each[0].looked))
        for _, watch in wanted[: self._reads]:
            self._read(watch)
        return min(len(wanted), self._reads)

    def danger_in(self) -> float:
        """Seconds until a job may have written so much that its log should be read; infinite if none will."""
        soonest = min((pace.danger for pace in self._paces.values()), default=float("inf"))
        return soonest - self._clock.monotonic()

    def last(self, watch: Row) -> str:
        """The last window of a job that has ended, after what is new in it was kept. Raises UnreachableError."""
        name: str = watch["job_name"]
        try:
            window = _storable(self._jobs.logs(name, self._container_of(watch)))
        except SnowflakeRefusedError as error:
            sentence = f"[Freshet: Snowflake refused to hand out the log: {error.message}]\n"
            where = log_of(watch)
            if (kept := self._kept(where)) is not None and not kept.tail.endswith(sentence):
                self._write(where, kept, [sentence])
            return sentence
        self._keep(log_of(watch), window)
        return window

    def last_of_stopped(self, job: JobRow, installation: str) -> None:
        """Keep what a job that nobody watches has printed since the last look, if we have stopped it.

        Raises UnreachableError.
        """
        where = log_of_job(job, installation)
        found = None if where is None else self._store.stopped(where)
        if where is None or found is None:
            return
        whose = {"job_name": job.name, "task": where.task, "workflow": found[0], "version": found[1]}
        try:
            window = _storable(self._jobs.logs(job.name, self._container_of(whose)))
        except SnowflakeRefusedError as error:
            log.logger(job=job.name).info("log_unreadable", message=error.message)
            return
        self._keep(where, window)

    def _pace(self, name: str, now: float) -> Pace:
        return self._paces.get(name) or Pace(looked=now, due=now)

    def _read(self, watch: Row) -> None:
        name: str = watch["job_name"]
        pace = self._paces[name]  # its own, also if nothing more of the log is kept after this
        try:
            window = settled(_storable(self._jobs.logs(name, self._container_of(watch))))
        except SnowflakeRefusedError as error:
            log.logger(job=name).info("log_unreadable", message=error.message)  # the last look says it to the user
            pace.wrote(0, self._clock.monotonic())
            return
        size = self._keep(log_of(watch), window)
        pace.wrote(size, self._clock.monotonic())

    def _keep(self, where: JobLog, window: str) -> int:
        """Add what is new to the attempt's log; how many bytes were."""
        kept = self._kept(where) if window else None
        if kept is None:
            return 0
        found = news(kept.tail, window)
        if found.text:
            self._write(where, kept, [GAP, found.text] if found.gap else [found.text])
        return len(found.text.encode("utf-8", "replace"))

    def _kept(self, where: JobLog) -> KeptLog | None:
        return self._store.kept_log(where, window=2 * WINDOW, gap=GAP)

    def _write(self, where: JobLog, kept: KeptLog, texts: Sequence[str]) -> None:
        capped = AttemptLog(where.item, where.attempt, limit=self._limit, kept=kept.size, number=kept.parts)
        parts = [part for text in texts if (part := _part(capped, text)) is not None]
        if capped.full:
            self._full.add(where.job)
            self._paces.pop(where.job, None)
        if not parts:
            return
        try:
            self._store.write_job_log(where, parts)
        except UnreachableError:
            raise
        except FreshetError as error:
            log.logger(job=where.job).warning("log_lost", message=error.message)
        fault.reach("watch.logged")


def log_of(watch: Row) -> JobLog:
    """Whose log it is. A watch has no claim; the job's name says as well who wrote this."""
    name: str = watch["job_name"]
    return JobLog(
        bundle=watch["id"],
        job=name,
        run_id=watch["run_id"],
        task=watch["task"],
        item=index_path(watch),
        attempt=watch["attempts"][0],
        claim=uuid5(NAMESPACE_URL, name),
    )


def log_of_job(job: JobRow, installation: str) -> JobLog | None:
    """The same by what a job's comment says of itself; None if its name says something else."""
    named = attempt_of(job.comment)
    if named is None or job.name != job_name(installation, *named):
        return None
    run, task, item, attempt = named
    claim = uuid5(NAMESPACE_URL, job.name)
    return JobLog(bundle=None, job=job.name, run_id=run, task=task, item=item, attempt=attempt, claim=claim)


def _part(capped: AttemptLog, text: str) -> LogPart | None:
    capped.add(text.encode("utf-8", "replace"))
    return capped.take()


def _storable(text: str) -> str:
    """As it will be read again: Postgres has no text with NUL in it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
