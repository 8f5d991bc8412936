"""Result types that depend on what went in: DuckDB divides numbers as DOUBLE and adds days to a DATE as TIMESTAMP.

Snowflake keeps numbers exact and dates dates. Where a selected expression is such a one, the columns in it are asked
for their types, and the result is brought to the type that Snowflake would give.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from typing import Any

from sqlglot import exp

from freshet_emulator.results import Column, Result
from freshet_emulator.tables.database import SessionTables
from freshet_emulator.tables.headings import outermost
from freshet_emulator.tables.plans import Plan, written
from freshet_emulator.tables.types import DECIMAL, DIGITS

DAYS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
MOVING = (exp.DateAdd, exp.DateSub, exp.DateTrunc, exp.TimestampTrunc)
EXTRA_SCALE, LARGEST_SCALE = 6, 12
# Beyond this many digits a DOUBLE tells nothing more.
CONTEXT = decimal.Context(prec=38, rounding=decimal.ROUND_HALF_UP)

Converter = tuple[Column, Callable[[Any], Any]]


def sharpened(tables: SessionTables, plan: Plan, result: Result) -> Result:
    """The result with exact numbers and dates where Snowflake has them."""
    select = outermost(plan.tree)
    if select is None or len(select.expressions) != len(result.columns):
        return result
    changes: dict[int, Converter] = {}
    for at, (expression, column) in enumerate(zip(select.expressions, result.columns, strict=True)):
        if change := converter(tables, select, expression, column):
            changes[at] = change
    if not changes:
        return result
    columns = [changes[at][0] if at in changes else column for at, column in enumerate(result.columns)]
    return Result(
        columns=columns, rows=[converted(row, changes) for row in result.rows], statement_type=result.statement_type
    )


def converted(row: Sequence[Any], changes: dict[int, Converter]) -> list[Any]:
    """One row with its changes."""
    return [changes[at][1](value) if at in changes and value is not None else value for at, value in enumerate(row)]


def converter(tables: SessionTables, select: exp.Select, expression: exp.Expr, column: Column) -> Converter | None:
    """What to do with a column; None for most."""
    if column.type == "REAL" and divides(expression):
        scale = exact_scale(leaf_types(tables, select, expression))
        if scale is not None:
            return Column(name=column.name, type="FIXED", scale=scale), lambda value: rounded(value, scale)
    if column.type == "TIMESTAMP_NTZ" and moves_days(expression):
        kinds = leaf_types(tables, select, expression, literals=False)
        if kinds and set(kinds) == {"DATE"}:
            return Column(name=column.name, type="DATE"), dt.datetime.date
    return None


def divides(expression: exp.Expr) -> bool:
    """Whether there is a division or an average of something that is not called a float."""
    if any(each.is_type("double", "float") for each in expression.find_all(exp.DataType)):
        return False
    return any(
        isinstance(each, exp.Avg) or (isinstance(each, exp.Anonymous) and each.name == "FS_DIVIDE")
        for each in expression.walk()
    )


def moves_days(expression: exp.Expr) -> bool:
    """Whether this is a date moved or cut by whole days."""
    inner = expression.unalias()
    return isinstance(inner, MOVING) and str(inner.args.get("unit", "")).upper().strip("'") in DAYS


def leaf_types(tables: SessionTables, select: exp.Select, expression: exp.Expr, *, literals: bool = True) -> list[str]:
    """The types of the columns and casts that an expression is made of, and of its numbers."""
    leaves = [each.copy() for each in expression.find_all(exp.Column, exp.Cast, exp.CurrentDate)]
    numbers = [each.copy() for each in expression.find_all(exp.Literal) if literals and not each.is_string]
    query = exp.select(*leaves, *numbers).limit(0)
    for part in ("from_", "joins", "laterals", "with_"):
        if select.args.get(part):
            found = select.args[part]
            query.set(part, [each.copy() for each in found] if isinstance(found, list) else found.copy())
    return tables.describe(written(query)) if query.expressions else []


def exact_scale(kinds: Sequence[str]) -> int | None:
    """The scale of a quotient of these; None if one of them is no exact number."""
    scales = []
    for kind in kinds:
        found = DECIMAL.fullmatch(kind)
        if not found and kind not in DIGITS:
            return None
        scales.append(int(found[2]) if found else 0)
    largest = max(scales, default=0)
    return max(largest, min(largest + EXTRA_SCALE, LARGEST_SCALE))


def rounded(value: float, scale: int) -> decimal.Decimal:
    """A DOUBLE as an exact number."""
    return CONTEXT.quantize(decimal.Decimal(repr(value)), decimal.Decimal(1).scaleb(-scale))
