"""What is new in a window of a growing text.

Purpose: Snowflake shows the last 100 KB of what a container wrote, and the same lines come back at every look.
Guarantees: while a look overlaps with the one before, nothing is missing and nothing is doubled; where it does not,
or too little to be sure, it says so. Of a text that repeats itself for the whole length of the overlap nobody can tell
how often it did: then the fewest repeats are taken. Never: a clock, a statement.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes that Snowflake shows of a container's output at most; documented as 100 KB, which may be either sort of KB.
WINDOW = 100_000
#: Characters of an overlap below which it may be chance: a line's end, a common word.
CERTAIN = 64
#: What stands where something may be missing, a part of its own (see `JobLogKept`).
GAP = "\n[Freshet: lines may be missing here: more was printed between two looks than Snowflake keeps]\n"
#: Places at which an overlap is looked for quickly, before the way that is never slow.
QUICK_TRIES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What a window adds to what is kept; `gap`: something may be missing in between."""

    text: str
    gap: bool = False


def news(kept: str, window: str, *, size: int = WINDOW) -> News:
    """What of `window` is not in `kept`, which is what earlier windows added, at least its last window's length.

    A window of `size` bytes or more may have lost its beginning.
    """
    full = len(window.encode("utf-8", "replace")) >= size
    shared = overlap(kept, window)
    if not shared and window.startswith("\N{REPLACEMENT CHARACTER}"):
        # Cut in the middle of a character.
        window = window.lstrip("\N{REPLACEMENT CHARACTER}")
        shared = overlap(kept, window)
    if not kept:
        return News(text=window, gap=full)
    whole = shared == len(window) or (shared == len(kept) and not full)
    return News(text=window[shared:], gap=not whole and shared < CERTAIN)


def settled(window: str) -> str:
    """A window of a text that still grows: without a character of which only the beginning is there yet."""
    return window.rstrip("\N{REPLACEMENT CHARACTER}")


def overlap(kept: str, window: str) -> int:
    """Characters at the end of `kept` that are those at the beginning of `window`: as many as possible."""
    probe = window[:CERTAIN]
    at, tries = max(0, len(kept) - len(window)), 0
    while len(probe) == CERTAIN and (at := kept.find(probe, at)) >= 0:
        if window.startswith(kept[at:]):
            return len(kept) - at
        at, tries = at + 1, tries + 1
        if tries == QUICK_TRIES:
            return _border(kept, window)
    longest = min(len(kept), len(window), max(CERTAIN - 1, len(probe)))
    return next((length for length in range(longest, 0, -1) if kept.endswith(window[:length])), 0)


def _border(kept: str, window: str) -> int:
    """The same in linear time for any text (Knuth, Morris and Pratt)."""
    fallback = [0] * len(window)
    length = 0
    for place in range(1, len(window)):
        while length and window[place] != window[length]:
            length = fallback[length - 1]
        length += window[place] == window[length]
        fallback[place] = length
    length = 0
    for character in kept:
        if length == len(window):
            length = fallback[length - 1]
        while length and character != window[length]:
            length = fallback[length - 1]
        length += character == window[length]
    return length
