"""Real processes on real servers, hit at random: `python -m tests.chaos --minutes 3 --seed 1 --report FILE`.

Starts servers of its own and every service in several copies, keeps them at work, lets a seeded sequence of faults
fall on them, waits until all has ended, and reads the tables. The report is a JSON file; exit code 1: a law is broken.
As root it makes network namespaces and a small disk; without, a proxy, and no disk. Takes about a minute longer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from tests.chaos import checker, history, plan
from tests.chaos.execution import Execution
from tests.chaos.installation import POOL, Installation, NotReadyError, installation
from tests.chaos.progress import Progress
from tests.chaos.workload import TICK, Driver, documents

SERVICES = (
    "emulator",
    "api",
    "scheduler-1",
    "scheduler-2",
    *plan.DISPATCHERS,
    *plan.WORKERS,
    "recorder-1",
    "recorder-2",
)
#: Items that are asked for when nobody says how many, per second.
PACE = 60.0
#: Seconds within which everything must have ended after the last fault.
DEADLINE = 180.0
#: Minutes from which on the lease is the one of production; in shorter runs a freeze would last too long.
LONG_RUN, LEASE, SHORT_LEASE = 10.0, 60.0, 15.0
SHOWN = 5  # breaks of a law on the terminal


def main(argv: Sequence[str]) -> int:
    given = _arguments(argv)
    # As an exception, so that everything is undone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(given)
    given.report.write_text(json.dumps(report, indent=2, default=str) + "\n")
    _show(report)
    return 0 if report["verdict"] == "held" else 1


def run(given: argparse.Namespace) -> dict[str, Any]:
    """One run; its report."""
    lease = given.lease or (LEASE if given.minutes >= LONG_RUN else SHORT_LEASE)
    settings = {"FRESHET_LEASE": str(lease)}
    with installation(names=SERVICES, behind_lines=plan.CUT_OFF, settings=settings, as_root=not given.plain) as made:
        try:
            report = _hit(made, given, lease)
        except BaseException:
            print(f"Logs are kept in {_kept(made, given.report)}", flush=True)
            raise
        if given.logs or report["verdict"] != "held":
            report["logs"] = str(_kept(made, given.report))
        return report


def _hit(made: Installation, given: argparse.Namespace, lease: float) -> dict[str, Any]:
    """Start all, let the faults fall, and see what it has come to."""
    length = given.minutes * 60.0
    began = time.monotonic()
    made.look_after()
    made.start()
    items = given.items or int(PACE * length)
    driver, progress = _driver(made, given.seed, items, length), Progress(made.postgres.url())
    execution = Execution(made)
    faults = plan.plan(given.seed, length=length, lease=lease, disk=made.disk is not None)
    print(f"{len(faults)} faults within {length:.0f} s; logs in {made.logs}", flush=True)
    try:
        driver.apply(documents(made.effects, POOL))
        started = time.monotonic()
        driver.begin()
        progress.begin()
        execution.run(faults, length)
        settled = _settle(made, driver)
    finally:
        progress.end()
        driver.close()
    found = history.read(made.postgres.url(), made.effects, driver.asked, tick_s=TICK)
    checks = checker.check(found)
    held = settled is not None and all(check.held for check in checks)
    return {
        "seed": given.seed,
        "minutes": given.minutes,
        "lease_s": lease,
        "verdict": "held" if held else "broken",
        "seconds": {
            "start": round(started - began, 1),
            "faults": length,
            "until all had ended": settled,
            "in all": round(time.monotonic() - began, 1),
        },
        "requests repeated": driver.repeated,
        **_struck(made, execution),
        "volume": _volume(found),
        "seconds from a blow to the next effect": progress.recoveries(execution.struck),
        "checks": [asdict(check) for check in checks],
        "plan": [asdict(fault) for fault in faults],
    }


def _driver(made: Installation, seed: int, items: int, seconds: float) -> Driver:
    url, database_url = made.url, made.postgres.url()
    return Driver(url=url, token=made.token, database_url=database_url, seed=seed, items=items, seconds=seconds)


def _struck(made: Installation, execution: Execution) -> dict[str, Any]:
    """What fell on whom, and by which means."""
    return {
        "cut by": next(iter(made.lines.values())).method,
        "left out": [] if made.disk else ["disk full: a small disk can only be mounted by root"],
        "faults": plan.counts([fault for _, fault in execution.struck]),
        "faults that met nobody": dict(execution.missed),
        "started again": {**made.fleet.ends(), **made.restarts},
    }


def _settle(made: Installation, driver: Driver) -> float | None:
    """No more faults and no more runs: wait for the end of all, and stop in order. None: it did not come."""
    began = time.monotonic()
    try:
        made.await_(lambda: made.postgres.ready() and made.answers(), "the servers and the api")
        driver.end()
        made.await_(lambda: not _unfinished(made, _OPEN), "the end of all runs", DEADLINE)
        took = round(time.monotonic() - began, 1)
        # A worker's last word is its time; the recorders are still there to hear it.
        made.fleet.stop(lambda name: name.startswith(("worker", "scheduler")), 20.0)
        until = time.monotonic() + 30.0
        while _unfinished(made, _UNRECORDED) and time.monotonic() < until:
            time.sleep(0.2)
    except NotReadyError as error:
        print(error, flush=True)
        return None
    return took


_OPEN = """
select (select count(*) from engine.run where state in ('pending', 'running')) + (select count(*) from engine.bundle)
    + (select count(*) from engine.outbox where run_id is not null) + (select count(*) from engine.request)
    + (select count(*) from engine.report)
"""
_UNRECORDED = "select count(*) from engine.outbox"


def _unfinished(made: Installation, statement: str) -> int:
    try:
        with psycopg.connect(made.postgres.url(), connect_timeout=2, autocommit=True) as session:
            found = session.execute(statement.encode()).fetchone()
    except psycopg.Error:
        return 1
    return int(found[0]) if found else 1


def _volume(found: history.History) -> dict[str, Any]:
    states: dict[str, int] = {}
    for run in found.runs:
        states[f"{run.workflow} {run.state}"] = states.get(f"{run.workflow} {run.state}", 0) + 1
    return {
        "items": len(found.items),
        "effects": len(found.effects),
        "attempts": len(found.attempts),
        "jobs launched": len(found.launches),
        "workers": len({each.worker for each in found.times}),
        "runs": len(found.runs),
        "runs by workflow and state": dict(sorted(states.items())),
    }


def _kept(made: Installation, report: Path) -> Path:
    """The logs beside the report: the directory is removed."""
    kept = report.with_suffix(".logs")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(made.logs, kept)
    for log in made.postgres.directory.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _show(report: dict[str, Any]) -> None:
    print(f"faults: {json.dumps(report['faults'])}")
    volume = report["volume"]
    print(f"{volume['items']} items in {volume['runs']} runs; {json.dumps(report['seconds'])}")
    for check in report["checks"]:
        print(f"  {check['law']}: {check['looked_at']} looked at, {len(check['breaks'])} breaks")
        for each in check["breaks"][:SHOWN]:
            print(f"    {each}")
    print(f"The laws {'HELD' if report['verdict'] == 'held' else 'are BROKEN'}.")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults fall")
    parser.add_argument("--seed", type=int, default=1, help="the sequence of faults is a function of it")
    parser.add_argument("--items", type=int, help="items to be passed in that time; 60 per second without it")
    parser.add_argument("--lease", type=float, help="seconds; 60 in runs of 10 minutes and more, else 15")
    parser.add_argument("--plain", action="store_true", help="as without root: a proxy, and no full disk")
    parser.add_argument("--logs", action="store_true", help="keep the logs beside the report, broken or not")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE", help="where the JSON report goes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
