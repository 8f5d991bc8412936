"""Holds the output of `freshet demo --json` to its promises: `freshet demo --json | python -m tests.house.demo`."""

from __future__ import annotations

import json
import sys
from typing import Any

Json = dict[str, Any]
JOBS = 6


def complaints(demo: Json) -> list[str]:
    """What is not as promised, a sentence each."""
    jobs = demo["jobs_run_stats"]
    graphs = {row["graph_run_id"] for row in jobs}
    tasks = [row for row in demo["task_logging_stats"] if row["graph_run_group_id"] in graphs]
    claims = {
        "two runs succeeded": [run["state"] for run in demo["runs"]] == ["succeeded"] * 2,
        f"{JOBS} jobs are DONE": [row["job_status"] for row in jobs] == ["DONE"] * JOBS,
        "the jobs belong to one graph run": len(graphs) == 1,
        f"that run has {JOBS} tasks and the root in the log": len(tasks) == JOBS + 1,
        "one job was tried again": _attempts(demo) == JOBS + 1,
        "there were workers": bool(demo["workers"]),
        "busy and idle add up to wall": all(map(_adds_up, demo["workers"])),
    }
    return [f"not so: {claim}" for claim, holds in claims.items() if not holds]


def _attempts(demo: Json) -> int:
    return sum(
        task["attempts"] for run in demo["runs"] for task in run["tasks"].values() if task["kind"] == "job_service"
    )


def _adds_up(worker: Json) -> bool:
    """Within 1 %."""
    return bool(abs(worker["busy_s"] + worker["idle_s"] - worker["wall_s"]) <= 0.01 * worker["wall_s"])


def main() -> int:
    """Read the object from standard input; 1 when a promise is broken."""
    demo = json.load(sys.stdin)
    found = complaints(demo)
    print("\n".join(found) or f"The demo keeps its promises ({demo['elapsed_s']:.1f} s).")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
