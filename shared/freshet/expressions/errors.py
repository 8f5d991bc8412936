"""What can go wrong when an expression is evaluated."""

from __future__ import annotations

from freshet.domain.errors import FreshetError


class ExpressionError(FreshetError):
    """The expression can't be evaluated."""

    def __init__(self, message: str | None = None, *, expression: str = "") -> None:
        """`expression` is the source text; the message names it already."""
        super().__init__(message)
        self.expression = expression
