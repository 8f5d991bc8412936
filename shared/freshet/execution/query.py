"""Executor of kind `sql` on Snowflake: a script that runs in the background, under a tag.

Promise: begun once per attempt. The tag (QUERY_TAG) names installation, run, task, index path and attempt, and is
stored before the submit; whoever claims the same attempt again finds the script by it in the query history and waits.
A script of several statements is one request in one session, so a worker's death stops none of it. Submitting turns
the claim into a watch (see `freshet.execution.query_watch`), so a script at work holds no worker. Never: a wait for a
script's end in here, or an abort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from freshet.bus import Bus
from freshet.domain.errors import UnreachableError
from freshet.domain.model import SqlSpec
from freshet.execution.attempt_log import AttemptLog
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.job_service import Insist, index_path
from freshet.execution.payload import Preparation, Prepared
from freshet.execution.values import ValueRefusedError, encode_payload
from freshet.runtime import fault, log
from freshet.snowflake import Place, Queries, SnowflakeLoginRefusedError, SnowflakeRefusedError
from freshet.snowflake.script import ScriptError, bound, statements
from freshet.storage.worker_store import WorkerStore

#: Part 0 of an attempt's log; what the watcher writes has a claim of its own.
_LOG_BYTES = 4096


def tag_prefix(installation: str) -> str:
    """What every tag of an installation begins with."""
    return f"freshet/{installation}/"


def query_tag(installation: str, run: UUID, task: str, index: str, attempt: int) -> str:
    """The tag of one attempt's script: at most about 1,700 of the 2,000 characters that Snowflake takes."""
    return f"{tag_prefix(installation)}{run}/{task}/{index}/{attempt}"


def tag_of(installation: str, row: Mapping[str, Any]) -> str:
    """The tag of an attempt in a row of WorkerStore.job_owners."""
    return query_tag(installation, row["run_id"], row["task"], index_path(row), row["attempt"])


def run_of_tag(tag: str, prefix: str) -> UUID | None:
    """The run in a tag; None for one that is not of our making."""
    run, *rest = tag.removeprefix(prefix).split("/")
    if not tag.startswith(prefix) or len(rest) != 3:
        return None
    try:
        return UUID(run)
    except ValueError:
        return None


def wake_name(connection: str) -> str:
    """What the watcher of a connection's queries is woken by (Bus.wake)."""
    return f"queries:{connection}"


class QueryLauncher:
    """Starts the scripts of claimed bundles on one connection."""

    def __init__(
        self,
        queries: Queries,
        *,
        connection: str,
        store: WorkerStore,
        bus: Bus,
        installation: Callable[[], str],
        insist: Insist,
        limit: int,
    ) -> None:
        """`connection` is the name that tasks call it by; `limit`: bytes of JSON of a payload."""
        self._queries = queries
        self._connection = connection
        self._store = store
        self._bus = bus
        self._installation = installation
        self._insist = insist
        self._limit = limit

    def launch(self, preparation: Preparation) -> str | None:
        """Start; the claim is a watch afterwards, or ended with a failure. Why it has to be handed back, if so.

        Raises ClaimLostError.
        """
        prepared, *others = preparation.items()
        if others:
            return "A bundle of scripts on Snowflake holds one item."
        spec = preparation.task.sql
        assert spec is not None  # that is what the kind says
        try:
            text = self._text(preparation, spec, prepared)
        except (ScriptError, ValueRefusedError) as error:
            self._end(preparation, prepared, failed(error.message))
            return None
        tag = query_tag(
            self._installation(), preparation.run_id, preparation.task.path, prepared.index, prepared.attempt
        )
        return self._start(preparation, prepared, spec, text, tag)

    def _text(self, preparation: Preparation, spec: SqlSpec, prepared: Prepared) -> str:
        if prepared.refused is not None:
            raise ValueRefusedError(prepared.refused)
        return bound(spec.text, encode_payload(preparation.whole(prepared.payload), limit=self._limit))

    def _start(self, preparation: Preparation, prepared: Prepared, spec: SqlSpec, text: str, tag: str) -> str | None:
        claimed = preparation.claimed
        self._insist(lambda: self._store.store_job_name(claimed.bundle, claimed.claim, tag))
        fault.reach("query.named")
        try:
            query = self._found_or_started(preparation, spec, text, tag)
        except (SnowflakeLoginRefusedError, UnreachableError) as error:
            # It may have been started all the same: the next claim of this attempt finds it by its tag.
            return error.message
        except SnowflakeRefusedError as error:
            self._end(preparation, prepared, failed(f"Snowflake refused the script: {error.message}"))
            return None
        fault.reach("query.submitted")
        self._note(preparation, prepared, f"Snowflake query {query}, QUERY_TAG {tag}\n")
        self._watch(preparation)
        return None

    def _found_or_started(self, preparation: Preparation, spec: SqlSpec, text: str, tag: str) -> str:
        known = self._queries.tagged([tag])
        if known:
            return known[0].id
        place = Place(database=spec.database, schema=spec.schema, warehouse=spec.warehouse, role=spec.role)
        several = len(statements(spec.text)) > 1
        return self._queries.start(text, tag, place, several=several, timeout=preparation.task.timeout)

    def _note(self, preparation: Preparation, prepared: Prepared, line: str) -> None:
        kept = AttemptLog(prepared.index, prepared.attempt, limit=_LOG_BYTES)
        kept.add(line.encode())
        part = kept.take()
        claimed, task = preparation.claimed, preparation.task.path
        if part is not None:
            self._insist(lambda: self._store.write_logs(preparation.run_id, task, claimed.claim, [part]))

    def _watch(self, preparation: Preparation) -> None:
        claimed = preparation.claimed
        fact = self._insist(lambda: self._store.watch(claimed.bundle, claimed.claim))
        self._tell(lambda: self._bus.announce([fact]))
        self._tell(lambda: self._bus.wake(wake_name(self._connection)))
        # As with job services: this one makes room in its queue without a report.
        self._tell(lambda: self._bus.wake_dispatcher([claimed.document["bundle"]["partition"]]))

    def _end(self, preparation: Preparation, prepared: Prepared, outcome: Outcome) -> None:
        claimed = preparation.claimed
        item = Item(key=prepared.key, attempt=prepared.attempt, index=prepared.index, payload=None)
        self._insist(lambda: self._store.finish(claimed.bundle, claimed.claim, [outcome.document(item, 0.0)]))
        self._tell(lambda: self._bus.wake_dispatcher([claimed.document["bundle"]["partition"]]))

    def _tell(self, say: Callable[[], object]) -> None:
        try:
            say()
        except UnreachableError as error:
            log.logger().debug("wake_lost", message=error.message)  # the rows say the same to whoever looks
