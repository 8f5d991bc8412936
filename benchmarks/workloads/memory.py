"""Memory and start: every service idle and with a wide map in flight, bytes per item, import times, and the demo.

Guarantees: memory is read while the map drains, the highest of each role is kept; expansion is timed from the list's
commit to the map's. Never: a service that was started for this alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson

from benchmarks import processes
from benchmarks.figures import Figure, Json
from benchmarks.installation import ROOT, Installation, freshet
from benchmarks.scale import Scale

MEMORY = "memory"
IDLE_S = 5.0  # seconds of quiet before idle memory is read
LOOK_S = 0.2  # seconds between two looks at memory
SERVICES = ("api", "scheduler", "dispatcher", "worker", "recorder", "emulator")
PROBE = (
    "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began,"
    " *(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))"
)
PROGRESS = (
    "select extract(epoch from clock_timestamp() - s.finished_at), w.total, r.finished_at is not null,"
    " w.succeeded from engine.run r"
    " left join engine.task_run s on s.run_id = r.id and s.task = 'start'"
    " left join engine.task_run w on w.run_id = r.id and w.task = 'work'"
    " where r.workflow = 'bench-list' order by r.created_at desc limit 1"
)


def measure_memory(scale: Scale, workers: int) -> Iterator[Figure]:
    """Idle, in flight, imports, demo."""
    with freshet(workers=workers) as engine:
        engine.finish(engine.start("list", {"n": 1_000}))
        engine.settle()
        time.sleep(IDLE_S)
        yield _figure("idle", 1, 0.0, {"memory": _memory(engine)})
        yield _in_flight(engine, scale.memory_items)
    yield _figure("imports", len(SERVICES), 0.0, {"imports": {name: import_cost(name) for name in SERVICES}})
    yield _demo()


def _in_flight(engine: Installation, items: int) -> Figure:
    """A list of that many items, made at run time, expanded, drained and recorded."""
    servers = engine.servers
    stored, queued = servers.database_bytes(), servers.redis_bytes()
    written, sent = servers.written_ahead(), servers.redis_traffic()
    sessions, before = _sessions(engine), processes.sample(engine.roles())
    handle = engine.start("list", {"n": items})
    seen = _watch(engine)
    answer = engine.finish(handle)
    ended = time.monotonic()
    lag = engine.settle()
    spent = _sessions(engine)
    details = {
        **seen,
        "redis_bytes_per_item": (seen.pop("redis_bytes") - queued) / items,
        "postgres_bytes_per_item": (servers.database_bytes() - stored) / items,
        "written_ahead_per_item": (servers.written_ahead() - written) / items,
        "redis_traffic_per_item": (servers.redis_traffic() - sent) / items,
        "drain_per_s": items / (ended - seen["expanded_at"]) if seen["expanded_at"] else None,
        "lag_s": lag,
        "sessions_us_per_item": {
            name: round((spent[name] - sessions.get(name, 0.0)) / items * 1e6, 2) for name in sorted(spent)
        },
    }
    details.pop("expanded_at")
    after = processes.sample(engine.roles())
    problem = answer.get("problem") or (None if answer["joined"] == items else f"joined {answer['joined']}")
    return replace(
        _figure(f"{items:,} in flight", items, ended - before.at, details, problem),
        cpu_s=processes.cpu_between(before, after),
        steal=processes.steal_between(before, after),
    )


def _sessions(engine: Installation) -> dict[str, float]:
    """CPU seconds of Postgres' own processes by whom they serve."""
    usage, spent = processes.processes(), defaultdict[str, float](float)
    for pid, name in engine.session.execute("select pid, application_name from pg_stat_activity").fetchall():
        if pid in usage and name:
            spent[name] += usage[pid].own_s
    return dict(spent)


def _watch(engine: Installation) -> Json:
    """Look until the run has ended: when it was expanded, the most memory, the longest outbox."""
    seen: Json = {"expand_s": None, "expanded_at": None, "memory": {}, "redis_bytes": 0, "outbox": 0}
    looked = 0.0
    while True:
        row = engine.session.execute(PROGRESS).fetchone()
        if row is not None and row[1] is not None and seen["expand_s"] is None:
            seen["expand_s"], seen["expanded_at"] = float(row[0]), time.monotonic()
        if row is not None and row[2]:
            return seen
        if seen["expand_s"] is not None and time.monotonic() - looked > LOOK_S:
            _look(engine, seen)
            looked = time.monotonic()
        time.sleep(0.01)


def _look(engine: Installation, seen: Json) -> None:
    for role, sizes in _memory(engine).items():
        highest = seen["memory"].setdefault(role, sizes)
        seen["memory"][role] = {name: max(highest[name], size) for name, size in sizes.items()}
    seen["redis_bytes"] = max(seen["redis_bytes"], engine.servers.redis_bytes())
    seen["outbox"] = max(seen["outbox"], engine.value("select count(*) from engine.outbox"))


def import_cost(service: str) -> Json:
    """Seconds and bytes that a fresh interpreter spends on importing a service's main."""
    module = f"freshet_{service}." + ("__main__" if service in {"api", "scheduler"} else "main")
    empty, full = _probe("pass"), _probe(f"import {module}")
    return {"module": module, "import_s": full["seconds"], "rss": full["rss"], "rss_of_python": empty["rss"]}


def _probe(statement: str) -> Json:
    script = PROBE.format(statement)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stdout.split()
    return {"seconds": float(seconds), "rss": int(kilobytes) * 1024}


def _demo() -> Figure:
    """`freshet demo`: seconds until both runs were green and it had ended, and the most memory of all its processes."""
    command = [str(Path(sys.executable).with_name("freshet")), "demo", "--json"]
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        demo = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.DEVNULL)
        most = _most_memory(demo)
        wall = time.monotonic() - began
        output.seek(0)
        said = orjson.loads(output.read() or b"{}")
    problem = None if demo.returncode == 0 else f"exit code {demo.returncode}"
    return _figure("demo", 1, wall, {"elapsed_s": said.get("elapsed_s"), "memory": {"demo": most}}, problem)


def _most_memory(program: subprocess.Popen[bytes]) -> Json:
    """Watch a program and all below it to its end."""
    most: Json = {"rss": 0, "pss": 0}
    while program.poll() is None:
        found = processes.memory_by_role({"demo": [program.pid]}).get("demo")
        if found is not None:
            most = {"rss": max(most["rss"], found.rss), "pss": max(most["pss"], found.pss)}
        time.sleep(LOOK_S)
    return most


def _memory(engine: Installation) -> Json:
    found = processes.memory_by_role(engine.roles())
    return {role: {"rss": size.rss, "pss": size.pss} for role, size in found.items() if role != "harness"}


def _figure(case: str, count: int, wall_s: float, details: Json, problem: str | None = None) -> Figure:
    unit = "items" if "flight" in case else "looks"
    return Figure(
        workload=MEMORY, engine="freshet", case=case, unit=unit, count=count, wall_s=wall_s, details=details,
        problem=problem,
    )  # fmt: skip
