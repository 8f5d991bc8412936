"""A first process of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freshet import process


@process("greeting", version="1.0.0")
def greet(payload: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Greet somebody; `payload` holds the run's params, for the task has no parents."""
    context.logger.info("greeting", name=payload["name"])
    return {"text": f"Hello, {payload['name']}!"}


@process("shouting", version="1.0.0")
def shout(payload: Mapping[str, Any], context: Any) -> str:
    """Say it louder; `payload` is the parent's result."""
    return str(payload["text"]).upper()
