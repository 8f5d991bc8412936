"""What the dispatcher remembers about speed and room: means of tasks, live workers, lengths of queues.

Purpose: bundle sizes and the depth of Redis queues want numbers that need not be exact. Guarantees: forgetting any of
it costs speed, never correctness. Never: a row.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping

from freshet.bus import Heartbeat
from freshet.domain.model import Task
from freshet.storage.engine_rows import TaskRunRow

#: Messages that Redis holds of one queue: so many for each worker that serves it, and no fewer than that. What is in
#: there goes in the order in which it came; the rest waits in Postgres, where runs take turns. A small map so waits for
#: a few bundles of a wide one, not for its whole window.
PER_WORKER, AT_LEAST = 3, 8
#: Bundles that were opened last, among which another run's little ones are looked for; and what is little.
LOOKED_AT, LITTLE_ITEMS = 100, 16
#: Bundles in a row that may go ahead of what waits in a queue.
CREDITS = 8
#: Tasks whose mean is remembered from one run to the next.
REMEMBERED = 10_000


class Pace:
    """One dispatcher's memory."""

    def __init__(
        self,
        *,
        queue_depth: int,
        depths: Callable[[Iterable[str]], Mapping[str, int]],
        pool_limits: Mapping[str, int] | None = None,
    ) -> None:
        """`queue_depth`: messages that Redis holds of one queue at most; `depths` asks how many it holds now;
        `pool_limits`: job services of a compute pool (in upper case) that may be under way at once.
        """
        self.pool_limits = dict(pool_limits or {})
        self._queue_depth = queue_depth
        self._depths = depths
        self._lengths: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._priorities: dict[str, int] = {}  # of what was published last
        self._credits: dict[str, int] = {}
        self._opened: deque[tuple[str, bool]] = deque(maxlen=LOOKED_AT)  # run, and whether the bundle was little
        self._means: OrderedDict[tuple[str, int, str], float] = OrderedDict()
        self._serving: Mapping[str, int] = {}

    def mean(self, workflow: str, version: int, row: TaskRunRow) -> tuple[float | None, int]:
        """Seconds per item and how many items say so; an earlier run of the task counts as one."""
        key = (workflow, version, row.task)
        if row.measured:
            mean = row.busy_s / row.measured
            self._means[key] = mean
            self._means.move_to_end(key)
            if len(self._means) > REMEMBERED:
                self._means.popitem(last=False)
            return mean, row.measured
        remembered = self._means.get(key)
        return remembered, 0 if remembered is None else 1

    def workers(self, queue: str) -> int:
        """Live workers that serve a queue; at least 1, for one may be about to start."""
        return max(1, self._serving.get(queue, 0))

    def see(self, heartbeats: Iterable[Heartbeat]) -> None:
        """Count who serves what."""
        serving: dict[str, int] = {}
        for heartbeat in heartbeats:
            for queue in heartbeat.queues:
                serving[queue] = serving.get(queue, 0) + 1
        self._serving = serving

    def turn(self, queue: str) -> int:
        """The turn that was last published in a queue: a run that comes later starts there, not at nought."""
        return self._turns.get(queue, 0)

    def published(self, queue: str, turn: int, priority: int) -> None:
        """Remember the turn and the priority of what was published at the end of a queue."""
        self._turns[queue] = max(self._turns.get(queue, 0), turn)
        self._priorities[queue] = priority
        self._credits[queue] = min(CREDITS, self._credits.get(queue, 0) + 1)

    def opened(self, run: str, count: int) -> None:
        """Remember that a bundle of so many items was opened."""
        self._opened.append((run, count <= LITTLE_ITEMS))

    def is_shared(self, run: str) -> bool:
        """Whether another run has little work under way, for which large bundles would stand in the way."""
        return any(little and other != run for other, little in self._opened)

    @property
    def is_crowded(self) -> bool:
        """Whether wide maps and little work of other runs are under way at once."""
        wide = self._wide()
        return bool(wide) and any(run not in wide for run, _ in self._opened)

    def little(self, runs: Iterable[str]) -> list[str]:
        """Those of the runs that have opened no large bundle lately."""
        wide = self._wide()
        return [run for run in runs if run not in wide]

    def _wide(self) -> set[str]:
        return {run for run, little in self._opened if not little}

    def may_go_ahead(self, queue: str, priority: int) -> bool:
        """Whether the bundle of a run that had fewer turns than others may go to the front of a queue; counts it.

        What waits there was put there before that run asked for anything, by runs that had more than their share. Never
        ahead of what is more urgent, and never more often than others are put at the end: so nobody starves.
        """
        if not self._credits.get(queue) or priority > self._priorities.get(queue, priority):
            return False
        self._credits[queue] -= 1
        return True

    def room(self, queue: str, wanted: int) -> int:
        """How many of `wanted` messages a queue can take. Asks Redis only when the last known length would not do."""
        depth = self.depth(queue)
        if self._lengths.get(queue, depth) + wanted > depth:
            self._lengths.update(self._depths([queue]))
        return max(0, min(wanted, depth - self._lengths.get(queue, 0)))

    def depth(self, queue: str) -> int:
        """How many messages Redis may hold of a queue."""
        return min(self._queue_depth, max(AT_LEAST, PER_WORKER * self.workers(queue)))

    def limit_key(self, task: Task) -> str | None:
        """The compute pool whose places a task's bundles take; None if nobody counts them."""
        pool = task.job_service.compute_pool.upper() if task.job_service is not None else None
        return pool if pool in self.pool_limits else None

    def lengths(self, lengths: Mapping[str, int]) -> None:
        """What Redis answered when messages were put."""
        self._lengths.update(lengths)

    def forget_lengths(self) -> None:
        """Redis was emptied."""
        self._lengths.clear()
