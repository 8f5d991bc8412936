"""Cron expressions and time zones, checked at the door.

Purpose: five fields (or six, seconds first) as cronsim reads them, and the aliases that crontab(5) has.
Guarantee: what passes will fire some day. Never: the next tick of a real clock; that is
`freshet.scheduling`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def parse_cron(text: str) -> str:
    """The expression with its alias replaced and single spaces. Raises ValueError with a sentence."""
    fields = " ".join(ALIASES.get(text.strip().lower(), text).split())
    if fields.startswith("@"):
        msg = f"{text!r} is not an alias for a cron expression; there are {', '.join(ALIASES)}"
        raise ValueError(msg)
    try:
        next(CronSim(fields, _ANY_DAY))
    except CronSimError as error:
        reason = str(error).lower().replace("bad ", "the field is wrong: ")
        form = "write minute hour day month weekday, like '0 2 * * *'"
        msg = f"{text!r} is not a cron expression ({reason}); {form}"
        raise ValueError(msg) from error
    except StopIteration as error:
        msg = f"{text!r} never fires"
        raise ValueError(msg) from error
    return fields


def parse_zone(name: str) -> str:
    """The name of an IANA time zone. Raises ValueError with a sentence."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"{name!r} is not an IANA time zone; write one like Europe/Berlin or UTC"
        raise ValueError(msg) from error
    return name
