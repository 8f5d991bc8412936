-- What the mirror into Snowflake needs: the two tables' rows of one run, and which runs are there already.
--
-- Expand only: the two views show what they showed, and a recorder of the version before writes as it did.

-- The rows of log.jobs_run_stats with the run that each belongs to.
create view log.job_row as
select
    a.run_id,
    coalesce(r.root_task_name, a.workflow) as root_task_name,
    a.task || case when a.index_path = '' then '' else '[' || a.index_path || ']' end as task_name,
    case a.state
        when 'succeeded' then 'DONE'
        when 'skipped' then 'SKIPPED'
        when 'cancelled' then 'CANCELLED'
        else 'FAILED'
    end as job_status,
    coalesce(r.group_id, a.run_id)::text as graph_run_id,
    coalesce(r.scheduled_for, r.created_at) as graph_start_time,
    case when a.state in ('failed', 'expired') then concat_ws(E'\n', a.error, kept.text) else '' end as errors,
    a.at as created_date
from log.attempt a
left join log.run r on r.run_id = a.run_id
left join lateral (
    select string_agg(l.text, '' order by l.at, l.part) as text
    from log.attempt_log l
    where l.run_id = a.run_id and l.task = a.task and l.item = a.item and l.attempt = a.attempt
        and a.state in ('failed', 'expired')
) kept on true
where a.kind = 'job_service' and a.final
union all
-- Items that ended without an attempt: the TaskRun's counters know them, no row of log.attempt does. A map that was
-- never expanded has no items and still gets one row, that of the TaskRun itself.
select
    t.run_id,
    coalesce(r.root_task_name, r.workflow),
    t.task || case when t.index_path = '' then '' else '[' || t.index_path || ']' end,
    upper(ended.state),
    coalesce(r.group_id, t.run_id)::text,
    coalesce(r.scheduled_for, r.created_at),
    case when ended.state = 'failed' then coalesce(t.error, '') else '' end,
    t.at
from log.task t
left join log.run r on r.run_id = t.run_id
cross join lateral (
    values ('skipped', t.skipped), ('cancelled', t.cancelled), ('failed', t.failed)
) ended (state, items)
cross join lateral (
    select case
        when t.total = 0 then (t.state = ended.state)::int
        when ended.items = 0 then 0
        else ended.items - (
            select count(*)::int
            from log.attempt a
            where a.run_id = t.run_id and a.task = t.task and a.index_path = t.index_path and a.final
                and case a.state when 'expired' then 'failed' else a.state end = ended.state
        )
    end as items
) silent
cross join lateral generate_series(1, silent.items)
where t.kind = 'job_service';

create or replace view log.jobs_run_stats as
select root_task_name, task_name, job_status, graph_run_id, graph_start_time, errors, created_date
from log.job_row;

-- The rows of log.task_logging_stats with the run that each belongs to.
create view log.task_row as
select
    ended.run_id,
    ended.group_id::text as graph_run_group_id,
    ended.name,
    upper(ended.state) as state,
    ended.return_value,
    to_char(ended.started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as query_start_time,
    to_char(ended.finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as completed_time,
    -- Between the two texts, so that who subtracts them gets this number.
    extract(epoch from date_trunc('second', ended.finished_at) - date_trunc('second', ended.started_at))::int
        as duration_in_secs,
    ended.error as error_message
from (
    select
        r.run_id,
        r.group_id,
        coalesce(r.root_task_name, r.workflow) as name,
        r.state,
        null as return_value,
        coalesce(r.started_at, r.finished_at) as started_at, -- what never started took no time, at its end
        r.finished_at,
        r.error
    from log.run r
    where r.finished_at is not null
    union all
    select
        r.run_id,
        r.group_id,
        t.task || case when t.index_path = '' then '' else '[' || t.index_path || ']' end,
        t.state,
        t.result #>> '{}',
        coalesce(t.started_at, t.finished_at),
        t.finished_at,
        t.error
    from log.task t
    join log.run r on r.run_id = t.run_id
    where r.finished_at is not null
) ended;

create or replace view log.task_logging_stats as
select
    graph_run_group_id, name, state, return_value, query_start_time, completed_time, duration_in_secs, error_message
from log.task_row;

-- Runs whose rows are in Snowflake, as far as they ended at or after log.mirror.upto; all that ended before are.
create table log.mirrored (
    run_id uuid primary key,
    finished_at timestamptz not null
);
create table log.mirror (
    alone boolean primary key default true check (alone),
    upto timestamptz not null
);
insert into log.mirror (upto) values ('-infinity');
