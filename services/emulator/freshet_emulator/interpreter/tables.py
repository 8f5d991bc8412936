"""Ordinary statements: calls of the platform replaced by their values, the rest run by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sqlglot import exp
from sqlglot.errors import SqlglotError

from freshet_emulator.errors import missing, unknown_statement
from freshet_emulator.interpreter.calls import Expansion
from freshet_emulator.interpreter.context import Context
from freshet_emulator.interpreter.information import view_rows
from freshet_emulator.results import Column, Result, StatementType, status, whole_number
from freshet_emulator.sql.lexer import Token
from freshet_emulator.sql.names import FullName, ObjectName
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.statements import TableStatement
from freshet_emulator.tables import listing
from freshet_emulator.tables.database import SessionTables
from freshet_emulator.tables.headings import MARK, name_projections, projections
from freshet_emulator.tables.names import INFORMATION, Scope
from freshet_emulator.tables.plans import CHANGES, Plan, Work, parse, planned
from freshet_emulator.tables.sharpen import sharpened
from freshet_emulator.tables.temporary import Materialized
from freshet_emulator.tables.types import wire_column

COUNTED = {
    Work.INSERT: (StatementType.INSERT, ("inserted",)),
    Work.UPDATE: (StatementType.UPDATE, ("updated",)),
    Work.DELETE: (StatementType.DELETE, ("deleted",)),
}
ACTIONS = {"inserted": "INSERT", "updated": "UPDATE", "deleted": "DELETE"}
# What comes of trees that nobody has thought of; a client must not see it as a crash.
ODD = (SqlglotError, AttributeError, IndexError, KeyError, TypeError, ValueError)
AUTOMATIC = ("TRUE", "1", "ON")


def run_on_tables(context: Context, statement: TableStatement) -> Result:
    """A statement for DuckDB. Raises SqlError 1003 for what it can't run."""
    session = context.session
    zone = session.parameters.get("TIMEZONE", "UTC")
    with (
        context.world.tables.of_session(session.id).statement(context.query_id, zone) as tables,
        Materialized(tables) as made,
    ):
        return run_prepared(context, statement, tables, made)


def run_prepared(context: Context, statement: TableStatement, tables: SessionTables, made: Materialized) -> Result:
    """The statement, with the session's tables at hand."""
    expansion = Expansion(context=context, tables=made, reader=Reader(statement.sql, list(statement.tokens)))
    expansion.run()
    tree = parse(spliced(statement.sql, expansion.tokens))
    name_projections(tree, projections(statement.sql, statement.tokens))
    scope = Scope(
        resolve=partial(resolve, context),
        temporary=tables.temporary,
        information=lambda name: made.put(view_rows(context, tables, name)),
    )
    try:
        plan = planned(tree, scope, statement.sql)
    except ODD as error:
        raise unknown_statement(statement.sql, "its form is not known") from error
    return WORK.get(plan.work, run_plan)(context, tables, plan)


def resolve(context: Context, name: ObjectName) -> FullName:
    """A table's full name; its schema must exist (2003)."""
    full = context.session.resolve(name)
    catalog = context.world.catalog
    if full.schema == INFORMATION and catalog.exists("DATABASE", full.database):
        return full
    if not catalog.exists("SCHEMA", f"{full.database}.{full.schema}"):
        raise missing("Schema", f"{full.database}.{full.schema}")
    return full


def spliced(sql: str, tokens: Sequence[Token]) -> str:
    """The client's text with what was replaced: everything between tokens stays as it is."""
    pieces, at = [], 0
    for token in tokens:
        pieces += [sql[at : token.start], token.text]
        at = token.end
    return "".join(pieces[:-1])


def run_plan(context: Context, tables: SessionTables, plan: Plan) -> Result:
    """Queries and changes."""
    automatic = context.session.parameters.get("AUTOCOMMIT", "TRUE").upper() in AUTOMATIC
    if not automatic and plan.work in (*CHANGES, Work.QUERY):
        tables.begin()
    columns, rows = tables.run(plan)
    if plan.work is Work.QUERY:
        return selected(tables, plan, columns, rows)
    if plan.work is Work.MERGE:
        actions = [str(row[0]) for row in rows]
        return counts(StatementType.MERGE, plan.merged, [actions.count(ACTIONS[word]) for word in plan.merged])
    if plan.work in COUNTED:
        kind, words = COUNTED[plan.work]
        return counts(kind, words, [int(rows[0][0])])
    return status(plan.report)


def counts(kind: StatementType, words: Sequence[str], numbers: Sequence[int]) -> Result:
    """How many rows a change did what to."""
    columns = [whole_number(f"number of rows {word}") for word in words]
    row = list(numbers)
    if kind is StatementType.UPDATE:
        columns.append(whole_number("number of multi-joined rows updated"))
        row.append(0)
    return Result(columns=columns, rows=[row], statement_type=kind)


def selected(
    tables: SessionTables, plan: Plan, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]
) -> Result:
    """The answer of a query; a column of a table has the type it was declared with."""
    declared = listing.declarations(tables, plan.tables)
    found = [wire_column(name.removeprefix(MARK), kind, declared.get((name, kind))) for name, kind in columns]
    found = [nameless(column, expression) for column, expression in zip(found, expressions(plan, found), strict=True)]
    return sharpened(tables, plan, Result(columns=found, rows=rows, statement_type=StatementType.SELECT))


def expressions(plan: Plan, columns: Sequence[Column]) -> Sequence[exp.Expr | None]:
    """What is selected, one for each column; nothing where that is not one to one."""
    found = plan.tree.expressions if isinstance(plan.tree, exp.Select) else []
    return found if len(found) == len(columns) else [None] * len(columns)


def nameless(column: Column, expression: exp.Expr | None) -> Column:
    """NULL itself is text."""
    if isinstance(expression, exp.Alias) and isinstance(expression.this, exp.Null):
        return Column(name=column.name)
    return column


def define(_context: Context, tables: SessionTables, plan: Plan) -> Result:
    """CREATE, DROP, ALTER, TRUNCATE, with their IF [NOT] EXISTS."""
    if plan.expects is not None and plan.name and listing.exists(tables, plan.name, plan.kind) is not plan.expects:
        tables.commit()
        return status(plan.unless or plan.report)
    tables.run(plan)
    if plan.name is not None and plan.temporary:
        tables.temporary.add(plan.name)
    elif plan.name is not None and isinstance(plan.tree, exp.Drop):
        tables.temporary.discard(plan.name)
    return status(plan.report)


def describe(_context: Context, tables: SessionTables, plan: Plan) -> Result:
    """DESCRIBE TABLE. Raises SqlError 2003."""
    if plan.name is None:
        raise unknown_statement("DESCRIBE")
    return listing.described(tables, plan.name)


def begin(_context: Context, tables: SessionTables, _plan: Plan) -> Result:
    """BEGIN."""
    tables.begin()
    return status("Statement executed successfully.")


def commit(_context: Context, tables: SessionTables, _plan: Plan) -> Result:
    """COMMIT."""
    tables.commit()
    return status("Statement executed successfully.")


def rollback(_context: Context, tables: SessionTables, _plan: Plan) -> Result:
    """ROLLBACK."""
    tables.rollback()
    return status("Statement executed successfully.")


WORK: dict[Work, Callable[[Context, SessionTables, Plan], Result]] = {
    Work.DEFINITION: define,
    Work.DESCRIBE: describe,
    Work.BEGIN: begin,
    Work.COMMIT: commit,
    Work.ROLLBACK: rollback,
}
