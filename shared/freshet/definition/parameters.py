"""Values for a workflow's parameters.

Purpose: `-p batch=8` on the command line and `{"batch": 8}` in a request become values of the declared
types. Guarantee: every parameter of the workflow has a value afterwards, and none beside them. Never: a
silent conversion of typed values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import orjson

from freshet.definition.errors import pointer, refuse
from freshet.definition.json_values import json_problems
from freshet.definition.refusals import shown
from freshet.domain.errors import DefinitionError
from freshet.domain.model import Param, Workflow

_WANTED = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


def coerce_params(workflow: Workflow, given: Mapping[str, Any], *, from_text: bool) -> dict[str, Any]:
    """The value of every parameter: what was given, else its default.

    `from_text`: values are strings to be read by the parameter's type (JSON for array and object). Raises
    DefinitionError (`unknown_param`, `missing_param`, `wrong_type`) with the pointer `/params/NAME`, or
    several at once.
    """
    known = {param.name: param for param in workflow.params}
    errors = [_unknown(name, known) for name in given if name not in known]
    values: dict[str, Any] = {}
    for param in workflow.params:
        try:
            values[param.name] = _value(param, given, from_text=from_text)
        except DefinitionError as error:
            errors.append(error)
    refuse(errors)
    return values


def check_value(param: Param, value: Any) -> str | None:
    """The end of a sentence when the value is not of the parameter's type, else None."""
    return None if _fits(param.type, value) else f"must be {_WANTED[param.type]}, not {shown(value)}"


def _value(param: Param, given: Mapping[str, Any], *, from_text: bool) -> Any:
    if param.name not in given:
        if param.required:
            raise _error(param.name, "missing_param", "is required; give it a value")
        return deepcopy(param.default)  # a run may change its own
    value = given[param.name]
    if from_text and isinstance(value, str):
        value = _read(param, value)
    if value is None and not param.required and param.default is None:
        return None
    refuse(list(json_problems(value, ("params", param.name))))
    reason = check_value(param, value)
    if reason is not None:
        raise _error(param.name, "wrong_type", reason)
    return int(value) if param.type == "integer" else value


def _unknown(name: str, known: Mapping[str, Param]) -> DefinitionError:
    choice = f"there are {', '.join(known)}" if known else "this workflow takes none"
    return _error(name, "unknown_param", f"is not a parameter of this workflow; {choice}")


def _error(name: str, code: str, reason: str) -> DefinitionError:
    return DefinitionError(f"params.{name} {reason}", code=code, pointer=pointer("params", name))


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float):
        return math.isfinite(value) and (kind == "number" or (kind == "integer" and value.is_integer()))
    if isinstance(value, int):
        return kind in {"integer", "number"}
    forms = {"string": str, "array": list, "object": dict}
    return isinstance(value, forms.get(kind, ()))


def _read(param: Param, text: str) -> Any:
    """The value that a text stands for; a text that can't be read stays text and is refused by its type."""
    if param.type == "string":
        return text
    if param.type == "integer":
        return int(text) if text.strip().lstrip("+-").isdecimal() else text
    try:
        return orjson.loads(text.strip().lower() if param.type == "boolean" else text)
    except orjson.JSONDecodeError:
        return text
