-- Asking for runs: what the front door and the scheduler write, and the dispatcher's inbox.

-- name: RunsInsert
-- Each run with its start request; a held run gets none. Whose origin is there already is left out: the unique
-- index waits for a transaction that is inserting the same origin, so two that ask at once make one run.
with wanted as (
    select *
    from jsonb_to_recordset(%(runs)s) as w (
        id uuid, workflow text, version int, trigger text, origin text, params jsonb, scheduled_for timestamptz,
        rerun_of uuid, rerun_tasks text[], group_id uuid, priority int, held boolean, traceparent text
    )
),
inserted as (
    insert into engine.run (
        id, workflow, version, trigger, origin, params, scheduled_for, rerun_of, rerun_tasks, group_id, priority, held,
        traceparent
    )
    select
        id, workflow, version, trigger, origin, params, scheduled_for, rerun_of, rerun_tasks, group_id, priority, held,
        traceparent
    from wanted
    order by id
    on conflict (origin) where origin is not null do nothing
    returning id, partition, held
),
asked as (
    insert into engine.request (partition, run_id, kind)
    select partition, id, 'start' from inserted where not held order by id
)
select id, partition, held from inserted order by id;

-- name: RunsByOrigin
select id, partition, origin, params from engine.run where origin = any(%(origins)s);

-- name: SkippedRunInsert
-- A tick that the overlap policy let pass: final from the start, so the dispatcher never sees it.
with skipped as (
    insert into engine.run (
        id, workflow, version, trigger, origin, params, scheduled_for, group_id, priority, state, traceparent, finished_at
    )
    values (
        %(id)s, %(workflow)s, %(version)s, %(trigger)s, %(origin)s, %(params)s, %(scheduled_for)s, %(id)s,
        %(priority)s, 'skipped', %(traceparent)s, clock_timestamp()
    )
    on conflict (origin) where origin is not null do nothing
    returning *
)
insert into engine.outbox (run_id, body)
select
    r.id,
    jsonb_build_array(
        jsonb_build_object(
            'type', 'freshet.run.skipped.v1', 'run_id', r.id, 'at', r.finished_at, 'workflow', r.workflow,
            'version', r.version, 'trigger', r.trigger, 'scheduled_for', r.scheduled_for, 'group_id', r.group_id,
            'rerun_of', r.rerun_of, 'created_at', r.created_at, 'started_at', r.started_at,
            'finished_at', r.finished_at, 'error', r.error, 'root_task_name', %(root_task_name)s::text,
            'traceparent', r.traceparent
        )
    )
from skipped as r
returning id, run_id, body::text as body;

-- name: CancelRequestInsert
-- Once is enough: a second request for the same run is not written.
with run as (
    select id, partition, state, cancel_requested_at from engine.run where id = %(run)s
),
asked as (
    insert into engine.request (partition, run_id, kind)
    select r.partition, r.id, 'cancel'
    from run as r
    where r.state in ('pending', 'running') and r.cancel_requested_at is null
        and not exists (
            select from engine.request as q
            where q.partition = r.partition and q.run_id = r.id and q.kind = 'cancel'
        )
)
select state, partition from run;

-- name: RunForRerun
select id, workflow, version, state, params, scheduled_for, group_id, priority from engine.run where id = %(run)s;

-- name: TopTaskStates
-- Of the run's own scope; a task that never got a row is missing.
select task, state from engine.task_run where run_id = %(run)s and index_path = '' and strpos(task, '.') = 0;

-- name: ActiveRunCount
select count(*) as runs
from engine.run
where workflow = %(workflow)s and state in ('pending', 'running');

-- name: HeldRunsRelease
-- The oldest held run of each workflow that has no run going: the repair for a run that ended while the tick that
-- held another one was not yet committed. Two at once release one, for the second finds it no longer held.
with oldest as (
    select distinct on (h.workflow) h.id
    from engine.run as h
    where h.state in ('pending', 'running') and h.held
        and not exists (
            select from engine.run as o
            where o.workflow = h.workflow and o.state in ('pending', 'running') and not o.held
        )
    order by h.workflow, h.id
),
released as (
    update engine.run as r set held = false from oldest where r.id = oldest.id and r.held and r.state = 'pending'
    returning r.id, r.partition
)
insert into engine.request (partition, run_id, kind)
select partition, id, 'start' from released
returning partition, run_id;
