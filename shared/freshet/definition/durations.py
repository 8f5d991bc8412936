"""Durations as ISO 8601 writes them, and as seconds.

Purpose: `PT5S`, `PT1H30M`, `P1D` and plain numbers of seconds in workflow files. Guarantee:
`parse(render(s)) == s`. Never: years and months, whose length depends on the calendar; a day is 24 hours.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

#: Ten years; beyond that a duration is a mistake, and dates overflow.
LONGEST = 315_360_000.0
_ISO = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?"
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_FORMS = "write ISO 8601 like PT5S, PT1H30M or P1D, or a number of seconds"


def parse(value: Any) -> float:
    """The seconds of an ISO 8601 text or a number. Raises ValueError with a sentence."""
    seconds = _number(value) if isinstance(value, int | float) else _text(value)
    if not 0 <= seconds <= LONGEST:
        msg = f"{value} is out of range; a duration lies between 0 seconds and P3650D"
        raise ValueError(msg)
    return seconds


def render(seconds: float) -> str:
    """The ISO 8601 text of a number of seconds, in days, hours, minutes and seconds."""
    rest = Decimal(repr(float(seconds)))
    date, time = "", ""
    for letter, size in (("D", 86_400), ("H", 3_600), ("M", 60)):
        count, rest = divmod(rest, size)
        if count and letter == "D":
            date = f"{count:f}D"
        elif count:
            time += f"{count:f}{letter}"
    if rest or not date + time:
        time += f"{_plain(rest)}S"
    return f"P{date}" + (f"T{time}" if time else "")


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(value: float) -> float:
    if isinstance(value, bool):
        msg = f"{str(value).lower()} is not a duration; {_FORMS}"
        raise ValueError(msg)  # noqa: TRY004 - pydantic takes ValueError for a refusal
    return float(value)


def _text(value: Any) -> float:
    found = _ISO.fullmatch(value) if isinstance(value, str) else None
    if found is None or not any(found.groups()):
        msg = f"{value!r} is not a duration; {_FORMS}"
        raise ValueError(msg)
    parts = {unit: Decimal(text.replace(",", ".")) for unit, text in found.groupdict().items() if text}
    return float(sum(count * _SECONDS[unit] for unit, count in parts.items()))
