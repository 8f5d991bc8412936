-- The recorder's tables: what happened, for people and for dashboards. Nothing in here is ever decided upon.
--
-- Who writes what
--   recorder   event, attempt, task, run, worker_time: from committed facts, in the transaction that deletes their
--              engine.outbox row, so each fact is written once however often it is announced
--   worker     attempt_log: the text that an attempt wrote, in parts, as it comes
--
-- Guarantees that the tables keep by themselves
--   * Every table is partitioned by day (UTC). A DEFAULT partition takes what no day's partition is there for, so no
--     fact is refused for its date; log.make_partition moves such rows out when it makes the day's own.
--   * Retention drops whole days; nobody deletes single rows but from the DEFAULT partitions.
--   * Indexed texts are bounded by check constraints: too long a key is an error of the data (class 23, parked), not
--     one of the index (class 54, retried for ever).
--   * log.run is the one table with updates: a run's row is written at its start and again at its end, found by
--     (run_id, created_at), and never moves back to an earlier state.

create schema log;

-- One row per fact, as it was announced; a fact about items carries many of them in body.items.
create table log.event (
    outbox_id bigint not null, -- with position: the order in which facts were written
    position int not null,
    -- The natural key: run/task/index path/index/attempt/claim/state of the first item, so that a replay makes the same.
    id text not null,
    type text not null,
    run_id uuid,
    at timestamptz not null,
    body jsonb not null
) partition by range (at);
create index event_order on log.event (outbox_id, position);
create index event_run on log.event (run_id, outbox_id, position);

-- One row per attempt that has ended.
create table log.attempt (
    run_id uuid not null,
    workflow text not null,
    task text not null check (octet_length(task) <= 1024), -- the dotted path
    index_path text not null check (octet_length(index_path) <= 512), -- of the scope
    item text not null check (octet_length(item) <= 512), -- index path of the item: 3.17; '' for a plain task of the run
    mapped boolean not null,
    kind text not null,
    attempt int not null,
    state text not null check (state in ('succeeded', 'failed', 'expired', 'cancelled', 'skipped')),
    final boolean not null, -- false: it failed and was tried again
    worker text,
    claim text, -- what tells two holders of one attempt apart: the claim's token or the bundle's id
    started_at timestamptz, -- the claim of its bundle; of a watched job, its end minus its duration
    finished_at timestamptz not null,
    duration_s double precision, -- of the item alone, by the worker's monotonic clock
    queue_wait_s double precision,
    error_class text,
    error text,
    at timestamptz not null
) partition by range (at);
create index attempt_item on log.attempt (run_id, task, item);
-- For jobs_run_stats, newest first: jobs are few among the attempts.
create index attempt_job on log.attempt (at) where kind = 'job_service' and final;

-- One row per TaskRun that has ended; TaskRuns that a rerun copied have none.
create table log.task (
    run_id uuid not null,
    task text not null check (octet_length(task) <= 1024),
    index_path text not null check (octet_length(index_path) <= 512),
    kind text not null,
    state text not null check (state in ('succeeded', 'failed', 'skipped', 'cancelled')),
    total int not null, -- 0: a map that was never expanded, or over an empty list
    succeeded int not null,
    failed int not null,
    skipped int not null,
    cancelled int not null,
    attempts int not null,
    started_at timestamptz,
    finished_at timestamptz not null,
    result jsonb, -- of a plain task, when small
    error_class text,
    error text,
    at timestamptz not null
) partition by range (at);
create index task_of_run on log.task (run_id, task, index_path);
create index task_job on log.task (at) where kind = 'job_service';

-- One row per run, from its start on; finished_at is set when its last fact is recorded.
create table log.run (
    run_id uuid not null,
    created_at timestamptz not null,
    group_id uuid not null,
    rerun_of uuid,
    workflow text not null,
    version int,
    root_task_name text,
    trigger text,
    state text not null check (state in ('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')),
    scheduled_for timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    error_class text,
    error text,
    traceparent text,
    at timestamptz not null,
    primary key (run_id, created_at),
    constraint run_finished_when_final
        check ((finished_at is not null) = (state in ('succeeded', 'failed', 'skipped', 'cancelled')))
) partition by range (created_at);
create index run_finished on log.run (finished_at);
-- The group as the two tables show it: both are asked for one graph run by its text.
create index run_group on log.run ((group_id::text));

-- What workers said about their time: totals since their start, never differences, so a lost row loses nothing.
create table log.worker_time (
    worker text not null check (octet_length(worker) <= 512),
    at timestamptz not null,
    state text not null,
    busy_s double precision not null,
    idle_s double precision not null,
    wall_s double precision not null
) partition by range (at);
create index worker_time_worker on log.worker_time (worker, at);

-- What an attempt wrote, in parts; the writer caps it. The claim tells two holders of one attempt apart.
create table log.attempt_log (
    run_id uuid not null,
    task text not null check (octet_length(task) <= 1024),
    item text not null check (octet_length(item) <= 512),
    attempt int not null,
    claim uuid not null,
    part int not null,
    text text not null,
    at timestamptz not null default now()
) partition by range (at);
create index attempt_log_item on log.attempt_log (run_id, task, item, attempt);

create table log.event_default partition of log.event default;
create table log.attempt_default partition of log.attempt default;
create table log.task_default partition of log.task default;
create table log.run_default partition of log.run default;
create table log.worker_time_default partition of log.worker_time default;
create table log.attempt_log_default partition of log.attempt_log default;

-- One row per final item of a job service.
create view log.jobs_run_stats as
select
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

-- One row per TaskRun of a finished run, and one for the run.
create view log.task_logging_stats as
select
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

-- How far each task of a run is, while it runs: read from the engine, for it is about now.
create view log.task_progress as
select
    t.run_id,
    r.workflow,
    t.task,
    count(*)::int as task_runs, -- one, or one per scope
    sum(coalesce(t.total, 0))::bigint as items,
    sum(t.succeeded)::bigint as succeeded,
    sum(t.failed)::bigint as failed,
    sum(t.skipped)::bigint as skipped,
    sum(t.cancelled)::bigint as cancelled,
    sum(coalesce(t.total, 0) - t.succeeded - t.failed - t.skipped - t.cancelled)::bigint as unfinished,
    -- A task without items yet counts as one thing to do, so that an unexpanded map is not done.
    round(100.0 * sum(case when t.finished_at is null
        then t.succeeded + t.failed + t.skipped + t.cancelled else greatest(coalesce(t.total, 1), 1) end)
        / sum(greatest(coalesce(t.total, 1), 1)), 1) as percent_done
from engine.task_run t
join engine.run r on r.id = t.run_id
group by t.run_id, r.workflow, t.task;

-- The same per run: percent of the items that are final, and how many stand where.
create view log.run_progress as
select
    p.run_id,
    p.workflow,
    r.state,
    sum(p.items)::bigint as items,
    sum(p.succeeded)::bigint as succeeded,
    sum(p.failed)::bigint as failed,
    sum(p.skipped)::bigint as skipped,
    sum(p.cancelled)::bigint as cancelled,
    sum(p.unfinished)::bigint as unfinished,
    round(avg(p.percent_done), 1) as percent_done -- each task weighs the same, however wide
from log.task_progress p
join engine.run r on r.id = p.run_id
group by p.run_id, p.workflow, r.state;
