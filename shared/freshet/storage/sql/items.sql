-- Items, results and logs of one task: pages, never the whole.

-- name: TaskDeclared
-- What the run's document says of a task, null when nothing; no row without the run.
select coalesce(v.document #> %(path)s::text[], v.document #> %(final_path)s::text[]) as task
from engine.run as r
left join engine.workflow_version as v on v.workflow = r.workflow and v.version = r.version
where r.id = %(run)s;

-- name: TaskRunsPage
-- Those with items, from one on: as many as a page of items can come from.
select id from engine.task_run
where run_id = %(run)s and task = %(task)s and id >= %(after)s and total > 0
order by id
limit %(limit)s;

-- name: TaskRunOfScope
select id from engine.task_run where run_id = %(run)s and task = %(task)s and index_path = %(scope)s;

-- name: ItemsPage
-- In the order of scopes and indexes. Rows are looked up by key; what has no row yet is derived. The series is cut
-- to the page's size before it is made: it would else be written out as wide as the map.
with active as materialized (
    select
        b.queue, b.claim, b.worker, b.claimed_at, b.submitted_at, b.due_at, b.job_name, b.waits_for,
        case when b.published_at is null and b.due_at is null and b.claim is null and b.submitted_at is null
            then b.limit_key end as pool,
        unnest(b.items[b.done + 1 :]) as item
    from engine.bundle as b
    where b.run_id = %(run)s
),
places as (
    select
        t.id as task_run, coalesce(t.copied_from, t.id) as owner, t.state as task_state, t.index_path, t.mark, n.idx,
        t.source_kind is not null or t.kind = 'map' as mapped
    from engine.task_run as t
    cross join lateral (
        select case
            when %(index)s::bigint is not null then %(index)s::bigint
            when t.id = %(after_task_run)s::bigint then %(after_index)s::bigint + 1
            else 0
        end as first
    ) as f
    cross join lateral generate_series(
        f.first, least(coalesce(t.total, 0), f.first + case when %(index)s::bigint is null then %(limit)s else 1 end) - 1
    ) as n (idx)
    where t.id = any(%(task_runs)s::bigint[])
    order by t.id, n.idx
    limit %(limit)s
)
select
    p.task_run, p.idx as index, p.index_path, p.mapped, p.owner,
    case
        when w.state is null then
            case p.task_state
                when 'pending' then 'pending'
                when 'running' then 'pending'
                when 'skipped' then 'skipped'
                else 'cancelled'
            end
        when w.state not in ('queued', 'running') then w.state
        when a.item is null then 'running' -- its bundle has ended and the report is not folded yet
        when a.submitted_at is not null then 'waiting'
        when a.claim is not null then 'running'
        when a.due_at is not null and w.failures > 0 then 'retrying'
        else 'queued'
    end as state,
    w.attempt, w.failures, w.losses, w.row_count, w.error, w.finished_at,
    a.queue, a.worker, a.claimed_at, a.submitted_at, a.due_at, a.job_name, a.waits_for, a.pool,
    case when octet_length(w.result::text) <= %(result_limit)s then w.result end as result,
    coalesce(octet_length(w.result::text) > %(result_limit)s, false) or w.row_count is not null as elsewhere
from places as p
left join lateral (
    select i.* from engine.work_item as i where i.id = (p.owner << 24) + p.idx offset 0
) as w on true
left join active as a on a.item = (p.owner << 24) + p.idx
order by p.task_run, p.idx;

-- name: ItemResult
select
    t.id as task_run, coalesce(t.copied_from, t.id) as owner, t.total, t.kind, t.source_kind, t.state as task_state,
    w.id as item, w.state, w.result, w.row_count
from engine.task_run as t
left join lateral (
    select i.id, i.state, i.result, i.row_count from engine.work_item as i
    where i.id = (coalesce(t.copied_from, t.id) << 24) + coalesce(%(index)s::bigint, 0)
    offset 0
) as w on true
where t.run_id = %(run)s and t.task = %(task)s and t.index_path = %(scope)s;

-- name: ResultsPage
-- The results of a fanned-out task in the order of its items.
select n.idx as index, i.state, i.row_count, i.id as item, i.result
from generate_series(
    %(after)s::bigint + 1, least(%(total)s::bigint, %(after)s::bigint + 1 + %(limit)s) - 1
) as n (idx)
left join lateral (
    select w.* from engine.work_item as w where w.id = (%(owner)s::bigint << 24) + n.idx offset 0
) as i on true
order by n.idx;

-- name: ValuesPage
select v.idx, v.value from engine.value as v where v.source = %(source)s and v.idx > %(after)s order by v.idx limit %(limit)s;

-- name: LogsPage
-- In the order of writing.
select item, attempt, claim, part, text, at
from log.attempt_log
where run_id = %(run)s and task = %(task)s
    and (%(item)s::text is null or item = %(item)s::text)
    and (%(attempt)s::int is null or attempt = %(attempt)s::int)
    and (at, item, attempt, part, claim) > (
        %(after_at)s::timestamptz, %(after_item)s::text, %(after_attempt)s::int, %(after_part)s::int,
        %(after_claim)s::uuid
    )
order by at, item, attempt, part, claim
limit %(limit)s;
