"""Runs statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from freshet_emulator.errors import wrong_count
from freshet_emulator.interpreter import catalog, long_running, pools, secrets, services, stages
from freshet_emulator.interpreter import session as variables
from freshet_emulator.interpreter.context import Context, World
from freshet_emulator.interpreter.direct import run_directly
from freshet_emulator.queries import COUNT, Query
from freshet_emulator.results import Result, StatementType, text_result
from freshet_emulator.sql import statements
from freshet_emulator.sql.grammar import parse
from freshet_emulator.sql.lexer import split

Handler = Callable[[Context, Any], Result]
HANDLERS: dict[type, Handler] = {
    statements.ExecuteJob: services.execute_job,
    statements.CreateService: long_running.create_service,
    statements.AlterService: long_running.alter_service,
    statements.ShowEndpoints: long_running.show_endpoints,
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
    statements.AlterUser: catalog.alter_user,
    statements.CreateSecret: secrets.create_secret,
    statements.DropSecret: secrets.drop_secret,
    statements.CreateStage: stages.create_stage,
    statements.DropStage: stages.drop_stage,
    statements.ListStage: stages.list_stage,
    statements.RemoveStaged: stages.remove_staged,
    statements.Transfer: stages.transfer,
    statements.UnsetVariables: variables.unset_variables,
    statements.ShowSession: variables.show,
}


class Interpreter:
    """Runs one statement at a time per session; different sessions in parallel."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, query: Query, bindings: Mapping[str, Any]) -> Result:
        """The result of a query, of one statement or as many as the client said. Raises SqlError."""
        context = Context(world=self._world, session=query.session, query_id=query.id)
        desired = int(query.parameter(COUNT) or 1)
        if desired == 1:
            found = self.run_one(context, query.sql, bindings)
        else:
            found = self.run_several(context, query.sql, bindings, desired)
        query.session.last_query_id = query.id
        return found

    def run_one(self, context: Context, sql: str, bindings: Mapping[str, Any]) -> Result:
        """One statement, for each row of its bindings."""
        results = [self.run_once(context, sql, one) for one in unrolled(bindings)]
        return results[0] if len(results) == 1 else summed(results)

    def run_several(self, context: Context, sql: str, bindings: Mapping[str, Any], desired: int) -> Result:
        """Several statements, up to the first that fails; `desired` 0 is any number. Raises SqlError 8."""
        pieces, values = split(sql), [bindings[key] for key in sorted(bindings, key=int)]
        if desired not in (0, len(pieces)):
            raise wrong_count(len(pieces), desired)
        children: list[tuple[str, StatementType]] = []
        for text, marks in pieces:
            given, values = {str(at): value for at, value in enumerate(values[:marks])}, values[marks:]
            run = partial(self.run_one, context, text, given)
            child, found = self._world.record(context.query_id, context.session, text.strip(), run)
            context.session.last_query_id = child
            children.append((child, found.statement_type))
        answer = text_result("multiple statement execution", "Multiple statements executed successfully.")
        return replace(answer, statement_type=StatementType.SEVERAL, children=children)

    def run_once(self, context: Context, sql: str, bindings: Mapping[str, Any]) -> Result:
        """One statement with one set of values."""
        statement = parse(sql, bindings, context.session.variables)
        if isinstance(statement, statements.ExecuteImmediate):
            return self.run_once(context, statement.sql, {})
        if isinstance(statement, statements.SetVariables):
            return variables.set_variables(context, statement, lambda text: self.run_once(context, text, {}))
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
