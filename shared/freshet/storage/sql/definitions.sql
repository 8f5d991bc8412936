-- Workflows: versions, and what starts them by itself.

-- name: WorkflowTouch
-- Takes the row's lock, so that two applies of one workflow come one after the other. Version 0: not written yet.
insert into engine.workflow as w (name, version)
values (%(name)s, 0)
on conflict (name) do update set updated_at = clock_timestamp()
returning w.version, w.deleted_at, w.paused;

-- name: WorkflowVersionInsert
insert into engine.workflow_version (workflow, version, document, digest)
values (%(name)s, %(version)s, %(document)s, %(digest)s);

-- name: WorkflowVersionDigest
select digest from engine.workflow_version where workflow = %(name)s and version = %(version)s;

-- name: WorkflowVersionSet
update engine.workflow set version = %(version)s, deleted_at = null where name = %(name)s;

-- name: ScheduleGet
select every, cron, timezone, catch_up, overlap, anchor, next_fire_at, paused, clock_timestamp() as now
from engine.schedule
where workflow = %(name)s
for update;

-- name: ScheduleInsert
insert into engine.schedule (workflow, every, cron, timezone, catch_up, overlap, anchor, next_fire_at, paused)
values (
    %(name)s, %(every)s, %(cron)s, %(timezone)s, %(catch_up)s, %(overlap)s, %(anchor)s, %(next_fire_at)s, %(paused)s
)
on conflict (workflow) do update set
    every = excluded.every, cron = excluded.cron, timezone = excluded.timezone, catch_up = excluded.catch_up,
    overlap = excluded.overlap, next_fire_at = excluded.next_fire_at;

-- name: ScheduleDelete
delete from engine.schedule where workflow = %(name)s;

-- name: TriggersDelete
delete from engine.event_trigger where workflow = %(name)s;

-- name: TriggerInsert
insert into engine.event_trigger (workflow, position, event_type, condition, params)
values (%(name)s, %(position)s, %(event_type)s, %(condition)s, %(params)s);

-- name: WorkflowGet
select
    w.name, v.version, v.document, v.digest, w.paused, w.created_at, w.updated_at, v.created_at as version_created_at,
    s.next_fire_at, s.anchor, w.version as newest
from engine.workflow as w
join engine.workflow_version as v on v.workflow = w.name and v.version = coalesce(%(version)s::int, w.version)
left join engine.schedule as s on s.workflow = w.name
where w.name = %(name)s and (w.deleted_at is null or %(version)s::int is not null);

-- name: WorkflowsPage
select
    w.name, w.version, w.paused, w.created_at, w.updated_at, s.next_fire_at, s.every, s.cron, s.timezone,
    last.id as last_run_id, last.state as last_run_state
from engine.workflow as w
left join engine.schedule as s on s.workflow = w.name
left join lateral (
    select r.id, r.state from engine.run as r where r.workflow = w.name order by r.id desc limit 1
) as last on true
where w.deleted_at is null and w.name > %(after)s
order by w.name
limit %(limit)s;

-- name: WorkflowDelete
update engine.workflow set deleted_at = clock_timestamp(), updated_at = clock_timestamp(), paused = false
where name = %(name)s and deleted_at is null;

-- name: WorkflowRunsCancel
-- As CancelRequestInsert, for all that a workflow has going.
insert into engine.request (partition, run_id, kind)
select r.partition, r.id, 'cancel'
from engine.run as r
where r.workflow = %(name)s and r.state in ('pending', 'running') and r.cancel_requested_at is null
    and not exists (
        select from engine.request as q where q.partition = r.partition and q.run_id = r.id and q.kind = 'cancel'
    )
returning partition;

-- name: WorkflowPause
update engine.workflow set paused = %(paused)s, updated_at = clock_timestamp()
where name = %(name)s and deleted_at is null;

-- name: SchedulePause
update engine.schedule set paused = %(paused)s, next_fire_at = coalesce(%(next_fire_at)s, next_fire_at)
where workflow = %(name)s;

-- name: ProcessVersions
select name, version from engine.process where name = any(%(names)s);

-- name: Now
select clock_timestamp() as now;
