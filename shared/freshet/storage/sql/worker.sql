-- The worker's statements. Claim and the ends of a bundle are functions (functions/engine_*.sql), because the session
-- of user code may call one of them.

-- name: BundleClaim
select engine.claim(%(bundle)s, %(worker)s, %(claim)s) as claim

-- name: BundleFinish
select engine.finish(%(bundle)s, %(claim)s, %(outcomes)s) as ended

-- name: BundleProgress
select done from engine.bundle where id = %(bundle)s and claim = %(claim)s

-- name: BundleWatch
select engine.watch(%(bundle)s, %(claim)s) as watch

-- name: JobFinish
select engine.finish_job(%(bundle)s, %(job)s, %(outcomes)s) as ended

-- name: JobNameStore
update engine.bundle set job_name = %(job)s where id = %(bundle)s and claim = %(claim)s

-- name: JobPayloadStore
-- Whoever claims the attempt again says the same payload, and containers that run already keep their key.
insert into engine.job_payload (job_name, item, attempt, body)
select job_name, items[1], attempts[1], %(body)s from engine.bundle
where id = %(bundle)s and claim = %(claim)s and job_name = %(job)s
on conflict (job_name) do update set body = excluded.body
returning key

-- name: WatchList
select b.id, b.run_id, b.partition, b.task_run_id, b.items, b.attempts, b.timeout_s, b.job_name, b.submitted_at,
    extract(epoch from clock_timestamp() - b.submitted_at)::double precision as waiting_s,
    b.waits_for, t.task, t.index_path, t.source_kind is not null as mapped, r.workflow, r.version
from engine.bundle b
cross join lateral (select * from engine.task_run where id = b.task_run_id offset 0) t
cross join lateral (select workflow, version from engine.run where id = b.run_id offset 0) r
where b.submitted_at is not null and t.kind = %(kind)s
order by b.submitted_at

-- name: WatchNote
update engine.bundle b set waits_for = n.sentence
from unnest(%(bundles)s::bigint[], %(sentences)s::text[]) n(bundle, sentence)
where b.id = n.bundle and b.submitted_at is not null and b.waits_for is distinct from n.sentence

-- name: JobLogKept
-- Of a watched job, or (no bundle) of one whose attempt is over. Nothing of the text but its end is fetched: how long a
-- part is stands in its header.
select coalesce(b.log_parts, k.parts) as parts, coalesce(k.size, 0)::int as size, coalesce(k.tail, '') as tail
from (values (%(bundle)s::bigint)) watched (id)
left join lateral (
    select id, log_parts from engine.bundle
    where id = watched.id and job_name = %(job)s and submitted_at is not null
    offset 0
) b on true
cross join lateral (
    select count(*)::int as parts, sum(p.size) as size,
        string_agg(p.text, '' order by p.part) filter (where p.behind < %(window)s and p.text <> %(gap)s) as tail
    from (
        select part, text, octet_length(text) as size, coalesce(sum(octet_length(text)) over later, 0) as behind
        from log.attempt_log
        where run_id = %(run_id)s and task = %(task)s and item = %(item)s and attempt = %(attempt)s
            and claim = %(claim)s
        window later as (order by part desc rows between unbounded preceding and 1 preceding)
    ) p
) k
where b.id is not null or watched.id is null

-- name: WatchLogAdd
-- The number of parts is the fence: of two watchers that read the same lines one writes them.
with watch as (
    update engine.bundle set log_parts = log_parts + cardinality(%(numbers)s::int[])
    where id = %(bundle)s and job_name = %(job)s and submitted_at is not null and log_parts = %(first)s
    returning run_id
),
added as (
    insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)
    select watch.run_id, %(task)s, %(item)s, %(attempt)s, %(claim)s, p.number, p.text
    from watch cross join unnest(%(numbers)s::int[], %(texts)s::text[]) p(number, text)
    returning part
)
select count(*)::int as added from added

-- name: JobStopped
-- The workflow of an attempt that a cancel or its timeout has ended. What the item says of its failure is about its last
-- attempt that ended, which is the one before when it is tried again.
select r.workflow, r.version
from engine.task_run t
cross join lateral (select workflow, version from engine.run where id = t.run_id offset 0) r
cross join lateral (
    select from engine.work_item
    where id = (t.id << 24 | case when t.source_kind is null then 0 else substring(%(item)s from '[0-9]+$')::bigint end)
        and (
            attempt = %(attempt)s and (state = 'cancelled' or state <> 'queued' and error ->> 'class' = 'timeout')
            or attempt = %(attempt)s + 1 and error ->> 'class' = 'timeout'
        )
    offset 0
) w
where t.run_id = %(run_id)s and t.task = %(task)s
    and t.index_path = any (array[%(item)s, regexp_replace(%(item)s, '[.]?[0-9]+$', '')])
    and t.index_path = case when t.source_kind is null then %(item)s else regexp_replace(%(item)s, '[.]?[0-9]+$', '') end

-- name: EndedLogAdd
select log.add_to_ended(%(run_id)s, %(task)s, %(item)s, %(attempt)s, %(claim)s, %(numbers)s::int[], %(texts)s::text[])
    as added

-- name: JobOwnerList
-- Attempts of a kind of task that are not over: in a bundle, or in a report that is not folded yet (its fold makes the
-- next bundle in the same transaction, so one of the two is seen). The job's name follows from what is returned.
select t.run_id, t.task, t.index_path, t.source_kind is not null as mapped, a.item, a.attempt
from unnest(%(runs)s::uuid[]) r(id)
cross join lateral (
    select b.task_run_id, e.item, e.attempt
    from engine.bundle b cross join lateral unnest(b.items, b.attempts) e(item, attempt)
    where b.run_id = r.id
    union all
    select p.task_run_id, (o.outcome ->> 'i')::bigint, (o.outcome ->> 'a')::int
    from engine.report p cross join lateral jsonb_array_elements(p.body) o(outcome)
    where p.run_id = r.id and p.partition = ('x' || right(r.id::text, 1))::bit(4)::int
) a(task_run_id, item, attempt)
cross join lateral (select * from engine.task_run where id = a.task_run_id offset 0) t
where t.kind = %(kind)s

-- name: InstallationRead
select id from engine.installation

-- name: WorkerRegister
-- A worker that slept through its own funeral registers again under its name and keeps its start. It says its totals
-- anew: those in the row are of its last report, and the fact would tell them as of now.
with registered as (
    insert into engine.worker (id, state, lock_key, hostname, pid, queues, busy_s, idle_s, wall_s)
    values (
        %(id)s, 'available', %(lock_key)s, %(hostname)s, %(pid)s, %(queues)s, %(busy_s)s, %(idle_s)s, %(wall_s)s
    )
    on conflict (id) do update set state = 'available', lock_key = excluded.lock_key, seen_at = clock_timestamp(),
        busy_s = excluded.busy_s, idle_s = excluded.idle_s, wall_s = excluded.wall_s
    returning *
), stored as (
    insert into engine.outbox (body)
    select jsonb_build_array(jsonb_build_object(
        'type', 'freshet.worker.available.v1', 'at', now(), 'worker', w.id, 'hostname', w.hostname, 'pid', w.pid,
        'queues', to_jsonb(w.queues), 'busy_s', w.busy_s, 'idle_s', w.idle_s, 'wall_s', w.wall_s))
    from registered w
    returning id, body
)
select stored.id as outbox, stored.body as fact, to_jsonb(registered.started_at) #>> '{}' as started_at
from stored cross join registered

-- name: WorkerReport
-- Totals since the worker's start, never differences: a report that is lost or comes twice changes nothing.
with reported as (
    update engine.worker
    set state = %(state)s, seen_at = clock_timestamp(), busy_s = %(busy_s)s, idle_s = %(idle_s)s, wall_s = %(wall_s)s
    where id = %(id)s
    returning *
)
insert into engine.outbox (body)
select jsonb_build_array(jsonb_build_object(
    'type', 'freshet.worker.' || %(event)s || '.v1', 'at', now(), 'worker', w.id, 'hostname', w.hostname,
    'pid', w.pid, 'queues', to_jsonb(w.queues), 'busy_s', w.busy_s, 'idle_s', w.idle_s, 'wall_s', w.wall_s))
from reported w
returning id as outbox, body as fact

-- name: ProcessDeclare
insert into engine.process (name, version)
select name, version from unnest(%(names)s::text[], %(versions)s::text[]) p(name, version) order by name, version
on conflict (name, version) do update set last_seen = now()

-- name: WitnessLock
select pg_try_advisory_lock(%(lock_key)s) as held

-- name: WitnessCheck
-- Whether the session that this runs in holds the lock (the key's halves stand in two columns).
select exists (
    select from pg_locks
    where locktype = 'advisory' and pid = pg_backend_pid() and granted and objsubid = 1
        and (classid::bigint << 32 | objid::bigint) = %(lock_key)s
) as held

-- name: DefinitionRead
select document from engine.workflow_version where workflow = %(workflow)s and version = %(version)s

-- name: ItemPage
-- Results of a fanned-out task by index. Items beyond the window of a cancelled map have no rows.
select
    (w.id & 16777215)::int as idx,
    coalesce(w.result, case when w.row_count is not null then engine.yielded(w.id) end) as value
from engine.work_item w
where w.id >= (%(source)s::bigint << 24 | %(first)s) and w.id < (%(source)s::bigint << 24) + %(first)s + %(count)s
order by w.id

-- name: ValuePage
-- Rows that a process has yielded, by index.
select idx, value from engine.value
where source = %(source)s and idx >= %(first)s and idx < %(first)s::int + %(count)s::int
order by idx

-- name: ParentRead
select engine.parents(%(run)s, %(scope)s, %(paths)s) as parents

-- name: AttemptLogAdd
insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)
select %(run_id)s, %(task)s, p.item, p.attempt, %(claim)s, p.number, p.text
from unnest(%(items)s::text[], %(attempts)s::int[], %(numbers)s::int[], %(texts)s::text[]) p(item, attempt, number, text)

-- name: ValuesPut
-- In the session of context.connection, within the item's transaction.
select engine.put_values(%(bundle)s, %(claim)s, %(item)s, %(first)s, %(values)s::jsonb)
