"""An XS pool of one node and an S pool of two, more jobs than nodes, with and without limits on our side.

The containers say themselves when they ran.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.fleet import ROOT
from tests.chaos.jobs.show import Json, Show, job, show

NODES = {"PR_STD_POOL_XS": 1, "PR_STD_POOL_S": 2}


def pools(jobs: int, seconds: float) -> Json:
    """More jobs than nodes, first without limits of ours, then with them."""
    report: Json = {"jobs in each pool": jobs, "broken": []}
    for name, limits in (("without limits", ""), ("with limits", "PR_STD_POOL_XS=1,PR_STD_POOL_S=2")):
        with show(workers=2, dispatchers=2, FRESHET_EMULATOR_JOBS_PER_NODE="1", FRESHET_POOL_LIMITS=limits) as seen:
            report[name] = _crowd(seen, jobs, seconds, limited=bool(limits))
            report["broken"] += [f"{name}: {sentence}" for sentence in seen.broken]
    return report


def _crowd(seen: Show, jobs: int, seconds: float, *, limited: bool) -> Json:
    effects, begun, gate = (seen.made.effects / name for name in ("times", "begun", "gate"))
    # By a clock that does not begin anew with each process: seconds since the machine started.
    stamp = "$(cut -d' ' -f1 /proc/uptime)"
    wait = f"echo begun >> {begun}; while [ ! -e {gate} ]; do sleep 0.1; done; sleep {seconds}"
    scripts = {pool: f'b={stamp}; {wait}; echo "{pool} $FRESHET_WORKFLOW $b {stamp}" >> {effects}' for pool in NODES}
    tasks = {pool.lower(): job(pool, script) | {"for_each": jobs} for pool, script in scripts.items()}
    seen.apply({"name": "late", "priority": 100, "tasks": tasks})
    seen.apply({"name": "urgent", "priority": 1, "tasks": tasks})
    late = seen.start("late")
    seen.made.await_(begun.exists, "the first job")
    urgent = seen.start("urgent")
    drawn, reason = "", "No place is free" if limited else "Unschedulable due to insufficient resources"

    def explained() -> bool:
        nonlocal drawn
        drawn = _freshet_show(seen, late)
        return reason in drawn

    seen.made.await_(explained, "a reason in `freshet show`")
    gate.touch()
    most = Counter[str]()

    def ended() -> bool:
        shown = [each for each in seen.services.list_jobs("FRESHET_") if not each.status.is_terminal]
        for pool in NODES:
            most[pool] = max(most[pool], sum(each.compute_pool == pool for each in shown))
        return seen.over(late) and seen.over(urgent)

    seen.made.await_(ended, "the ends", 300.0)
    rows = [row.split() for row in effects.read_text().splitlines()]
    at_once = {pool: _at_once([(float(b), float(e)) for name, _, b, e in rows if name == pool]) for pool in NODES}
    for pool, nodes in NODES.items():
        seen.demand(0 < at_once[pool] <= nodes, f"{pool} ran {at_once[pool]} jobs at once and has {nodes} nodes")
        if limited:
            seen.demand(most[pool] <= nodes, f"{most[pool]} jobs were under way in {pool}, whose limit is {nodes}")
    places = _places([row[1] for row in rows if row[0] == "PR_STD_POOL_XS"])
    if limited:
        seen.demand(places["urgent"] <= 2 + jobs, "the urgent run's jobs did not go first")
    seen.demand(len(rows) == 4 * jobs, f"{len(rows)} jobs ran, {4 * jobs} were asked for")
    return {
        "ran at once, by the containers' own times": at_once,
        "under way at once, as Snowflake shows them": dict(most),
        "last place of each run in the XS pool": places,
        "freshet show": drawn.splitlines(),
    }


def _at_once(times: Sequence[tuple[float, float]]) -> int:
    """How many of these spans overlap at most; one that begins as another ends does not overlap with it."""
    moments = sorted([(begin, 1) for begin, _ in times] + [(end, -1) for _, end in times])
    now = most = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


def _places(order: Sequence[str]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(order, start=1)}


def _freshet_show(seen: Show, run: str) -> str:
    env = {name: text for name, text in os.environ.items() if not name.startswith("FRESHET_")}
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("freshet")), "show", run],
        env=env | {"FRESHET_URL": seen.made.url, "FRESHET_TOKEN": seen.made.token},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return answer.stdout
