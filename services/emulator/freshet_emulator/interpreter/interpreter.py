"""Runs statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from freshet_emulator.errors import unknown_statement
from freshet_emulator.interpreter import catalog, pools, services
from freshet_emulator.interpreter.calls import Expansion
from freshet_emulator.interpreter.context import Context, World
from freshet_emulator.results import Result, inferred
from freshet_emulator.sessions import Session
from freshet_emulator.sql import statements
from freshet_emulator.sql.grammar import parse
from freshet_emulator.sql.lexer import Kind, Token
from freshet_emulator.sql.reader import Reader
from freshet_emulator.tables.dialect import translate

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
# What the tables may be asked; SQLite's own statements (PRAGMA, ATTACH, …) are not Snowflake's.
TABLE_VERBS = (
    "ALTER",
    "BEGIN",
    "CALL",
    "COMMIT",
    "CREATE",
    "DELETE",
    "DROP",
    "INSERT",
    "ROLLBACK",
    "SELECT",
    "START",
    "TRUNCATE",
    "UPDATE",
    "VALUES",
    "WITH",
)


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
            return run_on_tables(context, statement)
        return HANDLERS[type(statement)](context, statement)


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
    return replace(results[0], columns=[inferred(results[0].columns[0].name, [total])], rows=[(total,)])


def run_on_tables(context: Context, statement: statements.TableStatement) -> Result:
    """A statement for SQLite, its calls replaced first. Raises SqlError 1003 for what it can't run."""
    if not statement.tokens[0].is_word(*TABLE_VERBS):
        raise unknown_statement(statement.sql)
    with context.world.tables.of_session(context.session.id).statement() as tables:
        reader = Reader(statement.sql, plain(list(statement.tokens)))
        expansion = Expansion(context=context, tables=tables, reader=reader, tokens=[], names={})
        expansion.run()
        translated = translate(statement.sql, expansion.tokens, context.session.resolve)
        return [tables.run(sql, statement.sql, expansion.names) for sql in translated][-1]


def plain(tokens: list[Token]) -> list[Token]:
    """Statements that SQLite says with other words: CALL, TRUNCATE, START TRANSACTION."""
    reader = Reader("", tokens)
    if reader.accept("CALL"):
        return [word("SELECT"), *tokens[1:]]
    if reader.accept("START", "TRANSACTION"):
        return [word("BEGIN"), *tokens[2:]]
    if reader.accept("TRUNCATE"):
        reader.accept("TABLE")
        reader.accept("IF", "EXISTS")
        return [word("DELETE"), word("FROM"), *tokens[reader.at :]]
    return tokens


def word(text: str) -> Token:
    """A word put in by us."""
    return Token(kind=Kind.WORD, text=text, value=text, start=0, end=0)
