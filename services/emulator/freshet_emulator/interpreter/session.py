"""What the statements about session variables and parameters do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from freshet_emulator.errors import compilation
from freshet_emulator.interpreter.context import Context
from freshet_emulator.protocol import PARAMETERS
from freshet_emulator.results import Column, Result, columns_of, encode, status
from freshet_emulator.sql.lexer import Kind, Token, string_token
from freshet_emulator.sql.statements import SetVariables, ShowSession, UnsetVariables

VARIABLES = ("session_id", "created_on", "updated_on", "name", "value", "type", "comment")
SETTINGS = ("key", "value", "default", "level", "description", "type")
WORDS = {"FIXED": "fixed", "REAL": "real", "BOOLEAN": "boolean"}


def set_variables(context: Context, statement: SetVariables, select: Callable[[str], Result]) -> Result:
    """SET; `select` runs the expressions. Raises SqlError for more names than values."""
    if len(statement.tokens) == 1 and statement.tokens[0].kind in (Kind.STRING, Kind.NUMBER):
        context.session.variables[statement.names[0]] = statement.tokens[0]
        return status("Statement executed successfully.")
    found = select(statement.sql)
    if len(found.columns) != len(statement.names):
        raise compilation("The number of variables and the number of values differ.", code=1006, sqlstate="22023")
    for name, column, value in zip(statement.names, found.columns, found.rows[0], strict=True):
        context.session.variables[name] = as_token(column, value)
    return status("Statement executed successfully.")


def as_token(column: Column, value: Any) -> Token:
    """A value as the literal that stands for it."""
    if value is None or column.type == "BOOLEAN":
        word = "NULL" if value is None else str(value).upper()
        return Token(kind=Kind.WORD, text=word, value=word, start=0, end=0)
    if column.type in ("FIXED", "REAL"):
        return Token(kind=Kind.NUMBER, text=str(value), value=str(value), start=0, end=0)
    return string_token(str(value) if isinstance(value, str) else encode(value, "TEXT") or "", 0, 0)


def unset_variables(context: Context, statement: UnsetVariables) -> Result:
    """UNSET."""
    for name in statement.names:
        context.session.variables.pop(name, None)
    return status("Statement executed successfully.")


def show(context: Context, statement: ShowSession) -> Result:
    """SHOW VARIABLES and SHOW PARAMETERS."""
    return show_variables(context, statement) if statement.kind == "VARIABLES" else show_parameters(context, statement)


def show_variables(context: Context, statement: ShowSession) -> Result:
    """The variables of the session."""
    known = context.session.variables
    rows = [
        (str(context.session.id), None, None, name, known[name].value, kind_of(known[name]), "")
        for name in statement.filter.apply(list(known))
    ]
    return Result(columns=columns_of(VARIABLES, {}), rows=rows)


def kind_of(token: Token) -> str:
    """The word for a variable's type."""
    if token.kind is Kind.NUMBER:
        return "fixed" if token.value.lstrip("-").isdecimal() else "real"
    return "boolean" if token.value in ("TRUE", "FALSE") and token.kind is Kind.WORD else "text"


def show_parameters(context: Context, statement: ShowSession) -> Result:
    """The parameters that mean something here, and those that the session has set."""
    defaults = {name: text(value) for name, value in PARAMETERS.items()}
    given = context.session.parameters
    rows = [
        (name, given.get(name, defaults.get(name, "")), defaults.get(name, ""), level(name, context), "", "STRING")
        for name in statement.filter.apply(list(defaults | given))
    ]
    return Result(columns=columns_of(SETTINGS, {}), rows=rows)


def level(name: str, context: Context) -> str:
    """Where a parameter was set."""
    return "SESSION" if name in context.session.parameters else ""


def text(value: object) -> str:
    """A default as SHOW writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
