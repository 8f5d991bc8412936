"""How soon a dead worker's work is claimable again, and whether the living are left alone.

    python -m tests.chaos.leases --deaths 200 --report FILE
    python -m tests.chaos.leases --starve 600 --report FILE

The first kills workers that hold claims (the supervisor alone, or its child too) and measures by the clock of Postgres
from the kill to the moment at which the item's next bundle is there. The second keeps workers with large bundles in
hand while every core burns, workers are stopped for less than the lease, and everything, the servers too, stalls for
seconds: whoever is declared dead then lived. Both end with one worker that is stopped for longer than the lease and
has to find itself fenced. The report is a JSON file; exit code 1: a budget or a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from tests.chaos.fleet import Service, descendants
from tests.chaos.installation import Installation, NotReadyError, installation
from tests.chaos.progress import distribution

from freshet.runtime.child import Child, Command

Json = dict[str, Any]

LEASE = 60.0  # seconds, as in production
BUDGET = 5.0  # seconds from the death to the next claim, for 99 of 100
HELD = 1.0  # seconds for which a claim has been held when its worker is killed
LONGEST_STOP = 50.0  # seconds for which the living are stopped
AT_ONCE = 3  # deaths that are measured at a time
WORKFLOW: Json = {
    "name": "hold",
    "params": {"quick": {"type": "integer"}, "seconds": {"type": "number"}},
    "tasks": {"hold": {"process": "chaos_hold@1.0.0", "for_each": 100_000}},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """A worker that was killed with a claim in its hands."""

    worker: str
    bundle: int
    item: int  # of the bundle's items, the first that had not ended
    at: float  # seconds of the database's clock
    how: str


@dataclass(kw_only=True)
class Leases:
    """One run of either kind."""

    made: Installation
    draw: random.Random
    session: psycopg.Connection[Any]
    killed: set[str] = field(default_factory=set)  # workers, by the names that they give themselves
    seconds: list[float] = field(default_factory=list)  # from death to claimable
    by_how: dict[str, list[float]] = field(default_factory=dict)
    _frozen: list[tuple[float, Service]] = field(default_factory=list)  # until when, on the monotonic clock

    def workers(self) -> list[Service]:
        """All copies of the worker."""
        return [each for name, each in self.made.fleet.services.items() if name.startswith("worker")]

    def begin(self, *, quick: int, seconds: float) -> None:
        """Give them work that they hold for a while."""
        headers = {"Authorization": f"Bearer {self.made.token}"}
        with httpx.Client(base_url=self.made.url, headers=headers, timeout=30.0) as client:
            client.put("/api/v1/workflows/hold", json=WORKFLOW).raise_for_status()
            body = {"params": {"quick": quick, "seconds": seconds}}
            client.post("/api/v1/workflows/hold/runs", json=body).raise_for_status()

    # --- deaths -----------------------------------------------------------------------------------------------------

    def kill_many(self, deaths: int) -> None:
        """Kill workers until so many deaths were measured."""
        under_way: list[Death] = []
        until = time.monotonic() + 60.0 + 6.0 * deaths
        next_kill = time.monotonic()
        while len(self.seconds) < deaths:
            if time.monotonic() > until:
                raise NotReadyError(f"only {len(self.seconds)} of {deaths} deaths could be measured")
            self.made.look_after()
            if len(under_way) < AT_ONCE and time.monotonic() >= next_kill and (death := self._kill_one()):
                under_way.append(death)
                next_kill = time.monotonic() + self.draw.uniform(0.0, 1.5)
            under_way = [death for death in under_way if not self._again(death)]
            time.sleep(0.02)

    def _kill_one(self) -> Death | None:
        """Kill a worker that has held a claim for a moment, at a moment that its heartbeat does not know."""
        found = self._query(_HOLDERS, HELD)
        living = {service.pid: service for service in self.workers() if service.pid is not None}
        holders = [row for row in found if row[1] in living]
        if len(holders) < AT_ONCE:
            return None
        worker, pid, bundle, item = self.draw.choice(holders)
        how = self.draw.choice(("supervisor", "supervisor and child", "process group"))
        ((at,),) = self._query("select extract(epoch from clock_timestamp())::double precision")
        _kill(living[pid], how)
        self.killed.add(worker)
        return Death(worker=worker, bundle=bundle, item=item, at=at, how=how)

    def _again(self, death: Death) -> bool:
        """Whether the item can be claimed again; measured then."""
        rows = self._query(_AGAIN, death.item, death.bundle)
        if not rows:
            return False
        seconds = rows[0][0] - death.at
        self.seconds.append(seconds)
        self.by_how.setdefault(death.how, []).append(seconds)
        return True

    # --- starvation -------------------------------------------------------------------------------------------------

    def starve(self, seconds: float) -> Json:
        """Everything that the living may suffer; item-seconds that they held meanwhile, and what they suffered."""
        now = time.monotonic()
        end, last, most = now + seconds, now, 0
        next_stop, next_stall = now + 5.0, now + 10.0
        item_seconds, stops, stalls = 0.0, [0.0], [0.0]
        with burning():
            while (now := time.monotonic()) < end or self._frozen:
                ((held,),) = self._query(_IN_HAND)
                item_seconds, last, most = item_seconds + held * (now - last), now, max(most, held)
                self._thaw(now)
                if next_stop <= now < end:
                    stops.append(self._stop_one(now))
                    next_stop = now + self.draw.uniform(2.0, 15.0)
                if next_stall <= now < end:
                    stalls.append(self._stall())
                    next_stall = time.monotonic() + self.draw.uniform(3.0, 20.0)
                self.made.look_after()
                time.sleep(0.2)
        return {
            "item-seconds": round(item_seconds),
            "most items in hand": most,
            "stops of a worker": sum(1 for each in stops if each),
            "longest stop": round(max(stops), 1),
            "stalls of everything": len(stalls) - 1,
            "longest stall": round(max(stalls), 1),
        }

    def _stop_one(self, now: float) -> float:
        """Stop a worker for less than the lease, its supervisor alone or its child too; seconds, 0 if it can't be."""
        service, seconds = self.draw.choice(self.workers()), self.draw.uniform(1.0, LONGEST_STOP)
        children = self.draw.random() < 0.5
        if service.frozen or not service.send(signal.SIGSTOP, children=children):
            return 0.0
        self._frozen.append((now + seconds, service))
        return seconds

    def _thaw(self, now: float) -> None:
        for moment, service in self._frozen:
            if moment <= now:
                service.thaw()
        self._frozen = [each for each in self._frozen if each[0] > now]

    def _stall(self) -> float:
        """As when a machine swaps: nothing moves, in short bursts, and the servers do not either; seconds."""
        seconds = self.draw.uniform(0.2, 6.0)
        services = [each for each in self.made.fleet.services.values() if not each.frozen]
        servers = [pid for pid in (self.made.postgres.pid, self.made.redis.pid) if pid is not None]
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            stopped = [each for pid in servers for each in (pid, *descendants(pid))]
            for service in services:
                service.send(signal.SIGSTOP, children=True)
            _signal(stopped, signal.SIGSTOP)
            time.sleep(min(self.draw.uniform(0.1, 3.0), left))
            _signal(stopped, signal.SIGCONT)
            for service in services:
                service.thaw()
            time.sleep(0.05)
        return seconds

    # --- the one that comes back ------------------------------------------------------------------------------------

    def fence_one(self) -> Json:
        """Stop a worker that holds a claim for longer than the lease, and let it come back."""
        living = {service.pid: service for service in self.workers() if service.pid is not None}
        self.made.await_(lambda: any(row[1] in living for row in self._query(_HOLDERS, HELD)), "a claim")
        worker, pid, bundle, _ = next(row for row in self._query(_HOLDERS, HELD) if row[1] in living)
        began = time.monotonic()
        living[pid].send(signal.SIGSTOP, children=True)
        self.killed.add(worker)
        try:
            taken = self.made.await_(lambda: not self._holds(worker, bundle), "the end of the lease", 2 * LEASE)
            rest = max(0.0, LEASE + 1.0 - (time.monotonic() - began))
            self.made.await_(lambda: time.monotonic() > began + taken + rest, "the rest of the lease", 2 * LEASE)
        finally:
            living[pid].thaw()
        log = self.made.logs / f"{living[pid].name}.log"
        self.made.await_(lambda: _says_lost(log, bundle), "the worker's word that it lost its claim")
        return {"worker": worker, "taken after": round(taken, 1), "says": "claim_lost", "lives": living[pid].pid == pid}

    def _holds(self, worker: str, bundle: int) -> bool:
        return bool(self._query("select 1 from engine.bundle where id = %s and worker = %s", bundle, worker))

    # --- what is read -----------------------------------------------------------------------------------------------

    def buried(self) -> set[str]:
        """Workers that a dispatcher has declared dead, as its log says."""
        found: set[str] = set()
        for log in self.made.logs.glob("dispatcher*.log"):
            for line in log.read_text(errors="replace").splitlines():
                if '"workers_lost"' in line:
                    found |= set(json.loads(line)["workers"])
        return found

    def _query(self, statement: str, *values: Any) -> list[Any]:
        return self.session.execute(statement.encode(), values).fetchall()


NICE = 5  # how far the burners give way

_HOLDERS = """
select w.id, w.pid, b.id, b.items[b.done + 1]
from engine.bundle b join engine.worker w on w.id = b.worker
where b.claimed_at < clock_timestamp() - make_interval(secs => %s)
order by w.id
"""
_AGAIN = """
select extract(epoch from created_at)::double precision from engine.bundle
where items @> array[%s::bigint] and id > %s order by id limit 1
"""
_IN_HAND = "select coalesce(sum(cardinality(items) - done), 0)::int from engine.bundle where claim is not null"


@contextmanager
def burning() -> Iterator[None]:
    """Twice as many busy processes as there are cores; they give way a little, as a neighbour would."""
    code = f"import os\nos.nice({NICE})\nwhile True: pass"
    burners = [
        Child(Command(argv=(sys.executable, "-c", code)), Path(os.devnull)) for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.stop(0.0)


def _kill(service: Service, how: str) -> None:
    """SIGKILL. The child has a group of its own; it dies with its supervisor, if it is not killed first."""
    pid = service.pid
    if pid is None:
        return
    if how == "process group":
        os.killpg(pid, signal.SIGKILL)  # a service leads a session of its own
    else:
        service.send(signal.SIGKILL, children=how == "supervisor and child")


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _says_lost(log: Path, bundle: int) -> bool:
    lines = log.read_text(errors="replace").splitlines()
    return any('"claim_lost"' in line and json.loads(line).get("bundle") == bundle for line in lines)


def run(given: argparse.Namespace) -> Json:
    """One run; its report."""
    names = ["api", "dispatcher-1", "dispatcher-2", "recorder-1", *(f"worker-{n + 1}" for n in range(given.workers))]
    began = time.monotonic()
    settings = {"FRESHET_LEASE": str(LEASE)}
    with installation(names=names, behind_lines=(), settings=settings, as_root=False) as made:
        made.look_after()
        made.start()
        with psycopg.connect(made.postgres.url(), autocommit=True) as session:
            leases = Leases(made=made, draw=random.Random(given.seed), session=session)
            report: Json = {"seed": given.seed, "workers": given.workers, "lease_s": LEASE}
            broken: list[str] = []
            if given.starve:
                leases.begin(quick=given.quick, seconds=given.hold)
                report["starvation"] = leases.starve(given.starve)
            else:
                leases.begin(quick=0, seconds=given.hold)
                leases.kill_many(given.deaths)
                found = distribution(leases.seconds)
                report["seconds from death to claimable again"] = found
                report["by what was killed"] = {how: distribution(each) for how, each in leases.by_how.items()}
                if found["p99"] > BUDGET:
                    broken.append(f"p99 is {found['p99']} s, the budget is {BUDGET} s")
            if not given.unfenced:
                report["stopped for longer than the lease"] = leases.fence_one()
            wrong = sorted(leases.buried() - leases.killed)
            report["declared dead and alive"] = wrong
            broken += [f"worker {worker} was declared dead and lived" for worker in wrong]
            report["declared dead"] = len(leases.buried())
            report["seconds in all"] = round(time.monotonic() - began, 1)
            return report | {"broken": broken, "verdict": "broken" if broken else "held"}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.leases", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deaths", type=int, default=200, help="workers to be killed")
    parser.add_argument("--starve", type=float, help="starve workers for so many seconds instead")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--hold", type=float, default=15.0, help="seconds that an item takes")
    parser.add_argument("--quick", type=int, default=3_000, help="items that take no time, so that bundles grow")
    parser.add_argument("--unfenced", action="store_true", help="without the worker that outsleeps its lease")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(given)
    text = json.dumps(report, indent=2)
    given.report.write_text(text + "\n")
    print(text)
    return 0 if report["verdict"] == "held" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
