"""An expression of the Common Expression Language, compiled once and evaluated often.

Purpose: what `for_each`, `input`, `when`, `params` of a trigger and `${{ … }}` hold. Guarantees: evaluation
has no effects and ends (CEL is not Turing complete, its regular expressions are linear); it yields plain
JSON; a task that is missing or has no result reads as null. Never: access to anything but the variables
given.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from freshet.domain.errors import DefinitionError
from freshet.expressions import interpreter
from freshet.expressions.errors import ExpressionError
from freshet.expressions.scanning import Path, member_paths, whole_path
from freshet.expressions.values import as_json

MAX_LENGTH = 10_000
#: What the interpreter offers by itself (tried out on 0.10.0); its Python extras are not switched on.
FUNCTIONS = frozenset(
    {
        *("size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn"),
        *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
        *("none", "of", "ofNonZeroValue", "hasValue", "value", "or", "orValue"),  # of `optional`
    }
)
_TYPES = frozenset(
    {
        *("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"),
        *("timestamp", "duration", "optional"),
    }
)
_POSITION = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """A compiled expression; equal when the text is equal."""

    text: str
    paths: frozenset[Path] = field(compare=False)  # variables with their literally named members
    path: Path | None = field(compare=False)  # when the expression is one path and nothing else
    program: Any = field(compare=False, repr=False)

    @property
    def references(self) -> frozenset[str]:
        """The variables it reads: `params`, `item`, `run`, `event`, and each task as `tasks.X`.

        Plain `tasks` means that a task is named by computation.
        """
        return frozenset(".".join(path[:2]) if path[0] == "tasks" else path[0] for path in self.paths)

    @property
    def task_names(self) -> frozenset[str]:
        """The tasks whose results it reads."""
        return frozenset(path[1] for path in self.paths if path[0] == "tasks" and len(path) > 1)

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The value over `variables` (`params`, `tasks`, `item`, `run`, `event`; absent ones are null), as
        plain JSON.

        An expression that is only a path is walked in Python: nothing is copied, and whole numbers keep all
        their digits; elsewhere numbers beyond 64 bits become doubles. Raises ExpressionError.
        """
        scope = self._scope(variables)
        if self.path is not None:
            return _walk(self.text, self.path, scope)
        try:
            return as_json(self.program.execute(scope))
        except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError) as error:
            raise _evaluation_error(self.text, error) from error

    def _scope(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Only what is read, since the interpreter copies what it is given."""
        scope = {path[0]: variables.get(path[0]) for path in self.paths}
        if "tasks" in scope:
            given = scope["tasks"] or {}
            named = {name: given.get(name) or {"result": None} for name in self.task_names}
            scope["tasks"] = {**given, **named} if "tasks" in self.references else named
        return scope


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """The expression of a text. Raises DefinitionError (code `bad_expression`) that names it and the
    position.
    """
    if len(text) > MAX_LENGTH:
        message = f"an expression has at most {MAX_LENGTH} characters, this one has {len(text)}"
        raise DefinitionError(message, code="bad_expression")
    try:
        program = interpreter.load().compile(text)
    except ValueError as error:
        raise _syntax_error(text, str(error)) from error
    _check_functions(text, program.functions())
    paths = frozenset(path for path in member_paths(text) if path[0] not in _TYPES)
    path = whole_path(text)
    return Expression(text=text, paths=paths, path=path if path in paths else None, program=program)


def task_result_path(text: str) -> tuple[str, Path] | None:
    """`("X", ("field", "sub"))` when the text is exactly `tasks.X.result.field.sub`, else None.

    For the engine, which then needs no interpreter; `tasks.X.result` gives `("X", ())`.
    """
    path = whole_path(text)
    if path is None or len(path) < 3 or path[0] != "tasks" or path[2] != "result":
        return None
    return path[1], path[3:]


def _walk(text: str, path: Path, scope: Mapping[str, Any]) -> Any:
    value: Any = scope
    for depth, name in enumerate(path):
        if not isinstance(value, Mapping) or name not in value:
            owner = ".".join(path[:depth])
            what = f"{owner} has" if isinstance(value, Mapping) else f"{owner} is {_kind(value)}, it has"
            message = f"the expression {_short(text)} can't be evaluated: {what} no {name!r}"
            raise ExpressionError(message, expression=text)
        value = value[name]
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "text"
    return "a number" if isinstance(value, int | float) else "a list"


def _syntax_error(text: str, report: str) -> DefinitionError:
    found = _POSITION.findall(report) or [("1", "1", report)]
    # What the tree builder says of the gap comes before what the parser says of its cause.
    line, column, reason = next((each for each in found if each[2].startswith("Syntax error")), found[0])
    where = f"column {column}" if line == "1" else f"line {line}, column {column}"
    message = f"the expression {_short(text)} can't be read at {where}: {_plain(reason)}"
    return DefinitionError(message, code="bad_expression")


def _plain(reason: str) -> str:
    """The parser's reason without its list of everything that could have stood there."""
    reason = reason.removeprefix("Syntax error: ").split(" expecting ")[0]
    return "it ends too early" if "'<EOF>'" in reason else reason


def _check_functions(text: str, used: list[str]) -> None:
    for name in used:
        if name[0].isalpha() and name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(FUNCTIONS))}"
            message = f"the expression {_short(text)} calls the unknown function {name!r}{hint}"
            raise DefinitionError(message, code="unknown_function")


def _evaluation_error(text: str, error: Exception) -> ExpressionError:
    reason = f"there is no {error}" if isinstance(error, KeyError) else str(error).split(". CEL does not coerce")[0]
    reason = reason.split(". Check ")[0].strip()
    return ExpressionError(f"the expression {_short(text)} can't be evaluated: {reason}", expression=text)


def _short(text: str) -> str:
    return repr(text) if len(text) <= 120 else repr(text[:117] + "…")
