"""What the end of a script on Snowflake means.

Purpose: the rows of the query history become an outcome: whose failure, and in which sentence. Guarantee: `retries` are
used up only by what the user's script did. Never: a statement to Snowflake.
"""

from __future__ import annotations

from collections.abc import Sequence

from freshet.execution.contract import Outcome, failed
from freshet.snowflake import QueryRow
from freshet.snowflake.errors import PLATFORM
from freshet.snowflake.script import statements

#: A statement was ended by somebody or by a time limit: neither is the platform's failure.
CANCELED, TIMED_OUT = 604, 630


def failure(rows: Sequence[QueryRow], text: str, timeout: float | None) -> Outcome:
    """The outcome of a script that failed; `rows` are its own and, if it has several, those of its statements."""
    root, *children = rows
    at = next((place for place, row in enumerate(children) if row.failed), None)
    culprit = root if at is None else children[at]
    message = " ".join((culprit.message or root.message or "Snowflake gives no reason.").split())
    if culprit.code == TIMED_OUT and timeout is not None:
        return timed_out(timeout)
    if culprit.code in PLATFORM - {CANCELED, TIMED_OUT}:
        return lost(f"Snowflake failed inside: {message}")
    return failed(f"{_place(text, at)} failed: {message}", query_id=culprit.id, code=culprit.code)


def timed_out(timeout: float) -> Outcome:
    """The script ran for too long."""
    message = f"The script ran longer than its timeout of {timeout:g} s and was aborted."
    return failed(message, kind="timeout", status="timed_out")


def lost(message: str) -> Outcome:
    """Not the user's failure: a new attempt, which uses up none of the retries."""
    return Outcome(status="lost", error={"class": "platform", "message": message}, job_ended=True)


def _place(text: str, at: int | None) -> str:
    known = statements(text)
    place = at or 0
    if place >= len(known):
        return "The script"  # Snowflake parts a block otherwise than we do
    number = f" {place + 1}" if at is not None else ""
    return f"The statement{number} on line {known[place].line} of the script"
