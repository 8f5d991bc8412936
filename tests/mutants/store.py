"""Bugs of the store and of the dispatcher's passes, on real Postgres and Redis."""

from __future__ import annotations

from .mutant import Mutant

FUNCTIONS = "shared/freshet/storage/functions"
ENGINE = "shared/freshet/engine"
RUNS = ("tests/engine/test_runs.py",)
RING = ("tests/engine/test_ring.py",)
CLAIMS = ("tests/worker/test_worker_store.py", "tests/engine/test_runs.py")


def bug(name: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutant:
    return Mutant(name=name, file=file, old=old, new=new, tests=tests)


MUTANTS = (
    bug(
        "store: a bundle is claimed by two",
        f"{FUNCTIONS}/engine_claim.sql",
        "where id = bundle_id and claim is null and submitted_at is null and due_at is null",
        "where id = bundle_id and submitted_at is null and due_at is null",
        CLAIMS,
    ),
    bug(
        "store: no fence at the finish",
        f"{FUNCTIONS}/engine_finish.sql",
        "where id = bundle_id and claim = token and cardinality(items) - done = n",
        "where id = bundle_id and cardinality(items) - done = n",
        CLAIMS,
    ),
    bug(
        "store: the sweep forgets what a partial finish committed",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "'c', g.done + 1 = cardinality(g.items),\n            'e', jsonb_build_object('class', 'lost', 'message', "
        "format('Worker %s was lost.', g.worker))) order by k)\n        from generate_series(g.done + 1,",
        "'c', g.done + 1 = cardinality(g.items),\n            'e', jsonb_build_object('class', 'lost', 'message', "
        "format('Worker %s was lost.', g.worker))) order by k)\n        from generate_series(1,",
        RUNS,
    ),
    bug(
        "store: fan-in counts what was reported, not what moved",
        f"{FUNCTIONS}/engine_take.sql",
        "from moved group by task_run_id",
        "from outcome where s = 'succeeded' group by task_run_id",
        RUNS,
    ),
    bug(
        "store: fan-in counted twice",
        f"{FUNCTIONS}/engine_take.sql",
        "succeeded = t.succeeded + c.n",
        "succeeded = t.succeeded + 2 * c.n",
        RUNS,
    ),
    bug(
        "store: an old attempt's report is taken",
        f"{FUNCTIONS}/engine_take.sql",
        "where o.s = 'succeeded' and w.id = o.i and w.attempt = o.a and w.state = 'queued'",
        "where o.s = 'succeeded' and w.id = o.i and w.state = 'queued'",
        RUNS,
    ),
    bug(
        "store: a run under another's lock is not skipped but waited for",
        f"{FUNCTIONS}/engine_take.sql",
        "order by id for update skip locked) locked",
        "order by id for update) locked",
        RING,
    ),
    bug(
        "store: every bundle of a map is a bundle of its first items",
        f"{FUNCTIONS}/engine_put.sql",
        "array(select f.task_run_id << 24 | i from generate_series(f.first, f.first + f.count - 1) as g (i))",
        "array(select f.task_run_id << 24 | i from generate_series(0, f.count - 1) as g (i))",
        RUNS,
    ),
    bug(
        "store: a retry does not wait for its delay",
        f"{FUNCTIONS}/engine_put.sql",
        "case when delay_s > 0 then p_now + delay_s * interval '1 second' end,",
        "null,",
        RING,
    ),
    bug(
        "store: what is due later is released now",
        "shared/freshet/storage/sql/engine.sql",
        "where due_at <= clock_timestamp()",
        "where due_at is not null",
        RING,
    ),
    bug(
        "store: the backlog knows no priority",
        "shared/freshet/storage/sql/engine.sql",
        "order by priority, turn, id limit %(room)s",
        "order by id limit %(room)s",
        RING,
    ),
    bug(
        "store: an overdue claim expires all that is left of its bundle",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "'s', case when k = g.done + 1 then 'timed_out' else 'lost' end,",
        "'s', 'timed_out',",
        RING,
    ),
    bug(
        "store: a cancel takes the finally tasks with it",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "and t.task <> all (p_spared)",
        "",
        RUNS,
    ),
    bug(
        "engine: one bad run parks the whole batch",
        f"{ENGINE}/fold.py",
        "if len(runs) <= 1:",
        "if True:",
        RUNS,
    ),
    bug("engine: a scope ends and nobody counts it", f"{ENGINE}/run_fold.py", "outer.add(outcome.value)", "pass", RUNS),
    bug(
        "engine: a map's elements are opened beyond its window",
        f"{ENGINE}/run_fold.py",
        "loaded.mark += count\n        self._load(rows)",
        "self._load(rows)",
        RUNS,
    ),
    bug(
        "engine: a stopped worker is declared dead in spite of its session",
        f"{ENGINE}/witness.py",
        "self.patience.lease if worker in witnessed else self.patience.dead_after",
        "self.patience.dead_after",
        RING,
    ),
    bug(
        "engine: a judge that stood still judges at once",
        f"{ENGINE}/witness.py",
        "self._not_before = now + self.patience.grace\n            self._silence.clear()",
        "pass",
        RING,
    ),
    bug(
        "engine: a flush loses what was queued",
        f"{ENGINE}/ring.py",
        "if not self._bus.fresh():",
        "if self._bus.fresh() or True:",
        RING,
    ),
    bug(
        "engine: a message that waits is published again",
        f"{ENGINE}/refill.py",
        "lost = set(waiting) - self._bus.queued(queue)",
        "lost = set(waiting)",
        RING,
    ),
    bug(
        "engine: a cancel leaves what no window has opened",
        f"{ENGINE}/loaded.py",
        'self.add("cancelled", self.node.total - self.mark)\n            self.mark = self.node.total',
        "self.mark = self.node.total",
        RUNS,
    ),
)
