"""Specifications and templates that are given as text.

Purpose: YAML in YAML is read at apply, and so are the variables of a template. Guarantee: a text that is refused is
refused with the line in it. Never: a rule of SPCS's; those are in `specification_file`. Source of the template's
syntax: https://docs.snowflake.com/en/developer-guide/snowpark-container-services/working-with-services
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from freshet.definition import yaml_source
from freshet.definition.fields import refusal
from freshet.domain.errors import DefinitionError
from freshet.domain.model import CONTEXT_VARIABLES
from freshet.expressions import has_template

#: Bytes; Snowflake takes statements of up to 1 MB.
MAX_BYTES = 512 * 1024
PLACEHOLDER = re.compile(r"\{\{\s*(?P<name>[A-Za-z_]\w*)\s*(?P<default>\|\s*default\((?:[^()]|\([^()]*\))*\)\s*)?\}\}")


def read_specification(value: Any) -> Any:
    """YAML (or JSON) text as data; anything else as it is."""
    if not isinstance(value, str):
        return value
    _refuse_size(value)
    try:
        documents = yaml_source.read(value)
    except DefinitionError as error:
        where = f" on its line {error.line}" if error.line else ""
        raise refusal(error.code, f"is refused{where}: {error.message}") from error
    if len(documents) != 1:
        raise refusal("bad_yaml", f"must hold one YAML document, not {len(documents)}")
    return documents[0][0]


def check_template(text: str) -> str:
    """The text itself, if it can be a template of Snowflake's."""
    _refuse_size(text)
    if not text.strip():
        raise refusal("empty", "must not be empty")
    if "\0" in text:
        raise refusal("not_json", "holds a NUL character")
    if has_template(text):
        raise refusal(
            "template_in_script", "holds ${{ … }}, which is not replaced in it; write {{ name }} and set it in `using`"
        )
    return text


def template_problems(text: str, using: Collection[str]) -> Iterator[tuple[str, str]]:
    """Key (or "" for the template) and sentence for each variable that nothing sets, or that nobody reads."""
    read = {match["name"]: match["default"] for match in PLACEHOLDER.finditer(text)}
    needed = [match["name"] for match in PLACEHOLDER.finditer(text) if match["default"] is None]
    for name in dict.fromkeys(needed):
        if name not in using and name not in CONTEXT_VARIABLES:
            yield "", f"reads the variable {name!r}, which `using` does not set and which has no default"
    for name in using:
        if name not in read:
            yield name, "is read nowhere in the template" + (f"; it reads {', '.join(read)}" if read else "")


def filled(text: str, values: Mapping[str, str]) -> str | None:
    """The template with its values; None if a default stands in for one, whose form only Snowflake knows."""
    if any(match["name"] not in values for match in PLACEHOLDER.finditer(text)):
        return None
    return PLACEHOLDER.sub(lambda match: values[match["name"]], text)


def _refuse_size(text: str) -> None:
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise refusal("too_long", f"must have at most {MAX_BYTES} bytes")
