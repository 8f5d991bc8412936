"""What every part of a workflow file obeys.

Purpose: one base for the shapes of the file. Guarantees: no key that is not known, no value of another type, nothing
that changes afterwards. Never: a field of its own.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FilePart(BaseModel):
    """A part of a workflow file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True, title=None)
