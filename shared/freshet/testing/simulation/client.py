"""Users: they ask for runs, cancel some, and run some again, and ask again when nobody answers.

Guarantees: every request has a key, so that asking again makes nothing twice. Never: a look into the engine's rows but
through the requests' own verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from freshet.domain.errors import ConflictError, UnreachableError
from freshet.domain.graph import descendants
from freshet.domain.model import Trigger, Workflow
from freshet.domain.states import TaskState
from freshet.runtime import fault
from freshet.storage.requests import NewRun
from freshet.testing.simulation.installation import Installation
from freshet.testing.simulation.workload import Wish
from freshet.testing.simulation.world import Doorway, Process
from freshet.testing.twins.bus import BusTwin
from freshet.testing.twins.requests import RequestsTwin

Answer = TypeVar("Answer")
#: Seconds between two tries, and between two looks at whether a run has ended.
AGAIN, LOOK = 0.5, 1.0


class Client:
    """One user's wish."""

    def __init__(self, installation: Installation, process: Process, wish: Wish, number: int) -> None:
        self._installation = installation
        self._world = installation.world
        self._wish = wish
        self.key = f"wish-{number}"
        self._requests = RequestsTwin(installation.tables, Doorway(installation.world, process, installation.postgres))
        self._bus = BusTwin(installation.redis, passage=Doorway(installation.world, process, installation.redis_server))
        self.runs: list[UUID] = []
        self.cancelled: list[UUID] = []
        self.done = False

    def main(self) -> None:
        """From the first request to the last."""
        wish = self._wish
        self._world.pause(wish.at)
        run = NewRun(
            workflow=wish.workflow,
            version=1,
            trigger=Trigger.CALL,
            params=wish.params,
            origin=f"call:{self.key}",
            priority=self._workflow.priority,
            id=self._installation.new_run_id(),
        )
        for _ in range(2 if wish.doubled else 1):
            run_id = self._create(run)
        self._maybe_cancel(run_id, wish.cancel_after)
        if wish.rerun is not None:
            self._rerun(run_id, wish.rerun)
        self.done = True

    @property
    def _workflow(self) -> Workflow:
        return self._installation.workload.workflows[self._wish.workflow]

    def _create(self, run: NewRun) -> UUID:
        asked = self._insist(lambda: self._requests.create_run(run))
        if asked.run_id not in self.runs:
            self.runs.append(asked.run_id)
        fault.reach("request.committed")
        self._wake(asked.partition)
        return asked.run_id

    def _maybe_cancel(self, run_id: UUID, after: float | None) -> None:
        if after is None:
            return
        self._world.pause(after)
        self.cancelled.append(run_id)
        try:
            partition = self._insist(lambda: self._requests.cancel(run_id))
        except ConflictError:
            return
        if partition is not None:
            self._wake(partition)

    def _rerun(self, run_id: UUID, mode: str) -> None:
        while True:
            try:
                old = self._insist(lambda: self._requests.run_for_rerun(run_id))
                break
            except ConflictError:
                self._world.pause(LOOK)
        states = self._insist(lambda: self._requests.top_task_states(run_id))
        again = self._again(states) if mode == "failed" else None
        if again == ():
            return
        run = NewRun(
            workflow=old["workflow"],
            version=old["version"],
            trigger=Trigger.RERUN,
            params=old["params"],
            origin=f"rerun:{run_id}:{self.key}",
            priority=old["priority"],
            rerun_of=run_id,
            rerun_tasks=again,
            group_id=old["group_id"],
            id=self._installation.new_run_id(),
        )
        self._maybe_cancel(self._create(run), self._wish.cancel_rerun_after)

    def _again(self, states: dict[str, TaskState]) -> tuple[str, ...]:
        """As the front door chooses: all that did not succeed, with everything after it, and the finals."""
        workflow = self._workflow
        finals = {task.name for task in workflow.finals}
        failed = {task.name for task in workflow.tasks if states.get(task.name) is not TaskState.SUCCEEDED}
        if not failed and all(states.get(name) is TaskState.SUCCEEDED for name in finals):
            return ()
        again = failed | descendants(workflow.tasks, failed) | finals
        return tuple(task.name for task in (*workflow.tasks, *workflow.finals) if task.name in again)

    def _wake(self, partition: int) -> None:
        try:
            self._bus.wake_dispatcher([partition])
        except UnreachableError:
            return  # the rows are there, and are found

    def _insist(self, call: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return call()
            except UnreachableError:
                self._world.pause(AGAIN)
