"""The errors that the emulator answers, with Snowflake's own numbers and SQL states."""

from __future__ import annotations

STATEMENT_SHOWN = 200


class EmulatorError(Exception):
    """The emulator can't start with these settings."""


class SqlError(Exception):
    """A statement that failed: answered to the client as HTTP 200 with `success: false`.

    `code` is Snowflake's error number, `sqlstate` the five characters that go with it.
    """

    def __init__(self, code: int, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.sqlstate = sqlstate
        self.message = message


class LoginRefusedError(Exception):
    """The credentials of a login are not accepted."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def shorten(statement: str) -> str:
    """The beginning of a statement, on one line, for messages."""
    text = " ".join(statement.split())
    return text if len(text) <= STATEMENT_SHOWN else text[:STATEMENT_SHOWN] + "…"


def compilation(message: str, *, code: int = 1003, sqlstate: str = "42000") -> SqlError:
    """A statement that can't be compiled."""
    return SqlError(code, sqlstate, f"SQL compilation error:\n{message}")


def unexpected(text: str, statement: str, *, line: int, position: int) -> SqlError:
    """A syntax error at one word of a statement; `line` counts from 1, `position` from 0."""
    return compilation(
        f"syntax error line {line} at position {position} unexpected '{text}'.\nStatement: {shorten(statement)}"
    )


def unknown_statement(statement: str, reason: str = "it is not a statement the emulator knows") -> SqlError:
    """A statement that neither the emulator nor its tables understand."""
    return compilation(f"the emulator cannot run this statement: {reason}.\nStatement: {shorten(statement)}")


def missing(kind: str, name: str) -> SqlError:
    """An object that does not exist (2003, as Snowflake also answers for a missing grant)."""
    return compilation(f"{kind} '{name}' does not exist or not authorized.", code=2003, sqlstate="02000")


def taken(name: str) -> SqlError:
    """An object whose name is in use (2002)."""
    return compilation(f"Object '{name}' already exists.", code=2002, sqlstate="42710")


def wrong_count(actual: int, desired: int) -> SqlError:
    """More statements, or fewer, than the client said."""
    return SqlError(8, "0A000", f"Actual statement count {actual} did not match the desired statement count {desired}.")


def no_current(kind: str) -> SqlError:
    """An unqualified name in a session that has no current database or schema."""
    return SqlError(
        90105 if kind == "database" else 90106,
        "22000",
        f"Cannot perform operation. This session does not have a current {kind}. "
        f"Call 'USE {kind.upper()}', or use a qualified name.",
    )


def invalid_specification(reason: str) -> SqlError:
    """A service specification that is refused; `reason` names the field."""
    return SqlError(395018, "22023", f"Invalid spec: {reason}")
