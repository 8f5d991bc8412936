"""The public face of Freshet for user code: `from freshet import process, publish, workflow`.

Guarantee: importing `freshet` costs nothing; each name is imported when it is first asked for, so that a worker's child
does not load what only definitions need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freshet.definition.builder import workflow
    from freshet.execution.registry import process
    from freshet.publishing import publish

__all__ = ["process", "publish", "workflow"]

_HOMES = {
    "process": "freshet.execution.registry",
    "publish": "freshet.publishing",
    "workflow": "freshet.definition.builder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'freshet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
