"""The published JSON Schema of the workflow file.

Purpose: editors complete and check workflow files; the api publishes it. Guarantee: made from the shapes
that the loader itself uses, so it accepts whatever the loader accepts. Never: the graph's rules, which a
schema can't say.
"""

from __future__ import annotations

from typing import Any

from freshet.definition.workflow_file import WorkflowFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a workflow file."""
    made = WorkflowFile.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **made, "title": "Freshet workflow"}
