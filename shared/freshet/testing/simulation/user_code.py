"""What the simulation's items run: processes and scripts that do what their try's plan says.

Guarantees: begins, effects and ends are noted where the laws can see them. Never: a draw; the plan was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from freshet.execution.context import Context
from freshet.execution.contract import Item, Outcome, failed
from freshet.execution.registry import Process as Registered
from freshet.execution.registry import Registry
from freshet.execution.results import Results
from freshet.testing.simulation.behaviour import CRASH, END, FAIL, HANG, Behaviour, Plan, Try
from freshet.testing.simulation.workload import PROCESSES, SHARED
from freshet.testing.simulation.world import Killed, Process, World

#: Seconds between two looks of an item that hangs at whether it was cancelled.
LOOK = 0.5


class UserCode:
    """The code that one child runs."""

    def __init__(
        self,
        world: World,
        process: Process,
        behaviour: Behaviour,
        began: Callable[[Try, Any], None],
    ) -> None:
        """`began` is told of every try and its payload."""
        self._world = world
        self._process = process
        self._behaviour = behaviour
        self._began = began

    def registry(self) -> Registry:
        """What the child serves."""
        registry = Registry()
        for spec in PROCESSES:
            registry.add(
                Registered(
                    name=spec.name,
                    version=str(spec.version),
                    isolation=spec.isolation,
                    commit="bundle" if spec == SHARED else "item",
                    call=self._call,
                )
            )
        return registry

    def run(self, item: Item, context: Context) -> Outcome:
        """A script of kind `python`: its effects are fenced by nobody."""
        the_try, plan = self._begin(item.payload, context)
        self._world.pause(plan.before)
        self._behaviour.outside.append(the_try)
        self._world.pause(plan.after)
        if plan.end == HANG:
            self._hang(context)
        if plan.end == FAIL:
            return failed("The script ended with exit code 1.", exit_code=1)
        return Outcome(status="succeeded", result=orjson.dumps(plan.values))

    def _call(self, payload: Any, context: Any) -> Any:
        the_try, plan = self._begin(payload, context)
        self._world.pause(plan.before)
        for number in range(plan.writes):
            context.connection.execute((the_try, number))
        self._world.pause(plan.after)
        if plan.end == CRASH:
            self._world.kill(self._process)
            raise Killed
        if plan.end == HANG:
            self._hang(context)
        if plan.end == END:
            context.connection.end_transaction()
        if plan.end == FAIL:
            raise RuntimeError("planned")
        return (value for value in plan.values) if plan.yields else plan.values

    def _begin(self, payload: Any, context: Context) -> tuple[Try, Plan]:
        the_try = Try(context.run_id, context.task, context.item, context.attempt)
        self._began(the_try, _read(payload))
        return the_try, self._behaviour.plan(the_try)

    def _hang(self, context: Context) -> None:
        while not context.cancelled():
            self._world.pause(LOOK)


def _read(payload: Any) -> Any:
    """All of it, page by page."""
    if isinstance(payload, Results):
        return list(payload)
    if isinstance(payload, dict):
        return {name: list(each) if isinstance(each, Results) else each for name, each in payload.items()}
    return payload
