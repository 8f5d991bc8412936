"""A chain of tasks that do nothing, built in Python because nobody wants to write fifty of them.

python examples/fanout/chain.py 50 > chain.json && freshet apply chain.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from freshet import workflow


def chain(length: int = 50) -> dict[str, Any]:
    """The document of a workflow whose tasks come one after the other."""
    with workflow("chain", params={"n": {"type": "integer", "default": 0}}) as built:
        last = built.process("task_1", "nothing@1.0.0")
        for number in range(2, length + 1):
            last = built.process(f"task_{number}", "nothing@1.0.0", after=last)
    return built.document()


if __name__ == "__main__":
    print(json.dumps(chain(int(sys.argv[1]) if len(sys.argv) > 1 else 50), indent=2))
