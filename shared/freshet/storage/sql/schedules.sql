-- Due schedules, for the scheduler's pass.

-- name: ScheduleOutlook
select
    coalesce(%(now)s::timestamptz, clock_timestamp()) as now,
    (select min(next_fire_at) from engine.schedule where not paused) as next_fire_at;

-- name: SchedulesDue
-- With what a run of the newest version needs. Locked rows are left to who has them: they are being ticked.
select
    s.workflow, s.every, s.cron, s.timezone, s.catch_up, s.overlap, s.anchor, s.next_fire_at,
    w.version,
    coalesce((v.document ->> 'priority')::int, 100) as priority,
    v.document ->> 'root_task_name' as root_task_name,
    coalesce(
        (select jsonb_object_agg(p.key, p.value -> 'default') from jsonb_each((v.document -> 'params')::jsonb) as p), '{}'
    ) as params
from engine.schedule as s
join engine.workflow as w on w.name = s.workflow
join engine.workflow_version as v on v.workflow = w.name and v.version = w.version
where not s.paused and s.next_fire_at <= %(now)s
order by s.next_fire_at, s.workflow
limit %(limit)s
for update of s skip locked;

-- name: ScheduleAdvance
update engine.schedule set next_fire_at = %(next_fire_at)s where workflow = %(workflow)s;

-- name: SchedulePark
-- A schedule whose tick can't be made is set aside until the workflow is applied again.
with parked as (
    insert into engine.parked (what, body, error)
    values ('schedule', jsonb_build_object('workflow', %(workflow)s::text), %(error)s)
)
update engine.schedule set next_fire_at = null where workflow = %(workflow)s;

-- name: LeadershipTry
select pg_try_advisory_lock(%(key)s) as held;
