"""Scripts at work on Snowflake, watched in bulk.

Purpose: one worker of an installation asks the query history of a connection for all scripts in flight, ends the
watches of those that are over, and aborts what no attempt owns (a cancelled run's, an expired try's). Guarantees: a
watch is ended once, by the same delete as everything else; a transient error of Snowflake's fails no task; what runs is
read before the rows that own it. Never: a statement for each script, except at its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from freshet.bus import Bus
from freshet.domain.errors import FreshetError, UnreachableError
from freshet.domain.model import SqlSpec
from freshet.execution.attempt_log import AttemptLog
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.job_service import index_path
from freshet.execution.payload import Definitions
from freshet.execution.query import run_of_tag, tag_of, tag_prefix, wake_name
from freshet.execution.query_outcome import failure, lost, timed_out
from freshet.execution.sql import plain
from freshet.execution.values import ValueRefusedError, encode
from freshet.execution.watch_loop import Candidate, Rhythm, Watched, WatchLoop
from freshet.runtime import fault, log
from freshet.runtime.beside import Spawn, in_thread
from freshet.runtime.clock import Clock
from freshet.snowflake import Queries, QueryRow, SnowflakeRefusedError
from freshet.snowflake.queries import SEVERAL
from freshet.storage.database import Row
from freshet.storage.worker_store import WorkerStore

KIND = "sql"
#: Seconds between two looks for scripts that nobody owns while no watch has gone without us.
REAP_EVERY = 60.0
#: Seconds between two candidacies of those that stand by.
STANDBY = 15.0
#: Seconds after which a script that the history does not show is a loss.
UNSEEN = 60.0


class QueryWatcher(WatchLoop):
    """One worker's candidacy for the watch of one connection, and the watch itself."""

    def __init__(
        self,
        queries: Queries,
        *,
        connection: str,
        store: WorkerStore,
        bus: Bus,
        candidate: Candidate,
        definitions: Definitions,
        installation: Callable[[], str],
        clock: Clock,
        poll: float,
        result_limit: int,
        log_limit: int,
        spawn: Spawn = in_thread,
    ) -> None:
        """`poll`: seconds between two polls while nothing changes; limits in bytes."""
        rhythm = Rhythm(name=f"queries-{connection}", wake=wake_name(connection), standby=STANDBY, poll=poll)
        super().__init__(rhythm, bus=bus, candidate=candidate, clock=clock, spawn=spawn, close=queries.close)
        self._queries = queries
        self._connection = connection
        self._store = store
        self._definitions = definitions
        self._installation = installation
        self._result_limit = result_limit
        self._log_limit = log_limit
        self._seen_at: dict[str, float] = {}  # when a watch was first seen, by its tag
        self._reaped_at: float | None = None
        self._worked_at = float("-inf")

    # --- one turn ---------------------------------------------------------------------------------------------------

    def turn(self) -> Watched:
        """Poll once, if this worker has the watch. Raises UnreachableError."""
        if not self._candidate.campaign():
            return Watched(leads=False)
        watches = [(watch, spec) for watch in self._store.watched(KIND) if (spec := self._spec(watch)) is not None]
        names = {watch["job_name"] for watch, _ in watches}
        gone = self._seen_at.keys() - names
        self._seen_at = {name: self._seen_at.get(name, self._clock.monotonic()) for name in names}
        shown = self._shown(sorted(names))
        ended = sum(self._follow(watch, spec, shown.get(watch["job_name"], [])) for watch, spec in watches)
        reaped = self._reap() if gone or self._reap_due(working=bool(names)) else 0
        return Watched(ended=ended, reaped=reaped, in_flight=len(watches) - ended)

    def _spec(self, watch: Row) -> SqlSpec | None:
        spec = self._definitions(watch["workflow"], watch["version"]).task(watch["task"]).sql
        return spec if spec is not None and spec.on == self._connection else None

    def _shown(self, tags: Sequence[str]) -> Mapping[str, list[QueryRow]]:
        shown: dict[str, list[QueryRow]] = defaultdict(list)
        for row in self._queries.tagged(tags):
            shown[row.tag].append(row)
        return shown

    def _follow(self, watch: Row, spec: SqlSpec, rows: list[QueryRow]) -> bool:
        """Look at one watch; whether it was ended."""
        try:
            outcome = self._judge(watch, spec, rows)
            return outcome is not None and self._finish(watch, outcome, rows)
        except SnowflakeRefusedError as error:
            log.logger(query=watch["job_name"]).warning("query_unreadable", message=error.message)
            return False

    def _judge(self, watch: Row, spec: SqlSpec, rows: list[QueryRow]) -> Outcome | None:
        timeout: float | None = watch["timeout_s"]
        waited = self._waited(watch)
        if not rows:
            message = "Snowflake's query history does not show the script: nobody knows what became of it."
            return lost(message) if waited > UNSEEN else None
        if rows[0].running:
            return self._expire(rows, timeout) if timeout is not None and waited > timeout else None
        if rows[0].failed:
            return failure(rows, spec.text, timeout)
        if rows[0].type == SEVERAL and len(rows) == 1 and waited <= UNSEEN:
            return None  # its statements are not shown yet, and the last one has the result
        return self._result(rows[-1])

    def _waited(self, watch: Row) -> float:
        """Seconds since its submit. The database's clock may be put back; since it was first seen it has run, too."""
        seen: float = self._clock.monotonic() - self._seen_at[watch["job_name"]]
        waiting: float = watch["waiting_s"]
        return max(seen, waiting)

    def _expire(self, rows: Sequence[QueryRow], timeout: float) -> Outcome:
        for row in rows:
            if row.running:
                self._queries.abort(row.id)
        return timed_out(timeout)

    def _result(self, last: QueryRow) -> Outcome:
        try:
            value = self._rows(last)
        except (SnowflakeRefusedError, ValueRefusedError) as error:
            message = f"The rows of the script's last statement can't be kept: {error.message}."
            return failed(message, query_id=last.id, type="ValueError")
        return Outcome(status="succeeded", result=value)

    def _rows(self, last: QueryRow) -> list[Mapping[str, Any]]:
        rows, whole = self._queries.rows(last.id, limit=self._result_limit)
        if not whole:
            raise ValueRefusedError(f"they have more than {self._result_limit:,} bytes as JSON")
        value: list[Mapping[str, Any]] = plain(rows)
        encode(value, limit=self._result_limit)
        return value

    def _finish(self, watch: Row, outcome: Outcome, rows: Sequence[QueryRow]) -> bool:
        item = Item(key=watch["items"][0], attempt=watch["attempts"][0], index=index_path(watch), payload=None)
        self._write_log(watch, item, rows)
        document = outcome.document(item, max(0.0, self._waited(watch)))
        fault.reach("query.judged")
        if not self._store.finish_job(watch["id"], watch["job_name"], [document]):
            return False
        fault.reach("query.ended")
        del self._seen_at[watch["job_name"]]
        self._bus.wake_dispatcher([watch["partition"]])
        return True

    def _write_log(self, watch: Row, item: Item, rows: Sequence[QueryRow]) -> None:
        kept = AttemptLog(item.index, item.attempt, limit=self._log_limit)
        for row in rows[1:] or rows:
            kept.add(f"Snowflake query {row.id} {row.status}: {' '.join(row.text.split())[:200]}\n".encode())
        part = kept.take()
        if part is None:
            return
        # A watch has no claim; the tag says as well who wrote this.
        claim = uuid5(NAMESPACE_URL, watch["job_name"])
        try:
            self._store.write_logs(watch["run_id"], watch["task"], claim, [part])
        except UnreachableError:
            raise
        except FreshetError as error:
            log.logger(query=watch["job_name"]).warning("log_lost", message=error.message)

    # --- what nobody owns -------------------------------------------------------------------------------------------

    def _reap_due(self, *, working: bool) -> bool:
        """A minute after the start, now and then while there is work, and once more after it; an idle watch asks
        nothing, and a start does not wait for Snowflake.
        """
        now = self._clock.monotonic()
        if self._reaped_at is None:
            self._reaped_at = self._worked_at = now
        if working:
            self._worked_at = now
        return now - self._reaped_at >= REAP_EVERY and self._worked_at >= self._reaped_at

    def _reap(self) -> int:
        """Abort the running scripts that no attempt owns; how many queries that were."""
        prefix = tag_prefix(self._installation())
        # What runs first, the rows second: a script that was started in between has its row by then.
        running = [row for row in self._queries.running(prefix) if run_of_tag(row.tag, prefix) is not None]
        self._reaped_at = self._clock.monotonic()
        runs = {run for row in running if (run := run_of_tag(row.tag, prefix)) is not None}
        if not runs:
            return 0
        owned = {tag_of(self._installation(), row) for row in self._store.job_owners(sorted(runs), KIND)}
        orphans = [row for row in running if row.tag not in owned]
        for row in orphans:
            self._queries.abort(row.id)
        return len(orphans)
