-- Queues and workers.

-- name: ServedQueues
select distinct unnest(queues) as queue from engine.worker where state in ('available', 'busy');

-- name: QueuesList
-- A queue is one that holds bundles or that a worker serves.
with held as (
    select
        queue,
        count(*) filter (where claim is null and submitted_at is null and due_at is null) as depth,
        coalesce(sum(cardinality(items) - done) filter (where claim is null and submitted_at is null and due_at is null), 0)::bigint
            as items,
        count(*) filter (where due_at is not null) as delayed,
        count(*) filter (where claim is not null) as running,
        count(*) filter (where submitted_at is not null) as waiting,
        extract(epoch from clock_timestamp() - min(coalesce(published_at, created_at)) filter (
            where claim is null and submitted_at is null and due_at is null
        ))::double precision as oldest_s
    from engine.bundle
    group by queue
),
served as (
    select q.queue, array_agg(w.id order by w.id) as workers
    from engine.worker as w
    cross join lateral unnest(w.queues) as q (queue)
    where w.state in ('available', 'busy')
    group by q.queue
)
select
    queue as name, coalesce(h.depth, 0) as depth, coalesce(h.items, 0) as items, coalesce(h.delayed, 0) as delayed,
    coalesce(h.running, 0) as running, coalesce(h.waiting, 0) as waiting, greatest(h.oldest_s, 0) as oldest_s,
    coalesce(s.workers, '{}') as workers
from held as h
full join served as s using (queue)
where queue > %(after)s
order by queue
limit %(limit)s;

-- name: WorkersPage
-- Those at work before those gone, then by id.
select
    id, state, hostname, pid, queues, started_at, seen_at, busy_s, idle_s, wall_s
from engine.worker
where (state = 'offline', id) > (%(after_offline)s, %(after_id)s)
order by state = 'offline', id
limit %(limit)s;

-- name: WorkerGet
select id, state from engine.worker where id = %(id)s;
