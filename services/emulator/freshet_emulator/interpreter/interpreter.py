"""Runs statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from freshet_emulator.interpreter import catalog, pools, services
from freshet_emulator.interpreter.context import Context, World
from freshet_emulator.interpreter.direct import run_directly
from freshet_emulator.results import Result
from freshet_emulator.sessions import Session
from freshet_emulator.sql import statements
from freshet_emulator.sql.grammar import parse

Handler = Callable[[Context, Any], Result]
HANDLERS: dict[type, Handler] = {
    statements.ExecuteJob: services.execute_job,
    statements.DescribeService: services.describe_service,
    statements.DropService: services.drop_service,
    statements.ShowServices: services.show_services,
    statements.ShowInstances: services.show_instances,
    statements.ShowContainers: services.show_containers,
    statements.CreatePool: pools.create_pool,
    statements.AlterPool: pools.alter_pool,
    statements.DropPool: pools.drop_pool,
    statements.ShowPools: pools.show_pools,
    statements.CreateObject: catalog.create_object,
    statements.DropObject: catalog.drop_object,
    statements.ShowObjects: catalog.show_objects,
    statements.Use: catalog.use,
    statements.AlterSession: catalog.alter_session,
}


class Interpreter:
    """Runs one statement at a time per session; different sessions in parallel."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, session: Session, query_id: str, sql: str, bindings: Mapping[str, Any]) -> Result:
        """The result of a statement. Raises SqlError."""
        context = Context(world=self._world, session=session, query_id=query_id)
        results = [self.run_once(context, sql, one) for one in unrolled(bindings)]
        session.last_query_id = query_id
        return results[0] if len(results) == 1 else summed(results)

    def run_once(self, context: Context, sql: str, bindings: Mapping[str, Any]) -> Result:
        """One statement with one set of values."""
        statement = parse(sql, bindings)
        if isinstance(statement, statements.ExecuteImmediate):
            return self.run_once(context, statement.sql, {})
        if isinstance(statement, statements.TableStatement):
            return run_directly(context, statement) or run_on_tables(context, statement)
        return HANDLERS[type(statement)](context, statement)


def run_on_tables(context: Context, statement: statements.TableStatement) -> Result:
    """A statement for the tables, whose libraries are loaded by the first one: that takes half a second."""
    from freshet_emulator.interpreter import tables

    return tables.run_on_tables(context, statement)


def unrolled(bindings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Bindings whose values are lists (executemany) as one set of bindings for each row."""
    lists = [entry["value"] for entry in bindings.values() if isinstance(entry.get("value"), list)]
    if not lists:
        return [bindings]
    return [
        {key: entry | {"value": entry["value"][row]} for key, entry in bindings.items()} for row in range(len(lists[0]))
    ]


def summed(results: list[Result]) -> Result:
    """The answer to many rows of bindings: their counts added up."""
    total = sum(int(result.rows[0][0]) for result in results)
    return replace(results[0], columns=[results[0].columns[0]], rows=[(total,)])
