"""All workers and the dispatcher are killed again and again while jobs are submitted and run.

The emulator's history is the witness of what was launched, a file that the containers write that of what began.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from tests.chaos.jobs.show import Json, Show, job, show


def deaths(jobs: int, kills: int) -> Json:
    """Kill every worker and the dispatcher, again and again; they are started again after a second."""
    settings = {"FRESHET_EMULATOR_JOBS_PER_NODE": str(jobs), "FRESHET_HEARTBEAT": "0.5"}
    with show(workers=2, **settings) as seen:
        seen.pool("WIDE", 1)
        effects = seen.made.effects / "launches"
        script = f"echo $FRESHET_ITEM >> {effects}; sleep {10 + jobs / 5:.0f}; echo $FRESHET_ITEM"
        seen.apply({"name": "deaths", "tasks": {"job": job("WIDE", script) | {"for_each": jobs}}})
        began = time.monotonic()
        run = seen.start("deaths")
        killed = []
        for number in range(1, kills + 1):
            # The first deaths fall into the submits, the later ones into the watch, the last ones into the ends.
            share = number / kills
            seen.made.await_(lambda share=share: sum(seen.launched().values()) >= share * jobs, "launches", 300.0)  # type: ignore[misc]
            killed.append({"launched": sum(seen.launched().values()), "running": seen.jobs("RUNNING")})
            _kill_all(seen)
        seen.made.await_(lambda: seen.jobs("RUNNING") < jobs * 0.7, "the first ends", 300.0)
        killed.append({"launched": sum(seen.launched().values()), "running": seen.jobs("RUNNING")})
        _kill_all(seen)
        seen.made.await_(lambda: seen.over(run), "the end of the run", 600.0)
        return _counted(seen, run, jobs, effects) | {
            "killed when": killed,
            "seconds in all": round(time.monotonic() - began, 1),
            "broken": seen.broken,
        }


def _kill_all(seen: Show) -> None:
    for name, service in seen.made.fleet.services.items():
        if name.startswith(("worker", "dispatcher")):
            service.send(signal.SIGKILL, children=True)
    seen.made.await_(
        lambda: all(service.pid is not None for service in seen.made.fleet.services.values()), "a new start"
    )


def _counted(seen: Show, run: str, jobs: int, effects: Path) -> Json:
    task, launched = seen.run(run)["tasks"]["job"], seen.launched()
    began = Counter(effects.read_text().split())
    seen.demand(task["items"]["succeeded"] == jobs, f"not all succeeded: {task['items']}")
    seen.demand(len(launched) == jobs, f"{len(launched)} names were launched, {jobs} jobs were asked for")
    seen.demand(set(launched.values()) == {1}, "a name was launched twice")
    seen.demand(len(began) == jobs and set(began.values()) == {1}, "a container began twice, or never")
    return {
        "jobs": jobs,
        "succeeded": task["items"]["succeeded"],
        "attempts": task["attempts"],
        "launched, by the emulator's history": sum(launched.values()),
        "launched twice": sum(1 for count in launched.values() if count > 1),
        "containers that began": sum(began.values()),
        "lost": jobs - len(began),
    }
