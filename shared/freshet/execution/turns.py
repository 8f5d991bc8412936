"""One item after the other, in the child.

Purpose: call the executor, commit what it wrote together with its report, send the outcome. Guarantees: an item that
wrote is committed before the next one begins; what an item leaves behind (an open transaction, settings, a half
printed line) does not reach the next. Never: an exception of user code that leaves here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from freshet.domain.errors import ClaimLostError, FreshetError, TransactionEndedError, UnreachableError
from freshet.execution.channel import Channel, Sent
from freshet.execution.context import Context
from freshet.execution.contract import Executor, Item, Outcome, encoded, ended_transaction, failed, raised, server_lost
from freshet.execution.logger import AttemptLogger
from freshet.execution.process import ProcessExecutor
from freshet.execution.python import PythonExecutor
from freshet.execution.registry import Registry
from freshet.execution.results import Results
from freshet.execution.shared_turns import SharedTurns
from freshet.execution.sql import SqlExecutor
from freshet.runtime import fault
from freshet.storage.session import FinishRefusedError, ProcessSession, Turn

#: After an item has failed in a transaction that it shared, so many bundles have a savepoint before each item: a
#: failure then costs that item alone, and not all that share its transaction.
CAREFUL_BUNDLES = 100


class Bench:
    """Where bundles are worked through."""

    def __init__(
        self,
        *,
        channel: Channel,
        output: int,
        control: int,
        session: ProcessSession,
        registry: Registry,
        limit: int,
        mark: bytes,
        connections: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`output` takes what is printed, and `mark` there ends an item's share; `control` brings a byte when the
        worker drains (d) or the bundle is cancelled (c); `limit` is the largest result in bytes; `connections` are
        the URLs of the named Postgres servers.
        """
        self._channel = channel
        self._output = output
        self._control = control
        self._session = session
        self._registry = registry
        self._limit = limit
        self._mark = mark
        self._connections = connections
        self._monotonic = monotonic
        self._asking = threading.Lock()
        self._logger = AttemptLogger()
        self._bundle: Mapping[str, Any] = {}
        self._controls = b""  # what the supervisor has said beside the channel; such a child takes no further bundle
        self._careful = 0  # bundles left in which an item that shares a transaction can be taken back alone
        self._reported = 0  # items of the bundle that are known to be committed

    def run_bundle(self, message: Mapping[str, Any]) -> None:
        """Work through a bundle: a message of the supervisor, see `freshet.execution.bundle_run`."""
        self._bundle = message
        # Outcomes before the first item may not be committed yet: another child's, or of one that died.
        self._reported = message["done"]
        executor = self._executor(message["kind"], message["spec"])
        shared = self._shared_turns(message)
        self._careful = max(0, self._careful - 1)
        for position, item in enumerate(message["items"], start=message["first"]):
            self._read_control()
            if self._controls:
                if shared is None or shared.commit():
                    self._channel.send({"op": "stopped"})
                return
            if not self._run(executor, position, item, shared):
                return
        if shared is not None:
            shared.commit()

    def _shared_turns(self, message: Mapping[str, Any]) -> SharedTurns | None:
        process = self._registry.get(message["spec"]["ref"]) if message["kind"] == "process" else None
        if process is None or process.commit != "bundle" or message["apart"]:
            return None
        return SharedTurns(
            self._channel,
            self._session,
            complain=self._complain,
            end_output=self._end_output,
            committed=self._note_committed,
            failed=self._note_failed,
            monotonic=self._monotonic,
        )

    def _run(self, executor: Executor, position: int, given: Mapping[str, Any], shared: SharedTurns | None) -> bool:
        """One try; False when the bundle is over for this child."""
        item = Item(key=given["key"], attempt=given["attempt"], index=given["index"], payload=self._payload(given))
        self._session.open_turn(self._turn(position, shared=shared is not None))
        started = self._monotonic()
        outcome = self._outcome(executor, item, given)
        seconds = self._monotonic() - started
        if shared is not None:
            return shared.take(position, item, outcome, seconds)
        body, committed = self._settle(item, outcome, seconds)
        if committed:
            self._note_committed(position + 1)
        self._end_output(position)
        self._channel.send_outcome(Sent(position, committed, body))
        return True

    def _turn(self, position: int, *, shared: bool) -> Turn:
        claim = UUID(self._bundle["claim"])
        before_begin = partial(self._commit_earlier, position)
        careful = shared and self._careful > 0
        return Turn(
            bundle=self._bundle["bundle"], claim=claim, before_begin=before_begin, shared=shared, savepoint=careful
        )

    def _note_committed(self, count: int) -> None:
        self._reported = count

    def _note_failed(self) -> None:
        self._careful = CAREFUL_BUNDLES

    def _outcome(self, executor: Executor, item: Item, given: Mapping[str, Any]) -> Outcome:
        try:
            if given["refused"] is not None:
                return failed(given["refused"])
            return executor.run(item, self._context(item))
        except BaseException as error:  # noqa: BLE001  (whatever user code lets go is its failure, also SystemExit)
            return self._failure(error)

    def _settle(self, item: Item, outcome: Outcome, seconds: float) -> tuple[bytes, bool]:
        """The outcome as it stands in the end, and whether it is committed."""
        if self._session.ended:
            outcome = ended_transaction()
        elif outcome.status == "succeeded" and self._session.begun:
            body = encoded(outcome, item, seconds)
            refusal = self._commit(body)
            if refusal is None:
                return body, True
            outcome = refusal
        elif self._session.lost:
            outcome = server_lost()
        self._session.abandon()
        return encoded(outcome, item, seconds), False

    def _commit(self, body: bytes) -> Outcome | None:
        """Commit the item's writes and its report; what to report instead if that did not succeed."""
        try:
            fault.reach("item.ran")
            self._session.finish(b"[" + body + b"]")
            fault.reach("item.committed")
        except ClaimLostError:
            self._channel.send({"op": "lost"})
            return failed("The claim was lost.", kind="lost", status="lost")
        except TransactionEndedError:
            return ended_transaction()
        except FinishRefusedError as error:
            self._complain(error)
            return failed(error.message, type=type(error).__name__)
        except UnreachableError:
            # Committed or not: the supervisor asks the bundle's row before it believes this.
            return server_lost()
        return None

    def _failure(self, error: BaseException) -> Outcome:
        self._complain(error)
        if self._session.lost or isinstance(error, UnreachableError):
            return server_lost()
        return raised(error)

    def _complain(self, error: BaseException) -> None:
        """All of it into the attempt's log; the report has a shortened one."""
        sys.stderr.write("".join(traceback.format_exception(error)))

    def _executor(self, kind: str, spec: Mapping[str, Any]) -> Executor:
        if kind == "sql":
            return SqlExecutor(spec["text"], limit=self._limit, url=self._connections.get(spec["on"]))
        if kind == "python":
            return PythonExecutor(spec["text"], limit=self._limit)
        process = self._registry.get(spec["ref"])
        if process is None:
            raise FreshetError(f"Process {spec['ref']} is not registered here.")  # the supervisor asks before
        return ProcessExecutor(process, put_values=self._session.put_values, limit=self._limit)

    def _context(self, item: Item) -> Context:
        run = self._bundle["run"]
        scheduled_for = run["scheduled_for"]
        return Context(
            run_id=run["run_id"],
            workflow=run["workflow"],
            task=self._bundle["task"],
            item=item.index,
            attempt=item.attempt,
            params=run["params"],
            scheduled_for=datetime.fromisoformat(scheduled_for) if scheduled_for else None,
            logger=self._logger,
            _connection=lambda: self._session.connection,
            _cancelled=self._cancelled,
        )

    def _payload(self, given: Mapping[str, Any]) -> Any:
        payload = given["payload"]
        for name, reference in given.get("results", {}).items():
            results = Results(reference["total"], partial(self._page, reference))
            if name == "":
                return results
            payload[name] = results
        return payload

    # --- talking with the supervisor --------------------------------------------------------------------------------

    def _commit_earlier(self, position: int) -> None:
        """Before a transaction begins, the outcomes of earlier items are committed: reports form a prefix."""
        if self._reported < position:
            self._ask({"op": "begin", "position": position})
            self._reported = position

    def _page(self, reference: Mapping[str, Any], first: int, count: int) -> dict[int, Any]:
        answer = self._ask(
            {"op": "page", "kind": reference["kind"], "source": reference["source"], "first": first, "count": count}
        )
        return dict(answer["values"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._asking:
            self._channel.send(question)
            answer = self._channel.receive()
        if answer is None:
            os._exit(1)  # the supervisor is gone, and with it everything that this work was for
        if "error" in answer:
            raise UnreachableError(answer["error"])
        return answer

    def _cancelled(self) -> bool:
        self._read_control()
        return b"c" in self._controls

    def _read_control(self) -> None:
        try:
            self._controls += os.read(self._control, 16)
        except BlockingIOError:
            return

    def _end_output(self, position: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # user code has closed or replaced it: there is nothing to flush
        os.write(self._output, self._mark + b"%08x\n" % position)
