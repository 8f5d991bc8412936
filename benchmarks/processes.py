"""What processes cost: CPU seconds and memory by role, read from /proc, and what the host took away.

Guarantees: a process belongs to the nearest of its ancestors that has a role, so nothing is counted twice; children
that ended and were waited for are counted with whoever waited. Never: a process is signalled or traced. Linux only.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
STEAL = 7  # the place of steal among the times of /proc/stat
GUEST = 8  # from here on, times that user and nice hold already
CHILD = " child"  # what follows a worker's role for the processes below it

Roles = Mapping[str, Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """One process: its parent, CPU seconds of its own, and of children it has waited for."""

    parent: int
    own_s: float
    waited_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """CPU seconds by role so far, the host's clock ticks in all and stolen, and a monotonic second."""

    cpu_s: Mapping[str, float]
    ticks: int
    stolen: int
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes of one role: resident, and with shared pages divided among those that share them."""

    rss: int
    pss: int


def usage_of(stat: str) -> Usage:
    """The figures of one /proc/PID/stat; a program's name may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    user, system, waited_user, waited_system = map(int, fields[11:15])
    return Usage(parent=int(fields[1]), own_s=(user + system) / TICKS, waited_s=(waited_user + waited_system) / TICKS)


def processes() -> dict[int, Usage]:
    """Every process that can be read now."""
    return {pid: usage_of(text) for pid, text in _texts("stat")}


def role_of(pid: int, table: Mapping[int, Usage], roots: Mapping[int, str]) -> str | None:
    """The role of the nearest ancestor that has one; below a worker it is the worker's child."""
    at = pid
    while at in table:
        if at in roots:
            below = at != pid and roots[at].startswith("worker")
            return roots[at] + CHILD if below else roots[at]
        at = table[at].parent
    return None


def cpu_by_role(roles: Roles, table: Mapping[int, Usage]) -> dict[str, float]:
    """CPU seconds by role; what a worker waited for is its child's."""
    roots = roots_of(roles)
    total: defaultdict[str, float] = defaultdict(float)
    for pid, usage in table.items():
        role = role_of(pid, table, roots)
        if role is not None:
            total[role] += usage.own_s
            total[role + CHILD if role.startswith("worker") and pid in roots else role] += usage.waited_s
    return {role: seconds for role, seconds in total.items() if seconds}


def roots_of(roles: Roles) -> dict[int, str]:
    """The role of each pid that has one of its own."""
    return {pid: role for role, pids in roles.items() for pid in pids}


def sample(roles: Roles) -> Sample:
    """All of it now."""
    times = _host_times()
    return Sample(
        cpu_s=cpu_by_role(roles, processes()), ticks=sum(times[:GUEST]), stolen=times[STEAL], at=time.monotonic()
    )


def cpu_between(before: Sample, after: Sample) -> dict[str, float]:
    """CPU seconds by role, the dearest first; a process that ended unseen takes its share along."""
    spent = {role: after.cpu_s[role] - before.cpu_s.get(role, 0.0) for role in after.cpu_s}
    return {role: seconds for role, seconds in sorted(spent.items(), key=lambda each: -each[1]) if seconds > 0}


def steal_between(before: Sample, after: Sample) -> float:
    """The share of the machine's time that the host gave to others, 0 to 1."""
    ticks = after.ticks - before.ticks
    return (after.stolen - before.stolen) / ticks if ticks else 0.0


def memory_by_role(roles: Roles) -> dict[str, Memory]:
    """Memory of each role's processes together."""
    table, roots = processes(), roots_of(roles)
    rss: Counter[str] = Counter()
    pss: Counter[str] = Counter()
    for pid, text in _texts("smaps_rollup"):
        role = role_of(pid, table, roots)
        if role is not None:
            rss[role] += _kilobytes(text, "Rss:") * 1024
            pss[role] += _kilobytes(text, "Pss:") * 1024
    return {role: Memory(rss=rss[role], pss=pss[role]) for role in rss}


def _kilobytes(text: str, key: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(key)), 0)


def _host_times() -> list[int]:
    return [int(field) for field in (PROC / "stat").read_text().splitlines()[0].split()[1:]]


def _texts(name: str) -> Iterator[tuple[int, str]]:
    """One file of every process; those that end meanwhile or are not ours to read are left out."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / name).read_text()
            except OSError:
                continue
            yield int(entry.name), text
