-- Finished runs by copying one that has just run: every row that it left, in every table, with new keys.
-- The template is the run %(template)s; %(first)s and %(past)s number the copies of this call.

-- name: Days
select log.make_partition(c.relname::text, (now() at time zone 'UTC')::date - back)
from pg_class c cross join generate_series(1, %(days)s) back
where c.relnamespace = 'log'::regnamespace and c.relkind = 'p';

-- name: Begin
-- Ids as the engine makes them: ordered by time, and the partition is the last hex digit of a random part.
create temp table copy on commit drop as
select
    k,
    (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
        || 'a' || substr(md5(random()::text), 1, 15))::uuid as run_id,
    make_interval(days => 1 + k %% %(days)s) as back
from generate_series(%(first)s::int, %(past)s::int - 1) as k;

-- name: TaskMap
create temp table task_map on commit drop as
select k, t.id as old_id, nextval(pg_get_serial_sequence('engine.task_run', 'id')) as new_id
from copy cross join (select id from engine.task_run where run_id = %(template)s order by id) t;

-- name: Run
insert into engine.run (id, workflow, version, state, trigger, params, group_id, priority, turn, traceparent, created_at,
    started_at, finished_at)
select c.run_id, r.workflow, r.version, r.state, r.trigger, r.params, c.run_id, r.priority, r.turn, r.traceparent,
    r.created_at - c.back, r.started_at - c.back, r.finished_at - c.back
from copy c cross join engine.run r where r.id = %(template)s;

-- name: TaskRun
insert into engine.task_run (id, run_id, task, index_path, kind, parents, state, total, mark, succeeded, failed, skipped,
    cancelled, attempts, source_kind, source, busy_s, measured, created_at, started_at, finished_at)
overriding system value
select m.new_id, c.run_id, t.task, t.index_path, t.kind, t.parents, t.state, t.total, t.mark, t.succeeded, t.failed,
    t.skipped, t.cancelled, t.attempts, t.source_kind, t.source, t.busy_s, t.measured, t.created_at - c.back,
    t.started_at - c.back, t.finished_at - c.back
from task_map m join copy c using (k) join engine.task_run t on t.id = m.old_id;

-- name: WorkItem
insert into engine.work_item (id, state, attempt, failures, losses, handbacks, row_count, result, finished_at)
select m.new_id << 24 | (w.id & 16777215), w.state, w.attempt, w.failures, w.losses, w.handbacks, w.row_count, w.result,
    w.finished_at - c.back
from task_map m join copy c using (k)
join engine.work_item w on w.id >= m.old_id << 24 and w.id < (m.old_id + 1) << 24;

-- name: Event
insert into log.event (outbox_id, position, id, type, run_id, at, body)
select e.outbox_id, e.position, replace(e.id, e.run_id::text, c.run_id::text), e.type, c.run_id, e.at - c.back,
    jsonb_set(e.body, '{run_id}', to_jsonb(c.run_id))
from copy c cross join log.event e where e.run_id = %(template)s;

-- name: Attempt
insert into log.attempt (run_id, workflow, task, index_path, item, mapped, kind, attempt, state, final, worker, claim,
    started_at, finished_at, duration_s, queue_wait_s, error_class, error, at)
select c.run_id, a.workflow, a.task, a.index_path, a.item, a.mapped, a.kind, a.attempt, a.state, a.final, a.worker,
    a.claim, a.started_at - c.back, a.finished_at - c.back, a.duration_s, a.queue_wait_s, a.error_class, a.error,
    a.at - c.back
from copy c cross join log.attempt a where a.run_id = %(template)s;

-- name: Task
insert into log.task (run_id, task, index_path, kind, state, total, succeeded, failed, skipped, cancelled, attempts,
    started_at, finished_at, result, at)
select c.run_id, t.task, t.index_path, t.kind, t.state, t.total, t.succeeded, t.failed, t.skipped, t.cancelled,
    t.attempts, t.started_at - c.back, t.finished_at - c.back, t.result, t.at - c.back
from copy c cross join log.task t where t.run_id = %(template)s;

-- name: LogRun
insert into log.run (run_id, created_at, group_id, workflow, version, trigger, state, started_at, finished_at,
    traceparent, at)
select c.run_id, r.created_at - c.back, c.run_id, r.workflow, r.version, r.trigger, r.state, r.started_at - c.back,
    r.finished_at - c.back, r.traceparent, r.at - c.back
from copy c cross join log.run r where r.run_id = %(template)s;
