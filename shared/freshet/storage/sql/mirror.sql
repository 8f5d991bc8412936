-- The mirror's statements: finished runs that are not in Snowflake yet, and their rows of the two tables.

-- name: MirrorPending
-- A run is ready when its end is recorded and nothing of it waits to be: from then on its rows stay as they are.
select r.run_id
from log.run r
where r.finished_at >= (select upto from log.mirror)
    and not exists (select from log.mirrored m where m.run_id = r.run_id)
    and not exists (select from engine.outbox o where o.run_id = r.run_id)
order by r.finished_at, r.run_id
limit %(limit)s;

-- name: MirrorJobRows
-- In an order that is the same each time: parts are counted by it.
select root_task_name, task_name, job_status, graph_run_id, graph_start_time, errors, created_date
from log.job_row
where run_id = %(run)s
order by created_date, task_name, job_status, errors;

-- name: MirrorTaskRows
select
    graph_run_group_id, name, state, return_value, query_start_time, completed_time, duration_in_secs, error_message
from log.task_row
where run_id = %(run)s
order by completed_time, name, state, query_start_time, return_value, error_message;

-- name: MirrorMark
insert into log.mirrored (run_id, finished_at)
select run_id, finished_at from log.run where run_id = any(%(runs)s::uuid[]) and finished_at is not null
on conflict do nothing;

-- name: MirrorAdvance
-- Not beyond a run that is not mirrored, nor beyond a fact that is not recorded: it may be the end of a run. The day
-- is for a clock that is put back, and for what a dispatcher has read the clock for and not committed.
with bound as (
    select least(
        (
            select min(r.finished_at)
            from log.run r
            where r.finished_at >= (select upto from log.mirror)
                and not exists (select from log.mirrored m where m.run_id = r.run_id)
        ),
        (select min(created_at) from engine.outbox) - interval '1 day',
        now() - interval '1 day'
    ) as upto
), advanced as (
    update log.mirror set upto = greatest(log.mirror.upto, bound.upto) from bound returning log.mirror.upto
)
delete from log.mirrored using advanced where log.mirrored.finished_at < advanced.upto;
