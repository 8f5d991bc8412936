-- The run object and lists of runs. Counters only: nothing in here reads the items of a wide map.

-- name: RunGet
select
    r.id, r.partition, r.workflow, r.version, r.state, r.trigger, r.params, r.scheduled_for, r.rerun_of, r.group_id,
    r.created_at, r.started_at, r.finished_at, r.error, r.held, r.cancel_requested_at, r.traceparent, v.document,
    -- The log has the run's end, and no fact of the run is on its way there.
    exists (
        select from log.run as l
        where l.run_id = r.id and l.created_at = r.created_at and l.finished_at is not null
    ) and not exists (select from engine.outbox as o where o.run_id = r.id) as recorded
from engine.run as r
left join engine.workflow_version as v on v.workflow = r.workflow and v.version = r.version
where r.id = %(run)s;

-- name: RunRecorded
select
    r.state,
    exists (
        select from log.run as l
        where l.run_id = r.id and l.created_at = r.created_at and l.finished_at is not null
    ) and not exists (select from engine.outbox as o where o.run_id = r.id) as recorded
from engine.run as r
where r.id = %(run)s;

-- name: RunTasks
-- One row per task path, summed over its scopes. No `distinct` and no `order by` in an aggregate: they would sort all
-- the scopes of a nested map.
with summed as (
    select
        task,
        min(id) as id,
        min(id) filter (where error is not null) as error_id,
        array_remove(array[
            case when bool_or(state = 'pending') then 'pending' end,
            case when bool_or(state = 'running') then 'running' end,
            case when bool_or(state = 'succeeded') then 'succeeded' end,
            case when bool_or(state = 'failed') then 'failed' end,
            case when bool_or(state = 'skipped') then 'skipped' end,
            case when bool_or(state = 'cancelled') then 'cancelled' end
        ], null) as states,
        sum(total)::bigint as total,
        sum(succeeded)::bigint as succeeded,
        sum(failed)::bigint as failed,
        sum(skipped)::bigint as skipped,
        sum(cancelled)::bigint as cancelled,
        sum(attempts)::bigint as attempts,
        min(started_at) as started_at,
        case when bool_and(finished_at is not null) then max(finished_at) end as finished_at
    from engine.task_run
    where run_id = %(run)s
    group by task
)
select
    s.task, t.kind, t.parents, s.states, coalesce(s.total, 0) as total, s.succeeded, s.failed, s.skipped, s.cancelled,
    s.attempts, s.started_at, s.finished_at,
    (select e.error from engine.task_run as e where e.id = s.error_id) as error
from summed as s
join engine.task_run as t on t.id = s.id
order by s.id;

-- name: RunWaits
-- What job services of a run wait for, and how many of each task: a job that was submitted, or a place in its pool.
select t.task, b.waits_for, w.pool, count(*)::int as items
from engine.bundle as b
cross join lateral (
    select case when b.published_at is null and b.due_at is null and b.claim is null and b.submitted_at is null
        then b.limit_key end as pool
) as w
cross join lateral (select task from engine.task_run where id = b.task_run_id offset 0) as t
where b.run_id = %(run)s and (b.waits_for is not null or w.pool is not null)
group by t.task, b.waits_for, w.pool
order by t.task, items desc, b.waits_for;

-- name: PlainResults
-- Of the run's own scope: an item's result, or the values that it yielded, if they are few.
select
    t.task,
    w.row_count is not null or octet_length(w.result::text) > %(limit)s as elsewhere,
    case when octet_length(w.result::text) <= %(limit)s then w.result end as result,
    case when w.row_count <= 1000 then w.id end as source
from engine.task_run as t
cross join lateral (
    select i.id, i.row_count, i.result from engine.work_item as i
    where i.id = coalesce(t.copied_from, t.id) << 24
    offset 0
) as w
where t.run_id = %(run)s and t.index_path = '' and strpos(t.task, '.') = 0 and t.state = 'succeeded'
    and t.source_kind is null and t.kind <> 'map';

-- name: MapSizes
-- Maps of the run's own scope that are over and narrow: how many bytes their results take as stored, without
-- unfolding them. A wide one answers no size.
select
    t.task, coalesce(t.copied_from, t.id) as owner, t.total,
    case when t.total <= 1000 then (
        select coalesce(sum(pg_column_size(i.result) + 1024 * coalesce(i.row_count, 0)), 0)::bigint
        from engine.work_item as i
        where i.id >= coalesce(t.copied_from, t.id) << 24
            and i.id < (coalesce(t.copied_from, t.id) << 24) + t.total
    ) end as size
from engine.task_run as t
where t.run_id = %(run)s and t.index_path = '' and strpos(t.task, '.') = 0 and t.state in ('succeeded', 'failed')
    and (t.source_kind is not null or t.kind = 'map') and t.total is not null;

-- name: MapResult
-- The results of a narrow map in the order of its items; null where there is none.
select
    jsonb_agg(
        case
            when i.row_count is null then i.result
            when i.row_count = 0 then '[]'
            else (select jsonb_agg(v.value order by v.idx) from engine.value as v where v.source = i.id)
        end
        order by n
    ) as result
from generate_series(0, %(total)s::bigint - 1) as n
left join engine.work_item as i on i.id = (%(owner)s::bigint << 24) + n;

-- name: YieldedValues
select value from engine.value where source = %(source)s and idx > %(after)s order by idx limit %(limit)s;

-- name: RunsPage
-- Newest first: ids are ordered by time.
select
    r.id, r.workflow, r.version, r.state, r.trigger, r.scheduled_for, r.rerun_of, r.group_id, r.held,
    r.created_at, r.started_at, r.finished_at, r.error
from engine.run as r
where (%(before)s::uuid is null or r.id < %(before)s::uuid)
    and (%(workflow)s::text is null or r.workflow = %(workflow)s::text)
    and (%(state)s::text is null or r.state = %(state)s::text)
    and (%(group)s::uuid is null or r.group_id = %(group)s::uuid)
order by r.id desc
limit %(limit)s;

-- name: RunExists
select id, state from engine.run where id = %(run)s;
