-- The recorder's statements: committed facts into the log, once each.

-- name: OutboxLeft
-- Entries that nobody is recording just now, the oldest first. The locks end with the statement: they only tell who
-- is at work, and the delete in OutboxRecord is what makes recording happen once.
select id
from engine.outbox
where created_at <= clock_timestamp() - make_interval(secs => %(older_than_s)s)
order by id
limit %(limit)s
for update skip locked;

-- name: OutboxRecord
-- One statement, so one transaction and one round trip. Every part of it reads `taken`: what another recorder has
-- deleted does not come out of there and is written by nobody twice.
with taken as materialized (
    delete from engine.outbox where id = any(%(ids)s::bigint[]) returning id, run_id, body, created_at
), fact as materialized (
    select
        taken.id as outbox_id,
        one.position,
        one.body,
        one.body ->> 'type' as type,
        split_part(one.body ->> 'type', '.', 2) as noun,
        split_part(one.body ->> 'type', '.', 3) as state,
        coalesce((one.body ->> 'run_id')::uuid, taken.run_id) as run_id,
        -- A fact without a time is as old as its row.
        coalesce((one.body ->> 'at')::timestamptz, taken.created_at) as at
    from taken
    cross join lateral jsonb_array_elements(taken.body) with ordinality as one (body, position)
), item as materialized (
    select
        fact.run_id,
        fact.at,
        fact.state,
        fact.body ->> 'workflow' as workflow,
        fact.body ->> 'task' as task,
        coalesce(fact.body ->> 'index_path', '') as index_path,
        coalesce((fact.body ->> 'mapped')::boolean, false) as mapped,
        fact.body ->> 'kind' as kind,
        fact.body ->> 'worker' as worker,
        fact.body ->> 'claim' as claim,
        (fact.body ->> 'claimed_at')::timestamptz as claimed_at,
        extract(epoch from (fact.body ->> 'claimed_at')::timestamptz
            - (fact.body ->> 'queued_at')::timestamptz)::double precision as queue_wait_s,
        (each.entry ->> 0)::int as index,
        (each.entry ->> 1)::int as attempt,
        (each.entry ->> 2)::double precision as duration_s,
        nullif(each.entry -> 3, 'null') as error
    from fact
    cross join lateral jsonb_array_elements(fact.body -> 'items') as each (entry)
    where fact.noun = 'item'
), ended as materialized (
    select
        item.*,
        case when item.error is not null then coalesce(item.error ->> 'class', '_OTHER') end as error_class
    from item
    where item.state in ('succeeded', 'failed', 'expired', 'retrying')
        -- What ends like this before its attempt began has left no attempt.
        or (item.state in ('cancelled', 'skipped')
            and (item.worker is not null or item.claimed_at is not null or item.duration_s is not null))
), task as materialized (
    select
        fact.run_id,
        fact.at,
        fact.state,
        fact.body,
        coalesce((fact.body ->> 'finished_at')::timestamptz, fact.at) as finished_at,
        (fact.body ->> 'started_at')::timestamptz as started_at,
        run.workflow,
        run.traceparent
    from fact
    left join engine.run on run.id = fact.run_id
    where fact.noun = 'task' and fact.state in ('succeeded', 'failed', 'skipped', 'cancelled')
), run as materialized (
    select
        fact.run_id,
        fact.at,
        fact.state,
        fact.state in ('succeeded', 'failed', 'skipped', 'cancelled') as final,
        fact.body,
        coalesce((fact.body ->> 'created_at')::timestamptz, fact.at) as created_at,
        (fact.body ->> 'started_at')::timestamptz as started_at,
        case when fact.state in ('succeeded', 'failed', 'skipped', 'cancelled')
            then coalesce((fact.body ->> 'finished_at')::timestamptz, fact.at) end as finished_at
    from fact
    where fact.noun = 'run'
), worker as materialized (
    select fact.* from fact where fact.noun = 'worker'
), into_event as (
    insert into log.event (outbox_id, position, id, type, run_id, at, body)
    select
        fact.outbox_id,
        fact.position,
        case fact.noun
            when 'run' then concat_ws('/', fact.run_id, fact.state)
            when 'worker' then concat_ws('/', fact.body ->> 'worker', fact.state, fact.body ->> 'at')
            else concat_ws('/', fact.run_id, fact.body ->> 'task', coalesce(fact.body ->> 'index_path', ''),
                fact.body #>> '{items,0,0}', fact.body #>> '{items,0,1}', fact.body ->> 'claim', fact.state)
        end,
        fact.type,
        fact.run_id,
        fact.at,
        fact.body
    from fact
), into_attempt as (
    insert into log.attempt (
        run_id, workflow, task, index_path, item, mapped, kind, attempt, state, final, worker, claim, started_at,
        finished_at, duration_s, queue_wait_s, error_class, error, at
    )
    select
        ended.run_id,
        ended.workflow,
        ended.task,
        ended.index_path,
        case
            when not ended.mapped then ended.index_path
            when ended.index_path = '' then ended.index::text
            else ended.index_path || '.' || ended.index
        end,
        ended.mapped,
        ended.kind,
        ended.attempt,
        case ended.state when 'retrying' then 'failed' else ended.state end,
        ended.state <> 'retrying',
        ended.worker,
        ended.claim,
        coalesce(ended.claimed_at, ended.at - make_interval(secs => ended.duration_s)),
        ended.at,
        ended.duration_s,
        ended.queue_wait_s,
        ended.error_class,
        coalesce(ended.error ->> 'message', ended.error #>> '{}'),
        ended.at
    from ended
), into_task as (
    insert into log.task (
        run_id, task, index_path, kind, state, total, succeeded, failed, skipped, cancelled, attempts, started_at,
        finished_at, result, error_class, error, at
    )
    select
        task.run_id,
        task.body ->> 'task',
        coalesce(task.body ->> 'index_path', ''),
        task.body ->> 'kind',
        task.state,
        coalesce((task.body ->> 'total')::int, 0),
        coalesce((task.body ->> 'succeeded')::int, 0),
        coalesce((task.body ->> 'failed')::int, 0),
        coalesce((task.body ->> 'skipped')::int, 0),
        coalesce((task.body ->> 'cancelled')::int, 0),
        coalesce((task.body ->> 'attempts')::int, 0),
        task.started_at,
        task.finished_at,
        nullif(task.body -> 'result', 'null'),
        task.body #>> '{error,class}',
        coalesce(task.body #>> '{error,message}', task.body ->> 'error'),
        task.at
    from task
), into_run as (
    insert into log.run (
        run_id, created_at, group_id, rerun_of, workflow, version, root_task_name, trigger, state, scheduled_for,
        started_at, finished_at, error_class, error, traceparent, at
    )
    -- The furthest fact of each run, in one order for everybody, so that two recorders never wait for each other.
    select distinct on (run.run_id, run.created_at)
        run.run_id,
        run.created_at,
        coalesce((run.body ->> 'group_id')::uuid, run.run_id),
        (run.body ->> 'rerun_of')::uuid,
        run.body ->> 'workflow',
        (run.body ->> 'version')::int,
        run.body ->> 'root_task_name',
        run.body ->> 'trigger',
        run.state,
        (run.body ->> 'scheduled_for')::timestamptz,
        run.started_at,
        run.finished_at,
        run.body #>> '{error,class}',
        coalesce(run.body #>> '{error,message}', run.body ->> 'error'),
        run.body ->> 'traceparent',
        run.at
    from run
    order by run.run_id, run.created_at, run.final desc, (run.state = 'running') desc
    on conflict (run_id, created_at) do update set
        state = excluded.state,
        started_at = coalesce(excluded.started_at, log.run.started_at),
        finished_at = excluded.finished_at,
        error_class = excluded.error_class,
        error = excluded.error,
        at = excluded.at
    where log.run.finished_at is null and (excluded.finished_at is not null or log.run.state = 'pending')
), into_worker_time as (
    insert into log.worker_time (worker, at, state, busy_s, idle_s, wall_s)
    select
        worker.body ->> 'worker',
        worker.at,
        worker.state,
        coalesce((worker.body ->> 'busy_s')::double precision, 0),
        coalesce((worker.body ->> 'idle_s')::double precision, 0),
        coalesce((worker.body ->> 'wall_s')::double precision, 0)
    from worker
), measured (measure, workflow, task, kind, state, error_class, queue, number, seconds) as (
    select 'attempts', workflow, task, kind, case state when 'retrying' then 'failed' else state end, error_class,
        null, 1, duration_s
    from ended
    union all
    -- One per claim, for the items of a bundle share it.
    select 'claims', fact.body ->> 'workflow', fact.body ->> 'task', fact.body ->> 'kind', fact.state, null,
        fact.body ->> 'queue', jsonb_array_length(fact.body -> 'items'),
        extract(epoch from (fact.body ->> 'claimed_at')::timestamptz
            - (fact.body ->> 'queued_at')::timestamptz)::double precision
    from fact
    where fact.noun = 'item' and fact.state = 'running'
    union all
    select 'returns', workflow, task, kind, state, coalesce(error ->> 'class', '_OTHER'), null, 1, null
    from item
    where state = 'queued' and error is not null
    union all
    select 'tasks', coalesce(workflow, ''), body ->> 'task', body ->> 'kind', state, body #>> '{error,class}', null, 1,
        extract(epoch from finished_at - started_at)::double precision
    from task
    union all
    select 'runs', body ->> 'workflow', null, null, state, body #>> '{error,class}', null, 1,
        extract(epoch from finished_at - started_at)::double precision
    from run where final
    union all
    select 'starts', body ->> 'workflow', null, null, state, null, null, 1,
        extract(epoch from started_at - created_at)::double precision
    from run where final and started_at is not null
), tally as (
    select
        measure, workflow, task, kind, state, error_class, queue,
        -- Bounds are upper and inclusive, as OpenTelemetry has them; width_bucket's are lower, hence the signs.
        case when seconds is not null then
            cardinality(%(bounds)s::double precision[]) - width_bucket(-seconds, %(mirrored)s::double precision[])
        end as bucket,
        count(*)::int as count, sum(number)::bigint as number, sum(seconds) as seconds, min(seconds) as low,
        max(seconds) as high
    from measured
    group by 1, 2, 3, 4, 5, 6, 7, 8
), span as (
    select run_id, null as task, null as index_path, body ->> 'workflow' as workflow, null as kind, state,
        body ->> 'traceparent' as traceparent, started_at, finished_at,
        coalesce(body #>> '{error,message}', body ->> 'error') as error
    from run
    where final and %(spans)s
    union all
    select run_id, body ->> 'task', coalesce(body ->> 'index_path', ''), workflow, body ->> 'kind', state, traceparent,
        started_at, finished_at, coalesce(body #>> '{error,message}', body ->> 'error')
    from task
    where %(spans)s
)
select
    (select count(*)::int from taken) as entries,
    (select count(*)::int from fact) as facts,
    (select count(*)::int from item) as items,
    coalesce((select jsonb_agg(to_jsonb(tally)) from tally), '[]') as tallies,
    coalesce((select jsonb_agg(to_jsonb(span)) from span where traceparent is not null and started_at is not null), '[]')
        as spans;

-- name: OutboxPark
-- The culprit stands alone: it leaves the way with its error, for people to look at.
with taken as (
    delete from engine.outbox where id = %(id)s returning run_id, body
)
insert into engine.parked (what, run_id, body, error)
select 'outbox', run_id, body, %(error)s from taken;
