"""Pydantic's errors as ours: a stable code, a JSON Pointer, and a sentence for people.

Purpose: nobody reads `extra_forbidden [type=…, input_value=…]`. Guarantee: the sentence begins with the
field's path and says what to write. Never: the input echoed at length.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from freshet.definition.errors import pointer
from freshet.domain.errors import DefinitionError

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
}


def as_refusals(
    error: ValidationError,
    model: type[BaseModel],
    *,
    at: tuple[str | int, ...] = (),
    subject: str = "",
) -> list[DefinitionError]:
    """One DefinitionError per error that pydantic found in the data of `model`.

    `at` leads from the document's root to that data; `subject` stands before the path in the sentence.
    """
    cases = [_Case(details=details, at=_path(details), model=model) for details in error.errors(include_url=False)]
    found = [_refusal(case, (*at, *case.at), subject) for case in cases]
    return list({(single.pointer, single.code): single for single in found}.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """What pydantic found, where, and in which model's data."""

    details: ErrorDetails
    at: tuple[str | int, ...]
    model: type[BaseModel]

    @property
    def given(self) -> str:
        return shown(self.details["input"])


def _path(details: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part for part in details["loc"] if part != "[key]")


def _refusal(case: _Case, at: tuple[str | int, ...], subject: str) -> DefinitionError:
    kind = case.details["type"]
    code, sentence = _SENTENCES.get(kind, _other)(case)
    named = case.at[:-1] if kind in {"missing", "extra_forbidden"} else case.at
    path = ".".join(str(part) for part in named)
    words = " ".join(word for word in (subject, path) if word) or "the workflow"
    return DefinitionError(f"{words} {sentence}", code=code, pointer=pointer(*at))


def _missing(case: _Case) -> tuple[str, str]:
    return "missing_key", f"needs the key {str(case.at[-1])!r}"


def _unknown(case: _Case) -> tuple[str, str]:
    known = _known_keys(case.at[:-1], case.model)
    close = difflib.get_close_matches(str(case.at[-1]), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return "unknown_key", f"has no key {str(case.at[-1])!r}; {hint}"


def _wrong_type(case: _Case) -> tuple[str, str]:
    return "wrong_type", f"must be {_TYPES[case.details['type']]}, not {case.given}"


def _not_listed(case: _Case) -> tuple[str, str]:
    choice = case.details["ctx"]["expected"].replace("'", "")
    return "unknown_value", f"must be {choice}, not {case.given}"


def _out_of_range(case: _Case) -> tuple[str, str]:
    bounds = {"ge": "at least", "le": "at most", "gt": "greater than", "lt": "less than"}
    limits = case.details["ctx"]
    wanted = [f"{word} {limits[key]:g}" for key, word in bounds.items() if key in limits]
    return "out_of_range", f"must be {' and '.join(wanted)}, not {case.given}"


def _empty(_: _Case) -> tuple[str, str]:
    return "empty", "must not be empty"


def _too_long(case: _Case) -> tuple[str, str]:
    return "too_long", f"must have at most {case.details['ctx']['max_length']} characters"


def _other(case: _Case) -> tuple[str, str]:
    """Our own refusals, and pydantic's rare ones in its own words."""
    if "sentence" in case.details.get("ctx", {}):
        return case.details["type"], str(case.details["ctx"]["sentence"])
    return "wrong_value", f"is refused: {case.details['msg']}"


_SENTENCES: dict[str, Callable[[_Case], tuple[str, str]]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    **dict.fromkeys(_TYPES, _wrong_type),
    "literal_error": _not_listed,
    **dict.fromkeys(("greater_than", "greater_than_equal", "less_than", "less_than_equal"), _out_of_range),
    **dict.fromkeys(("too_short", "string_too_short"), _empty),
    "string_too_long": _too_long,
}


def shown(value: Any) -> str:
    """What was given, in the words of JSON, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _known_keys(at: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """The keys of the part that `at` leads to."""
    part: Any = model
    for step in at:
        part = _inner(part, step)
    return [field.alias or name for name, field in part.model_fields.items()] if _is_model(part) else []


def _inner(part: Any, step: str | int) -> Any:
    if _is_model(part):
        fields = {field.alias or name: field.annotation for name, field in part.model_fields.items()}
        return _bare(fields.get(str(step)))
    arguments = get_args(part)
    return _bare(arguments[-1]) if arguments else None


def _bare(annotation: Any) -> Any:
    """The type without `Annotated` and without None."""
    while get_origin(annotation) in {Annotated, Union, UnionType}:
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        annotation = choices[0]
    return annotation


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)
