-- Events from other systems, each stored once by source and id.

-- name: EventsInsert
with wanted as (
    select *
    from jsonb_to_recordset(%(events)s) as e (source text, id text, type text, subject text, body jsonb)
),
stored as (
    insert into engine.event (source, id, type, subject, body)
    select source, id, type, subject, body from wanted order by source, id
    on conflict (source, id) do nothing
    returning source, id
)
select source, id from stored;

-- name: TriggersOf
select
    t.workflow, t.position, t.event_type, t.condition, t.params, w.version, v.document
from engine.event_trigger as t
join engine.workflow as w on w.name = t.workflow and w.deleted_at is null and not w.paused
join engine.workflow_version as v on v.workflow = w.name and v.version = w.version
where t.event_type = any(%(types)s)
order by t.workflow, t.position;
