"""The rules of session variables, of transactions said in other words, and of what SHOW tells of a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from freshet_emulator.errors import unknown_statement
from freshet_emulator.sql.lexer import Kind, tokenize
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.services import show_filter
from freshet_emulator.sql.statements import SetVariables, ShowSession, Statement, TableStatement, UnsetVariables


def names(reader: Reader) -> tuple[str, ...]:
    """A name, or several in brackets."""
    if reader.token.is_symbol("("):
        return tuple(name.last for name in reader.names_in_parentheses())
    return (reader.part(),)


def set_variables(reader: Reader) -> SetVariables:
    """SET name = expression, or SET (a, b) = (expression, expression)."""
    found = names(reader)
    reader.expect_symbol("=")
    tokens = reader.tokens[reader.at : -1]
    if not tokens:
        reader.refuse()
    reader.at = len(reader.tokens) - 1
    text = reader.sql[tokens[0].start : tokens[-1].end]
    if len(found) > 1:
        text = text.removeprefix("(").removesuffix(")")
    return SetVariables(names=found, tokens=tuple(tokens), sql=f"SELECT {text}")


def unset_variables(reader: Reader) -> UnsetVariables:
    """UNSET name, or UNSET (a, b)."""
    return UnsetVariables(names=names(reader))


def show(reader: Reader, *, kind: str) -> ShowSession:
    """SHOW VARIABLES or SHOW PARAMETERS, with a scope that means nothing here."""
    for word in ("SESSION", "ACCOUNT"):
        if reader.accept("IN", word):
            break
    found = show_filter(reader)
    return ShowSession(kind=kind, filter=found)


def plainly(sql: str) -> TableStatement:
    """A statement for the tables, in the words that they understand."""
    return TableStatement(sql=sql, tokens=tuple(tokenize(sql)))


def start(reader: Reader) -> TableStatement:
    """START TRANSACTION [NAME name]."""
    if reader.accept("NAME"):
        reader.part()
    return plainly("BEGIN")


def begin(reader: Reader) -> TableStatement:
    """BEGIN [WORK | TRANSACTION] [NAME name]; a block of Snowflake Scripting begins with the same word."""
    if not reader.accept("TRANSACTION"):
        reader.accept("WORK")
    if reader.token.kind is not Kind.END and not reader.token.is_word("NAME"):
        raise unknown_statement(reader.sql, "Snowflake Scripting is not emulated")
    return start(reader)


def end(reader: Reader, *, word: str) -> TableStatement:
    """COMMIT or ROLLBACK, with or without WORK."""
    reader.accept("WORK")
    return plainly(word)


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("SET",): set_variables,
    ("UNSET",): unset_variables,
    ("SHOW", "VARIABLES"): partial(show, kind="VARIABLES"),
    ("SHOW", "PARAMETERS"): partial(show, kind="PARAMETERS"),
    ("START", "TRANSACTION"): start,
    ("BEGIN",): begin,
    ("COMMIT",): partial(end, word="COMMIT"),
    ("ROLLBACK",): partial(end, word="ROLLBACK"),
}
