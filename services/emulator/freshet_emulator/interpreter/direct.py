"""Statements that are one call of the platform: answered without the tables, whose libraries they must not wait for.

Pollers send nothing else, a thousand times a minute: logs, cancels, waits, the job history.
"""

from __future__ import annotations

from collections.abc import Sequence

from freshet_emulator.errors import compilation
from freshet_emulator.interpreter import job_functions
from freshet_emulator.interpreter.calls import arguments, method_target, rows_of
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, StatementType, text_result
from freshet_emulator.sql.lexer import Kind
from freshet_emulator.sql.names import ObjectName
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.statements import TableStatement


def run_directly(context: Context, statement: TableStatement) -> Result | None:
    """The answer of `SELECT f(…)`, `CALL f(…)` or `SELECT * FROM TABLE(f(…))`; None if it is anything else.

    Raises SqlError 2140 for a CALL of what is not there.
    """
    reader = Reader(statement.sql, list(statement.tokens))
    if reader.accept("CALL"):
        found = one_call(context, reader)
        if found is None:
            raise compilation(f"Unknown function {reader.token.text.upper()}", code=2140, sqlstate="42601")
        return found
    if not reader.accept("SELECT"):
        return None
    if reader.token.is_symbol("*"):
        return table_call(context, reader)
    return one_call(context, reader)


def shape(reader: Reader) -> tuple[int, str | None] | None:
    """Where the one call ends and its alias; None if more follows it."""
    depth, at = 0, reader.at
    tokens = reader.tokens
    while tokens[at].kind is not Kind.END:
        depth += tokens[at].is_symbol("(") - tokens[at].is_symbol(")")
        at += 1
        if depth == 0 and tokens[at - 1].is_symbol(")"):
            break
    rest = [token for token in tokens[at:-1] if not token.is_word("AS")]
    if len(rest) > 1 or len(tokens) - 1 - at > 2 or any(token.kind not in (Kind.WORD, Kind.QUOTED) for token in rest):
        return None
    return at, rest[0].value if rest else None


def one_call(context: Context, reader: Reader) -> Result | None:
    """A system function or a method of a job."""
    start, found = reader.at, shape(reader)
    if found is None:
        return None
    end, alias = found
    heading = reader.sql[reader.token.start : reader.tokens[end - 1].end].upper()
    is_system = reader.token.kind is Kind.WORD and reader.token.value.startswith("SYSTEM$")
    target = None if is_system else method_target(reader)
    if not is_system and target is None:
        reader.at = start
        return None
    name = reader.part()
    given = arguments(reader)
    if target is None:
        value = job_functions.system(context, name, given)
    else:
        value = job_functions.method(context, target, name, given)
    return text_result(alias or heading, value, StatementType.SELECT)


def table_call(context: Context, reader: Reader) -> Result | None:
    """`* FROM TABLE(…)` of one of the platform's functions, with nothing behind it."""
    reader.advance()
    ours = reader.accept("FROM", "TABLE") and reader.accept_symbol("(")
    if not ours or not ends(reader.tokens[-3:-1]):
        return None
    target = method_target(reader)
    if target is None and not reader.token.is_word("SNOWFLAKE"):
        return None
    name = reader.name() if target is None else ObjectName(parts=(reader.part(),))
    found = rows_of(context, target, name, arguments(reader))
    reader.expect_symbol(")")
    return Result(columns=found.columns, rows=found.rows, statement_type=StatementType.SELECT)


def ends(tokens: Sequence[object]) -> bool:
    """Whether two closing brackets are the last of a statement."""
    return [getattr(token, "text", "") for token in tokens] == [")", ")"]
