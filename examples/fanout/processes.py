"""Processes that do next to nothing: what is left is the cost of orchestration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from freshet import process


@process("counting", version="1.0.0")
def count(payload: Mapping[str, Any], context: Any) -> int:
    """How many items there shall be."""
    return int(payload["n"])


@process("nothing", version="1.0.0")
def do_nothing(payload: Any, context: Any) -> Any:
    """Answer the payload."""
    return payload


@process("row", version="1.0.0")
def insert_row(payload: int, context: Any) -> None:
    """Insert one row; the effect and the report are one transaction."""
    context.connection.execute("insert into fanout_rows (run_id, item) values (%s, %s)", (context.run_id, payload))


@process("rows_table", version="1.0.0")
def create_rows_table(payload: Mapping[str, Any], context: Any) -> int:
    """Create the table that `row` inserts into; answer how many items there shall be."""
    context.connection.execute("create table if not exists fanout_rows (run_id uuid not null, item integer not null)")
    return int(payload["n"])


@process("adding", version="1.0.0")
def add_up(payload: Iterable[Any], context: Any) -> dict[str, int]:
    """How many results there are, and their sum; the result of another `adding` counts with its sum."""
    values = [result["sum"] if isinstance(result, Mapping) else result for result in payload]
    return {"results": len(values), "sum": sum(value or 0 for value in values)}


@process("dealing", version="1.0.0")
def deal(payload: Mapping[str, Any], context: Any) -> list[dict[str, int]]:
    """Groups of growing size, one for each element of a nested map."""
    return [{"group": group, "size": group + 1} for group in range(int(payload["groups"]))]


@process("sizing", version="1.0.0")
def size(payload: Mapping[str, int], context: Any) -> int:
    """The size of one group."""
    return payload["size"]
