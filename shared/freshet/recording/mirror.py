"""The mirror: the two logging tables, copied into Snowflake.

Purpose: each run that has ended and is recorded is copied, rows of both tables, in batches. Guarantees: each row is
there once, whoever dies when (a part of a run has a key, and Snowflake keeps the keys with the rows); an unreachable
Snowflake loses nothing and stops nothing, for Postgres says what is left to do; one recorder at a time does it, in a
thread and sessions of its own. Never: the recorder's loop, or a statement while nothing has ended.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from freshet.domain.errors import UnreachableError
from freshet.runtime import fault, log
from freshet.runtime.beside import Running, Spawn, in_thread
from freshet.runtime.clock import Clock, SystemClock
from freshet.runtime.service import backoff
from freshet.snowflake import SnowflakeRefusedError
from freshet.snowflake.mirror import MirrorTables, Part
from freshet.storage.database import Row
from freshet.storage.mirror import TABLES, Mirroring

#: Runs that one look finds at most.
RUNS = 500
#: Bytes of JSON of one part, and of one request; a VARIANT in Snowflake holds 16 MiB.
PART_BYTES, REQUEST_BYTES = 1 << 20, 4 << 20
#: Seconds that a recorded end waits for others; between two looks while nothing is said; between two candidacies.
GATHER, CALM, STANDBY = 1.0, 30.0, 15.0
#: Seconds between two tries at most while Snowflake can't be reached.
SLOWEST = 60.0


class Candidate(Protocol):
    """One of the recorders that could mirror."""

    def campaign(self) -> bool:
        """Whether this one does."""
        ...

    def resign(self) -> None:
        """Let another one do it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored:
    """What one pass did."""

    leads: bool = True
    runs: int = 0
    more: bool = False  # there may be more: the next pass is due at once


@dataclass(kw_only=True)
class _Request:
    """Parts that travel together, and the runs that are whole with them."""

    parts: list[Part] = field(default_factory=list)
    size: int = 0
    runs: list[UUID] = field(default_factory=list)


class Mirror:
    """One recorder's candidacy for the mirror, and the mirror itself."""

    def __init__(
        self,
        *,
        store: Mirroring,
        tables: MirrorTables,
        candidate: Candidate,
        clock: Clock | None = None,
        spawn: Spawn = in_thread,
    ) -> None:
        """Nothing connects before the first pass."""
        self._store = store
        self._tables = tables
        self._candidate = candidate
        self._clock = clock or SystemClock()
        self._spawn = spawn
        self._aside: set[UUID] = set()  # runs that Snowflake refuses, until this recorder starts again
        self._said = threading.Event()
        self._end = threading.Event()
        self._beside: Running | None = None

    # --- the thread -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Mirror in a thread of its own."""
        self._beside = self._spawn("mirror", self.run)

    def nudge(self) -> None:
        """Something was recorded; costs nothing and waits for nothing."""
        self._said.set()

    def end(self) -> None:
        """Stop, and let another recorder do it; what is on its way is finished or begun anew by that one."""
        self._end.set()
        self._said.set()
        if self._beside is not None:
            self._beside.join(STANDBY)
        self._candidate.resign()
        self._tables.close()

    def run(self) -> None:
        """Pass after pass until the end."""
        failures = 0
        while not self._end.is_set():
            try:
                done = self.once()
                failures = 0
                self._rest(done)
            except Exception as error:  # noqa: BLE001  (whatever it is, it must neither end this nor reach the recorder)
                failures += 1
                self._complain(error, failures)
                self._clock.wait(self._end, min(SLOWEST, backoff(failures) * max(1, failures - 5)))

    def _rest(self, done: Mirrored) -> None:
        if done.more:
            return
        if not done.leads:
            self._clock.wait(self._end, STANDBY)
            return
        self._clock.wait(self._said, CALM)
        self._said.clear()
        self._clock.wait(self._end, GATHER)

    def _complain(self, error: Exception, failures: int) -> None:
        if not isinstance(error, UnreachableError):
            log.logger(loop="mirror").exception("mirror_failed", message=str(error))
            self._candidate.resign()  # another recorder may do better
        elif failures == 1:
            sentence = f"Rows for Snowflake wait in Postgres: {error.message}"
            log.logger(loop="mirror").warning("mirror_waits", message=sentence)

    # --- one pass ---------------------------------------------------------------------------------------------------

    def once(self) -> Mirrored:
        """Copy what has ended, if this recorder has the mirror. Raises UnreachableError, SnowflakeRefusedError."""
        if not self._candidate.campaign():
            return Mirrored(leads=False)
        found = self._store.pending(limit=RUNS + len(self._aside))
        runs = [run for run in found if run not in self._aside]
        if not runs:
            return Mirrored()
        for request in self._requests(runs):
            fault.reach("mirror.read")
            self._write(request)
            fault.reach("mirror.written")
            self._store.mark([run for run in request.runs if run not in self._aside])
        fault.reach("mirror.marked")
        self._store.advance()
        return Mirrored(runs=len(runs), more=len(runs) >= RUNS)

    def _write(self, request: _Request) -> None:
        """Write a request's parts; one that Snowflake refuses is set aside with its run, and stops no other."""
        try:
            self._tables.write(request.parts)
        except SnowflakeRefusedError as error:
            refused = [part for part in request.parts if not self._accepted(part)]
            if len(refused) == len(request.parts):
                raise  # not the rows, then, but the account: a right, a table, a warehouse
            for part in refused:
                self._aside.add(part.run)
                sentence = f"Snowflake refuses rows of run {part.run}, which are left out: {error.message}"
                log.logger(loop="mirror", run_id=str(part.run)).error("mirror_refused", message=sentence)

    def _accepted(self, part: Part) -> bool:
        try:
            self._tables.write([part])
        except SnowflakeRefusedError:
            return False
        return True

    def _requests(self, runs: list[UUID]) -> Iterator[_Request]:
        request = _Request()
        for run in runs:
            for part, size in self._parts(run):
                if request.size + size > REQUEST_BYTES and request.parts:
                    yield request
                    request = _Request()
                request.parts.append(part)
                request.size += size
            request.runs.append(run)
        yield request

    def _parts(self, run: UUID) -> Iterator[tuple[Part, int]]:
        """A run's parts with their sizes in bytes, the same ones whenever it is asked."""
        for table in TABLES:
            number, rows, size = 0, [], 0
            for row in self._store.rows(table, run):
                rows.append(row)
                size += _size(row)
                if size > PART_BYTES:
                    yield Part(run=run, table=table, number=number, rows=rows), size
                    number, rows, size = number + 1, [], 0
            if rows:
                yield Part(run=run, table=table, number=number, rows=rows), size


def _size(row: Row) -> int:
    return len(json.dumps(row, default=str))
