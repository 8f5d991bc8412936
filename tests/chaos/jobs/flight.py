"""A thousand jobs at once, watched by one worker; each prints 1,000 numbered lines, more than Snowflake shows of it.

Counted: statements at the emulator while all of them run, the worker's memory and CPU, and every line.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet import descendants
from tests.chaos.jobs.show import Json, Show, job, show

LINES, WIDTH, BATCH = 1_000, 130, 50  # lines of a job, bytes of one, lines printed at a time
TICK = os.sysconf("SC_CLK_TCK")
#: Of the emulator's window, in bytes: what one job prints is more.
SHOWN = 100 * 1024


def line(number: int) -> str:
    return f"line {number:04} {'x' * (WIDTH - 11)}\n"


def printing(seconds: float) -> str:
    """A script that prints all lines within so many seconds."""
    pause = seconds / (LINES // BATCH)
    return (
        f"n=1; while [ $n -le {LINES} ]; do seq -f 'line %04g {'x' * (WIDTH - 11)}' $n $((n + {BATCH - 1}));"
        f" n=$((n + {BATCH})); sleep {pause:.2f}; done; echo '{{\"lines\": {LINES}}}'"
    )


@dataclass(kw_only=True)
class Meter:
    """CPU seconds and memory of a process and its children, from /proc."""

    pid: int
    most: float = 0.0  # MiB

    def cpu(self) -> float:
        return sum(_cpu(pid) for pid in (self.pid, *descendants(self.pid)))

    def look(self) -> None:
        self.most = max(self.most, sum(_rss(pid) for pid in (self.pid, *descendants(self.pid))))


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _rss(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1024 for row in text.splitlines() if row.startswith("VmRSS")), 0.0)


def flight(jobs: int, seconds: float) -> Json:
    """So many jobs at once, each printing for so many seconds; all ends awaited, all lines counted."""
    settings = {"FRESHET_EMULATOR_JOBS_PER_NODE": str(jobs), "FRESHET_JOB_POLL": "2"}
    with show(workers=1, **settings) as seen:
        seen.pool("WIDE", 1)
        seen.apply({"name": "flight", "tasks": {"print": job("WIDE", printing(seconds)) | {"for_each": jobs}}})
        began = time.monotonic()
        run = seen.start("flight")
        worker = seen.made.fleet.services["worker-1"].pid
        assert worker is not None
        meter = Meter(pid=worker)
        seen.made.await_(lambda: [meter.look(), seen.jobs("RUNNING") == jobs][1], "all jobs at once", 600.0)
        report: Json = {"jobs": jobs, "seconds until all ran at once": round(time.monotonic() - began, 1)}
        report |= _plateau(seen, meter, jobs)
        seen.made.await_(lambda: [meter.look(), seen.over(run)][1], "the end of the run", 1200.0)
        report["seconds in all"] = round(time.monotonic() - began, 1)
        report["worker's memory at most, MiB (supervisor and child)"] = round(meter.most, 1)
        report["worker's CPU seconds in all"] = round(meter.cpu(), 1)
        report |= _ends(seen, run, jobs)
        report |= _lines(seen, run, jobs)
        return report | {"broken": seen.broken}


def _plateau(seen: Show, meter: Meter, jobs: int) -> Json:
    """What is asked and used while all of them run."""
    before, cpu, began = seen.statements(), meter.cpu(), time.monotonic()

    def over() -> bool:
        meter.look()
        return seen.jobs("RUNNING") < jobs or time.monotonic() - began >= 60.0

    seen.made.await_(over, "a minute, or the first end", 120.0)
    asked, seconds = seen.statements() - before, time.monotonic() - began
    turns, logs = asked["SHOW JOB SERVICES"], asked["SYSTEM$GET_SERVICE_LOGS"]
    seen.demand(turns > 0, "nobody asked for the jobs' states while all of them ran")
    seen.demand(logs <= 25 * (turns + 1), f"{logs} log reads in {turns} turns: more than 25 a turn")
    others = {
        kind: count for kind, count in asked.items() if kind not in {"SHOW JOB SERVICES", "SYSTEM$GET_SERVICE_LOGS"}
    }
    # What does not grow with jobs: the look for scripts that nobody owns, and the last one about pools.
    few = 2 + seconds / 30
    seen.demand(sum(others.values()) <= few, f"other statements while all jobs ran: {others}")
    return {
        "while all ran": {
            "seconds": round(seconds, 1),
            "status statements": turns,
            "log reads": logs,
            "other statements": others,
            "worker's CPU, share of one core": round((meter.cpu() - cpu) / seconds, 3),
        }
    }


def _ends(seen: Show, run: str, jobs: int) -> Json:
    task = seen.run(run)["tasks"]["print"]
    seen.demand(task["items"]["succeeded"] == jobs, f"not all succeeded: {task['items']}")
    seen.demand(task["attempts"] == jobs, f"{task['attempts']} attempts")
    launched = seen.launched()
    seen.demand(len(launched) == jobs and set(launched.values()) == {1}, "something was launched twice, or never")
    return {"succeeded": task["items"]["succeeded"], "attempts": task["attempts"], "launched": sum(launched.values())}


def _lines(seen: Show, run: str, jobs: int) -> Json:
    """Every line of every job, once."""
    expected = "".join(map(line, range(1, LINES + 1))) + json.dumps({"lines": LINES})
    found = seen.session.execute(
        "select item, string_agg(text, '' order by part), count(*) from log.attempt_log"
        " where run_id = %s group by item",
        [run],
    ).fetchall()
    wrong = [item for item, text, _ in found if text != expected]
    seen.demand(len(found) == jobs, f"only {len(found)} jobs have a log")
    seen.demand(not wrong, f"lines are missing, doubled or out of order in {len(wrong)} jobs, such as {wrong[:3]}")
    return {
        "bytes printed by each": len(expected),
        "bytes that the emulator shows of it": SHOWN,
        "complete logs": len(found) - len(wrong),
        "parts of a log, at most": max((parts for _, _, parts in found), default=0),
    }
