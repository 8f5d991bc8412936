"""Executor of kind `job_service`: a container in an SPCS compute pool.

Promise: launched once per attempt. The job's name follows from installation, run, task, index path and attempt, and is
stored before the submit; whoever claims the same attempt again finds the job by its name, after its end too (see
`freshet.execution.reaper`). Submitting turns the claim into a watch (see `freshet.execution.watcher`), so a job in
flight holds no worker.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar
from uuid import UUID

from freshet.bus import Bus
from freshet.domain.errors import ClaimLostError, UnreachableError
from freshet.domain.model import INDEX_BITS, JobServiceSpec
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.job_refusal import refusal
from freshet.execution.job_specification import PAYLOAD_LIMIT, Submission, submission
from freshet.execution.payload import Preparation, Prepared
from freshet.execution.values import ValueRefusedError
from freshet.expressions import ExpressionError
from freshet.runtime import fault, log
from freshet.snowflake import JobServices, SnowflakeLoginRefusedError, SnowflakeRefusedError
from freshet.storage.worker_store import Claimed, WorkerStore

#: Characters of the installation's name within a job's name, so that all of it fits into 63.
INSTALLATION_LENGTH = 8

Answer = TypeVar("Answer")


class Insist(Protocol):
    """Repeats what Postgres' absence has stopped."""

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        """The call's answer, once there is one."""
        ...


def job_prefix(installation: str) -> str:
    """What every job's name of an installation begins with."""
    name = installation.upper()
    if len(name) > INSTALLATION_LENGTH:
        name = _digest(name.encode(), INSTALLATION_LENGTH)
    return f"FRESHET_{name}_"


def job_name(installation: str, run: UUID, task: str, index: str, attempt: int) -> str:
    """The name of one attempt's job: letters, digits and `_`, at most 63 (a DNS label)."""
    place = _digest(f"{task}\0{index}".encode(), 8)
    return f"{job_prefix(installation)}{run.hex.upper()}_{place}_{attempt}"


def run_of(name: str, prefix: str) -> UUID | None:
    """The run in a job's name; None for a name that is not of our making."""
    run, _, rest = name.removeprefix(prefix).partition("_")
    if not name.startswith(prefix) or rest.count("_") != 1:
        return None
    try:
        return UUID(hex=run)
    except ValueError:
        return None


def index_path(row: Mapping[str, Any]) -> str:
    """The index path of a watch's or an owner's item: its scope's, and its own index if it is mapped."""
    scope: str = row["index_path"]
    if not row["mapped"]:
        return scope
    key = row["item"] if "item" in row else row["items"][0]
    index = str(key & ((1 << INDEX_BITS) - 1))
    return f"{scope}.{index}" if scope else index


def owned_name(installation: str, row: Mapping[str, Any]) -> str:
    """The name of the job that a row of `WorkerStore.job_owners` owns."""
    return job_name(installation, row["run_id"], row["task"], index_path(row), row["attempt"])


class JobLauncher:
    """Submits the jobs of claimed bundles."""

    def __init__(
        self,
        jobs: JobServices,
        *,
        store: WorkerStore,
        bus: Bus,
        installation: Callable[[], str],
        insist: Insist,
        public_url: str | None = None,
    ) -> None:
        """`public_url`: where containers reach the api, for payloads that do not fit into their environment."""
        self._public_url = public_url and public_url.rstrip("/")
        self._jobs = jobs
        self._store = store
        self._bus = bus
        self._installation = installation
        self._insist = insist
        self._noted: set[str] = set()  # pools whose family has been stored

    def launch(self, preparation: Preparation) -> str | None:
        """Submit; the claim is a watch afterwards, or ended with a failure. Why it has to be handed back, if so.

        Raises ClaimLostError.
        """
        claimed = preparation.claimed
        prepared, *others = preparation.items()
        if others:
            return "A bundle of job services holds one item."
        spec = preparation.task.job_service
        assert spec is not None  # that is what the kind says
        name = job_name(
            self._installation(), preparation.run_id, preparation.task.path, prepared.index, prepared.attempt
        )
        self._insist(lambda: self._store.store_job_name(claimed.bundle, claimed.claim, name))
        try:
            made = submission(
                preparation, spec, prepared, deliver=lambda payload: self._deliver(claimed, name, payload)
            )
        except (ExpressionError, ValueRefusedError) as error:
            self._end(preparation, prepared, failed(error.message))
            return None
        fault.reach("job.named")
        try:
            self._submit(name, spec, made)
        except UnreachableError as error:
            # It may have been launched all the same: if nobody can say so now, the next claim of this attempt finds it
            # by its name.
            if not self._was_launched(name, made.comment):
                return error.message
        except SnowflakeLoginRefusedError as error:
            return error.message
        except SnowflakeRefusedError as error:
            self._end(preparation, prepared, failed(refusal(error, spec)))
            return None
        fault.reach("job.submitted")
        self._watch(claimed)
        self._note_pool(spec.compute_pool)
        return None

    def _deliver(self, claimed: Claimed, name: str, payload: bytes) -> str:
        """The address at which the job's containers find their payload. Raises ValueRefusedError, ClaimLostError."""
        if self._public_url is None:
            raise ValueRefusedError(
                f"it has {len(payload):,} bytes as JSON, {PAYLOAD_LIMIT:,} fit into a container's environment, and"
                " FRESHET_PUBLIC_URL, from which it could fetch more, is not set"
            )
        key = self._insist(lambda: self._store.store_payload(claimed.bundle, claimed.claim, name, payload))
        return f"{self._public_url}/api/v1/payloads/{key}"

    def _submit(self, name: str, spec: JobServiceSpec, made: Submission) -> None:
        """Launch the job, unless it has been."""
        self._jobs.submit(
            name,
            spec.compute_pool,
            made.specification,
            made.comment,
            spec.query_warehouse,
            replicas=spec.replicas,
            integrations=spec.external_access_integrations,
        )

    def _note_pool(self, pool: str) -> None:
        """Let the estimates of cost know what the pool's nodes are, once in this process's life."""
        if pool in self._noted:
            return
        try:
            found = self._jobs.pool(pool)
            if found is not None:
                self._store.store_pool(pool, found.family)
        except (UnreachableError, SnowflakeRefusedError) as error:
            log.logger(pool=pool).debug("pool_not_noted", message=error.message)
            return
        self._noted.add(pool)

    def _was_launched(self, name: str, comment: str) -> bool:
        """Whether a submit without an answer was one: the job is there, or the history knows what became of it."""
        try:
            return self._jobs.is_ours(name, comment) or self._jobs.history(name) is not None
        except (UnreachableError, SnowflakeRefusedError):
            return False

    def _watch(self, claimed: Claimed) -> None:
        try:
            fact = self._insist(lambda: self._store.watch(claimed.bundle, claimed.claim))
        except ClaimLostError:
            self._tell(self._bus.wake_watcher)  # the job is nobody's, it may be: a cancel came in between
            raise
        self._tell(lambda: self._bus.announce([fact]))
        self._tell(self._bus.wake_watcher)
        # A queue holds few jobs, and this one makes room without a report: the next ones need not wait for the clock.
        partition = claimed.document["bundle"]["partition"]
        self._tell(lambda: self._bus.wake_dispatcher([partition]))

    def _end(self, preparation: Preparation, prepared: Prepared, outcome: Outcome) -> None:
        claimed = preparation.claimed
        item = Item(key=prepared.key, attempt=prepared.attempt, index=prepared.index, payload=None)
        self._insist(lambda: self._store.finish(claimed.bundle, claimed.claim, [outcome.document(item, 0.0)]))
        partition = claimed.document["bundle"]["partition"]
        self._tell(lambda: self._bus.wake_dispatcher([partition]))

    def _tell(self, say: Callable[[], object]) -> None:
        try:
            say()
        except UnreachableError as error:
            log.logger().debug("wake_lost", message=error.message)  # the rows say the same to whoever looks


def _digest(data: bytes, length: int) -> str:
    return base64.b32encode(hashlib.sha256(data).digest()).decode()[:length]
