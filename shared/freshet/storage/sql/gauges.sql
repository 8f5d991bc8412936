-- What stands at a level: read when somebody looks at the metrics.

-- name: RunsActive
-- For the gauge of active runs; the partial index holds no others.
select workflow, state, count(*)::int as runs
from engine.run
where state in ('pending', 'running')
group by workflow, state;

-- name: QueuesActive
-- Queues with work that nobody has taken, and how much of it: bundles and items.
select queue, count(*)::int as bundles, sum(cardinality(items) - done)::bigint as items
from engine.bundle
where claim is null and submitted_at is null and due_at is null
group by queue;
