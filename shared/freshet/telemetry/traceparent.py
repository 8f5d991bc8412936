"""W3C trace context: the `traceparent` that travels with a run.

Purpose: make, read and continue it. The run's own value names the run's span. Source: https://www.w3.org/TR/trace-context/
(version 00: 32 hex digits of trace id, 16 of span id, 2 of flags, of which bit 0 says "sampled"). Guarantees: what is
malformed is no trace, never an error. Never: an SDK.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
SAMPLED = 0x01
#: The trace id is random in its last seven bytes (Trace Context level 2).
RANDOM = 0x02


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceParent:
    """A span in a trace."""

    trace_id: int
    span_id: int
    flags: int = SAMPLED

    @property
    def sampled(self) -> bool:
        """Whether the caller records this trace."""
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        """As it travels."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def make() -> str:
    """A new trace with its first span."""
    return str(TraceParent(trace_id=_random(16), span_id=_random(8), flags=SAMPLED | RANDOM))


def parse(text: str | None) -> TraceParent | None:
    """What a `traceparent` says; None for what is missing or malformed."""
    found = _FORM.fullmatch((text or "").strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["rest"]):
        return None
    trace, span = int(found["trace"], 16), int(found["span"], 16)
    return TraceParent(trace_id=trace, span_id=span, flags=int(found["flags"], 16)) if trace and span else None


def child_of(text: str | None) -> str:
    """A new span in the caller's trace; a new trace when there is none."""
    parent = parse(text)
    if parent is None:
        return make()
    return str(TraceParent(trace_id=parent.trace_id, span_id=_random(8), flags=parent.flags & (SAMPLED | RANDOM)))


def _random(size: int) -> int:
    while not (number := int.from_bytes(secrets.token_bytes(size))):
        pass  # zero means "no id": once in 2**64
    return number
