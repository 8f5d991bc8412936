"""YAML 1.2 text as plain data with line numbers.

Purpose: the node tree of ruamel.yaml, turned into JSON's types by the core schema. Guarantees: `on`, `no`
and dates are text; a doubled key, a key that is not text, a tag and a merge key are refused with their
line; an alias may be used, but not to blow the document up. Never: a Python object that the text names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from freshet.definition.errors import pointer
from freshet.domain.errors import DefinitionError

MAX_NODES = 200_000
_TAG = "tag:yaml.org,2002:"
_SHORT = {"true": True, "false": False}


def read(text: str) -> list[tuple[Any, dict[str, int]]]:
    """Each document's data and the line (from 1) of each JSON Pointer in it. Raises DefinitionError with
    the line.
    """
    try:
        nodes = list(YAML(typ="safe", pure=True).compose_all(text))
        return [_read_document(node) for node in nodes if not _is_empty(node)]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"the YAML can't be read: {error.problem or error.context}"
        raise DefinitionError(message, code="bad_yaml", line=mark.line + 1 if mark else None) from error
    except YAMLError as error:
        raise DefinitionError(f"the YAML can't be read: {_first_line(error)}", code="bad_yaml") from error
    except RecursionError as error:
        raise DefinitionError("the YAML is nested too deeply", code="bad_yaml") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_empty(node: Node | None) -> bool:
    return node is None or (isinstance(node, ScalarNode) and node.tag == _TAG + "null" and not node.value)


def _read_document(node: Node) -> tuple[Any, dict[str, int]]:
    reading = _Reading()
    return reading.value(node, ()), reading.lines


@dataclass(kw_only=True, slots=True)
class _Reading:
    lines: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def value(self, node: Node, at: tuple[str | int, ...]) -> Any:
        self.lines.setdefault(pointer(*at), _line(node))
        self.count += 1
        if self.count > MAX_NODES:
            message = f"the document has more than {MAX_NODES} values once its aliases are followed"
            raise DefinitionError(message, code="document_too_large", line=_line(node))
        if isinstance(node, MappingNode):
            return self.mapping(node, at)
        if isinstance(node, SequenceNode):
            _refuse_tag(node, "seq")
            return [self.value(element, (*at, index)) for index, element in enumerate(node.value)]
        return _scalar(node)

    def mapping(self, node: MappingNode, at: tuple[str | int, ...]) -> dict[str, Any]:
        _refuse_tag(node, "map")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            where = pointer(*at, key)
            if key in found:
                message = f"the key {key!r} stands twice; first on line {self.lines[where]}"
                raise DefinitionError(message, code="doubled_key", pointer=where, line=_line(key_node))
            self.lines[where] = _line(key_node)
            found[key] = self.value(value_node, (*at, key))
        return found


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _refuse_tag(node: Node, expected: str) -> None:
    if node.tag != _TAG + expected:
        raise DefinitionError(f"the tag {node.tag} is not known here", code="bad_yaml", line=_line(node))


def _key(node: Node) -> str:
    if isinstance(node, ScalarNode) and node.tag == _TAG + "str":
        return str(node.value)
    if isinstance(node, ScalarNode) and node.tag == _TAG + "merge":
        message = "merge keys (<<) are not part of YAML 1.2; write the keys out"
        raise DefinitionError(message, code="bad_yaml", line=_line(node))
    shown = node.value if isinstance(node, ScalarNode) else "a list or an object"
    message = f"a key must be text; put {shown} in quotes"
    raise DefinitionError(message, code="key_not_text", line=_line(node))


def _scalar(node: Node) -> Any:
    text, tag = str(node.value), str(node.tag).removeprefix(_TAG)
    if tag in {"str", "timestamp"}:  # the core schema of YAML 1.2 knows no dates
        return text
    if tag == "null":
        return None
    try:
        if tag == "bool":
            return _SHORT[text.lower()]
        if tag == "int":
            return _whole(text.replace("_", ""))
        if tag == "float":
            return _float(text.replace("_", ""))
    except (ValueError, KeyError) as error:
        raise DefinitionError(f"{text!r} is no {tag}", code="bad_yaml", line=_line(node)) from error
    raise DefinitionError(f"the tag {node.tag} is not known here", code="bad_yaml", line=_line(node))


def _whole(text: str) -> int:
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    return int(sign + digits, 0) if digits[:2].lower() in {"0x", "0o", "0b"} else int(text)


def _float(text: str) -> float:
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        msg = "JSON has no such number"
        raise ValueError(msg)
    return value
