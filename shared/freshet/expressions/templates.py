"""`${{ … }}` within text.

Purpose: `args` and `env` of a job service, rendered when the item is queued. Guarantee: text outside the
marks is kept to the letter. Never: a script; scripts get values, not text.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import orjson

from freshet.domain.errors import DefinitionError
from freshet.expressions.expression import Expression, compile_expression
from freshet.expressions.scanning import template_end

OPEN, CLOSE = "${{", "}}"


def has_template(text: str) -> bool:
    """Whether the text holds `${{`."""
    return OPEN in text


@functools.lru_cache(maxsize=4096)
def parse_template(text: str) -> tuple[str | Expression, ...]:
    """The pieces of a template: plain text and expressions. Raises DefinitionError (`bad_template`,
    `bad_expression`).
    """
    pieces: list[str | Expression] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        end = template_end(text, start + len(OPEN))
        if end is None:
            message = f"the template {text!r} opens ${{{{ at column {start + 1} and never closes it with }}}}"
            raise DefinitionError(message, code="bad_template")
        pieces += [text[at:start], compile_expression(text[start + len(OPEN) : end].strip())]
        at = end + len(CLOSE)
    return tuple(piece for piece in [*pieces, text[at:]] if piece != "")


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text with every `${{ … }}` replaced by its value: text as it is, all else as JSON. Raises
    ExpressionError.
    """
    return "".join(
        piece if isinstance(piece, str) else _text(piece.evaluate(variables)) for piece in parse_template(template)
    )


def template_expressions(template: str) -> tuple[Expression, ...]:
    """The expressions of a template, in order."""
    return tuple(piece for piece in parse_template(template) if isinstance(piece, Expression))


def template_references(template: str) -> frozenset[str]:
    """The variables that a template reads, as `Expression.references` names them."""
    return frozenset(name for piece in template_expressions(template) for name in piece.references)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
