"""Job services by the thousand, under kill -9, and in pools that are too small for them.

    python -m tests.chaos.jobs flight --jobs 1000 --report FILE
    python -m tests.chaos.jobs deaths --jobs 200 --report FILE
    python -m tests.chaos.jobs pools --jobs 12 --report FILE

`flight`: so many jobs at once, watched by one worker; each prints 1,000 numbered lines, more than Snowflake shows of
it at once. Counted: statements at the emulator while all of them run, the worker's memory and CPU, and every line.
`deaths`: all workers and the dispatcher are killed again and again while jobs are submitted and run; the emulator's
history is the witness of what was launched. `pools`: an XS pool of one node and an S pool of two, more jobs than nodes,
with and without limits on our side; the containers say themselves when they ran. The report is a JSON file; exit code
1: a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from tests.chaos.fleet import ROOT, descendants
from tests.chaos.installation import Installation, NotReadyError, installation

from freshet.snowflake import JobServices, SnowflakeSettings

Json = dict[str, Any]

LINES, WIDTH, BATCH = 1_000, 130, 50  # lines of a job, bytes of one, lines printed at a time
FINAL = ("succeeded", "failed", "cancelled", "skipped")
STATEMENTS = re.compile(r'^freshet_emulator_statements_total\{kind="([^"]+)"\} (\d+)$', re.MULTILINE)
JOBS = re.compile(r'^freshet_emulator_jobs\{status="(\w+)"\} (\d+)$', re.MULTILINE)
TICK = os.sysconf("SC_CLK_TCK")
#: Of the emulator's window, in bytes: what one job prints is more.
SHOWN = 100 * 1024


@dataclass(kw_only=True)
class Show:
    """One installation with an emulator, and what is asked of it."""

    made: Installation
    client: httpx.Client
    session: psycopg.Connection[Any]
    services: JobServices
    broken: list[str] = field(default_factory=list)

    def apply(self, document: Json) -> None:
        self.client.put(f"/api/v1/workflows/{document['name']}", json=document).raise_for_status()

    def start(self, workflow: str, **params: Any) -> str:
        answer = self.client.post(f"/api/v1/workflows/{workflow}/runs", json={"params": params})
        answer.raise_for_status()
        return str(answer.json()["run_id"])

    def run(self, run: str) -> Json:
        found: Json = self.client.get(f"/api/v1/runs/{run}").raise_for_status().json()
        return found

    def over(self, run: str) -> bool:
        """Whether it has ended and is recorded; an api that is away says nothing."""
        try:
            found = self.run(run)
        except httpx.HTTPError:
            return False
        return found["state"] in FINAL and bool(found["recorded"])

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.services._session.settings.port}/metrics", timeout=30).text

    def statements(self) -> Counter[str]:
        """What the emulator was asked so far."""
        return Counter({kind: int(count) for kind, count in STATEMENTS.findall(self.metrics())})

    def jobs(self, status: str) -> int:
        """Jobs that the emulator shows in this status."""
        return {word: int(count) for word, count in JOBS.findall(self.metrics())}.get(status, 0)

    def launched(self) -> Counter[str]:
        """The emulator's history: how often each name was launched."""
        found = self.services.execute("SELECT name FROM TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 10000))")
        return Counter(str(row["name"]) for row in found)

    def demand(self, held: bool, sentence: str) -> None:
        """A promise."""
        if not held:
            self.broken.append(sentence)

    def pool(self, name: str, nodes: int) -> str:
        self.services.execute(
            f"CREATE COMPUTE POOL {name} MIN_NODES = 1 MAX_NODES = {nodes} INSTANCE_FAMILY = CPU_X64_XS"
        )
        return name


@contextmanager
def show(*, workers: int, dispatchers: int = 1, **settings: str) -> Iterator[Show]:
    """Everything that runs, without a line or a small disk in between."""
    names = ["api", "recorder", "emulator"]
    names += [f"dispatcher-{number}" for number in range(1, dispatchers + 1)]
    names += [f"worker-{number}" for number in range(1, workers + 1)]
    with installation(names=names, behind_lines=(), settings=settings, as_root=False) as made:
        made.look_after()
        made.start()
        env = made.fleet.services["worker-1"].env
        account = SnowflakeSettings(
            account="chaos",
            database="FRESHET",
            schema="PUBLIC",
            host="127.0.0.1",
            port=int(env["FRESHET_SNOWFLAKE_PORT"]),
            protocol="http",
            user="freshet",
            password="freshet",
        )
        services = JobServices(account)
        headers = {"Authorization": f"Bearer {made.token}"}
        with (
            httpx.Client(base_url=made.url, headers=headers, timeout=60.0) as client,
            psycopg.connect(made.postgres.url(), autocommit=True) as session,
        ):
            yield Show(made=made, client=client, session=session, services=services)
        services.close()


def job(pool: str, script: str, **more: Any) -> Json:
    """A task that runs a shell script in a container."""
    return {
        "job_service": {"image": "/chaos/s/r/shell:1", "compute_pool": pool, "command": ["sh", "-c", script], **more}
    }


# --- flight -----------------------------------------------------------------------------------------------------------


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
    while seen.jobs("RUNNING") == jobs and time.monotonic() - began < 60.0:
        meter.look()
        seen.made.look_after()
        time.sleep(1.0)
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


# --- deaths -----------------------------------------------------------------------------------------------------------


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


# --- pools ------------------------------------------------------------------------------------------------------------

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


# --- the command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["flight", "deaths", "pools"])
    parser.add_argument("--jobs", type=int, help="1,000, 200 or 6 by default")
    parser.add_argument("--seconds", type=float, help="that a job takes: 280 (flight) or 2 (pools) by default")
    parser.add_argument("--kills", type=int, default=5, help="deaths while jobs are launched")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        match given.what:
            case "flight":
                report = flight(given.jobs or 1_000, given.seconds or 280.0)
            case "deaths":
                report = deaths(given.jobs or 200, given.kills)
            case _:
                report = pools(given.jobs or 6, given.seconds or 2.0)
    except NotReadyError as error:
        report = {"broken": [str(error)]}
    report["verdict"] = "broken" if report["broken"] else "held"
    text = json.dumps(report, indent=2)
    given.report.write_text(text + "\n")
    print(text)
    return 0 if report["verdict"] == "held" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
