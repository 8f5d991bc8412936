"""What a job is to run, in the words of `EXECUTE JOB SERVICE`.

Purpose: the four forms of its FROM clause. Guarantee: texts, names and values mean in the statement what they meant
here. Never: a look into the specification. Source:
https://docs.snowflake.com/en/sql-reference/sql/execute-job-service
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from freshet.snowflake.text import literal, staged_file

UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
PLAIN_VALUE = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Specification:
    """A specification as text (YAML or JSON) or in a file of a stage (`@stage/path`); a template if `using` is set."""

    text: str | None = None
    file: str | None = None
    using: Mapping[str, str] | None = None  # see template_value

    def clause(self) -> str:
        """`FROM …`. Raises ValueError for a file that is not in a stage, and for a variable that is no name."""
        word = "SPECIFICATION" if self.using is None else "SPECIFICATION_TEMPLATE"
        values = "" if self.using is None else f" USING ({', '.join(map(_pair, self.using.items()))})"
        if self.text is not None:
            return f"FROM {word} {literal(self.text)}{values}"
        stage, path = staged_file(self.file or "")
        return f"FROM @{stage} {word}_FILE = {literal(path)}{values}"


def template_value(text: str) -> str:
    """A value as Snowflake takes it for a template: alphanumeric or JSON as it is, any other text as a JSON string."""
    if PLAIN_VALUE.fullmatch(text):
        return text
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return json_for_yaml(text)
    return text


def json_for_yaml(value: Any) -> str:
    """JSON that YAML reads as the same: what YAML takes for unprintable, or for the end of a line, is escaped.

    Source: https://yaml.org/spec/1.2.2/#51-character-set. Characters beyond U+FFFF stay, since YAML knows no pairs of
    surrogates. Raises orjson.JSONEncodeError.
    """
    text = orjson.dumps(value, default=dict).decode()
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _pair(item: tuple[str, str]) -> str:
    name, value = item
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        msg = f"{name!r} can't be a variable of a template"
        raise ValueError(msg)
    return f"{name} => {literal(value)}"
