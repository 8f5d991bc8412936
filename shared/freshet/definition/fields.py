"""The types of single fields in a workflow file.

Purpose: turn what people write into what the core holds (seconds, CEL text, names), each with its JSON
Schema. Guarantee: a refusal is a code and the end of a sentence that begins with the field's path. Never: a
rule about several fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from freshet.definition import cron, durations
from freshet.domain.errors import DefinitionError
from freshet.expressions import Expression, compile_expression, has_template, parse_template

Json = dict[str, Any]


def refusal(code: str, sentence: str) -> PydanticCustomError:
    """A refusal that pydantic collects; `sentence` follows the field's path: `tasks.a.timeout <sentence>`."""
    return PydanticCustomError(code, "{sentence}", {"sentence": sentence})


def _checked(code: str, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser of ours, whose sentence is put after the field's path."""

    def check(value: Any) -> Any:
        try:
            return parse(value)
        except DefinitionError as error:
            raise refusal(error.code, f"is refused: {error.message}") from error
        except ValueError as error:
            raise refusal(code, f"is refused: {error}") from error

    return check


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """Text of a pattern, for `Annotated[str, Matching(…)]`."""

    pattern: str
    wanted: str  # ends the sentence `must be …`
    longest: int
    code: str = "bad_name"

    def check(self, text: str) -> str:
        """The text itself, if it matches."""
        if len(text) > self.longest:
            raise refusal("too_long", f"must have at most {self.longest} characters, not {len(text)}")
        if not re.fullmatch(self.pattern, text):
            raise refusal(self.code, f"must be {self.wanted}, not {text!r}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> Json:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.longest}


# -- seconds ---------------------------------------------------------------------------------------------

_DURATION_SCHEMA: Json = {
    "anyOf": [
        {"type": "string", "pattern": r"^P(?=.)(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?$"},
        {"type": "number", "minimum": 0},
    ],
    "description": "ISO 8601 duration such as PT5S, PT1H30M or P1D; or a number of seconds.",
}


def _at_least_a_second(value: float) -> float:
    if value < 1:
        raise refusal("duration_too_short", f"must be 1 second or longer, not {durations.render(value)}")
    return value


def _longer_than_nothing(value: float) -> float:
    if value <= 0:
        raise refusal("duration_too_short", "must be longer than 0 seconds")
    return value


_Parsed = BeforeValidator(_checked("bad_duration", durations.parse))
_Published = WithJsonSchema(_DURATION_SCHEMA)
Delay = Annotated[float, _Parsed, _Published]
Timeout = Annotated[float, _Parsed, AfterValidator(_longer_than_nothing), _Published]
Interval = Annotated[float, _Parsed, AfterValidator(_at_least_a_second), _Published]


# -- names -----------------------------------------------------------------------------------------------

_WORD = "of letters, digits, _ and - that begins with a letter or _"
_TASK = Matching(pattern=r"[A-Za-z_][A-Za-z0-9_-]*", wanted=f"a name {_WORD}", longest=128)
_PARAM = Matching(
    pattern=r"[A-Za-z_][A-Za-z0-9_]*",
    wanted="a name of letters, digits and _ that begins with a letter or _",
    longest=128,
)
_WORKFLOW = Matching(
    pattern=r"[A-Za-z0-9_][A-Za-z0-9._-]*", wanted="a name of letters, digits, dots, _ and -", longest=128
)
_PROCESS = Matching(
    pattern=r"[A-Za-z_][A-Za-z0-9_.-]*", wanted="the name of a process, like classification", longest=128
)
_VERSION = Matching(
    pattern=r"[A-Za-z0-9][A-Za-z0-9_.+-]*", wanted="a version, like 1.0.0", longest=64, code="bad_version"
)
_QUEUE = Matching(pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]*", wanted="a queue's name without spaces", longest=200)
_CONNECTION = Matching(
    pattern=r"[A-Za-z_][A-Za-z0-9_-]*",
    wanted="postgres, snowflake or the name of a connection",
    longest=64,
)
_EVENT = Matching(
    pattern=r"\S+", wanted="a CloudEvents type, like com.example.document.arrived", longest=256, code="bad_type"
)
_NAME = r"(?:[A-Za-z_][A-Za-z0-9_$]*|\"(?:[^\"]|\"\")+\")"
_IDENTIFIER = Matching(pattern=_NAME, wanted="a Snowflake identifier", longest=255)
_OBJECT = Matching(
    pattern=rf"{_NAME}(?:\.{_NAME}){{0,2}}", wanted="the name of a Snowflake object, like db.schema.name", longest=767
)
_STAGED = Matching(
    pattern=rf"@{_NAME}(?:\.{_NAME}){{0,2}}/[^\x00-\x1f]*[^\x00-\x1f/]",
    wanted="a file in a stage, like @db.schema.stage/path/spec.yaml",
    longest=1024,
    code="bad_stage",
)
_IMAGE = Matching(
    pattern=r"[^\s'\"${}]+",
    wanted="an image like /db/schema/repo/name:tag, without spaces or templates",
    longest=512,
    code="bad_image",
)

WorkflowName = Annotated[str, _WORKFLOW]
TaskName = Annotated[str, _TASK]
ParamName = Annotated[str, _PARAM]
ProcessName = Annotated[str, _PROCESS]
ProcessVersion = Annotated[str, _VERSION]
QueueName = Annotated[str, _QUEUE]
ConnectionName = Annotated[str, _CONNECTION]
EventType = Annotated[str, _EVENT]
Identifier = Annotated[str, _IDENTIFIER]
ObjectName = Annotated[str, _OBJECT]
StagedFile = Annotated[str, _STAGED]
Image = Annotated[str, _IMAGE]


# -- expressions -----------------------------------------------------------------------------------------


def _whole_expression(text: str) -> str:
    """CEL text, also when it is written as one `${{ … }}`."""
    if not has_template(text):
        return compile_expression(text.strip()).text
    pieces = parse_template(text.strip())
    if len(pieces) == 1 and isinstance(pieces[0], Expression):
        return pieces[0].text
    msg = f"{text!r} is CEL already; join text with +, as in 'day-' + run.scheduled_for"
    raise ValueError(msg)


def _literal(value: Any) -> str:
    """JSON as CEL, whose literals are a superset; strings within may be one `${{ … }}`."""
    if isinstance(value, str) and has_template(value):
        return f"({_whole_expression(value)})"
    if isinstance(value, dict):
        members = (f"{json_text(str(key))}: {_literal(member)}" for key, member in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(element) for element in value) + "]"
    return json_text(value)


def json_text(value: Any) -> str:
    """A value as JSON."""
    return orjson.dumps(value).decode()


def expression_text(value: Any) -> str:
    """CEL: text is an expression, all else a literal. Raises DefinitionError or ValueError."""
    return _whole_expression(value) if isinstance(value, str) else compile_expression(_literal(value)).text


def _list_expression(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | list):
        msg = "write CEL that yields a list or a whole number, or a list, or a whole number"
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError for a refusal
    if isinstance(value, int) and value < 0:
        msg = f"{value} is negative; write how many items there are"
        raise ValueError(msg)
    return expression_text(value)


def _template(value: Any) -> str:
    """Text with `${{ … }}`; YAML's numbers and booleans are taken as the text they show."""
    if not isinstance(value, str | int | float):
        msg = "write text, a number or a boolean"
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError for a refusal
    text = value if isinstance(value, str) else json_text(value)
    parse_template(text)
    return text


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_CEL = "An expression of the Common Expression Language"
Cel = Annotated[
    str,
    BeforeValidator(_checked("bad_expression", expression_text)),
    WithJsonSchema({"description": f"{_CEL}; anything but text is a literal."}),
]
Condition = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_checked("bad_expression", _whole_expression)),
    WithJsonSchema({"type": "string", "minLength": 1, "description": f"{_CEL} that yields true or false."}),
]
ForEach = Annotated[
    str,
    BeforeValidator(_checked("bad_for_each", _list_expression)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "integer", "minimum": 0},
                {"type": "array"},
            ],
            "description": f"{_CEL} that yields a list or a whole number; or the list or number itself.",
        }
    ),
]
Template = Annotated[
    str,
    BeforeValidator(_checked("bad_template", _template)),
    WithJsonSchema({"type": ["string", "number", "boolean"], "description": "Text; `${{ … }}` holds CEL."}),
]
Parents = Annotated[
    list[str],
    BeforeValidator(_one_or_more),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "description": "The names of the tasks that come before, within the same scope.",
        }
    ),
]
CronText = Annotated[
    str,
    AfterValidator(_checked("bad_cron", cron.parse_cron)),
    WithJsonSchema({"type": "string", "description": "minute hour day month weekday, or @daily and the like."}),
]
Zone = Annotated[
    str,
    AfterValidator(_checked("bad_time_zone", cron.parse_zone)),
    WithJsonSchema({"type": "string", "description": "An IANA time zone such as Europe/Berlin."}),
]
