-- The dispatcher's statements around its functions.

-- name: TakeInbox
select engine.take_inbox(%(partitions)s::smallint[], %(limit)s, %(runs)s::uuid[], false) as taken

-- name: PutDecision
select engine.put(%(decision)s, %(now)s) as done

-- name: FinishAndTake
select engine.finish_and_take(
    %(bundle)s, %(claim)s, %(outcomes)s, %(partition)s::smallint, %(run)s
) as taken

-- name: PutAndClaim
select engine.put_and_claim(%(decision)s, %(now)s, %(queues)s::text[], %(worker)s, %(claim)s) as put

-- name: OpenScope
select engine.open_scope(%(rows)s) as nodes

-- name: CopyTasks
select engine.copy_tasks(%(run)s, %(old)s, %(again)s) as nodes

-- name: OpenElements
select engine.open_elements(%(task_run)s, %(first)s, %(count)s, %(tasks)s) as nodes

-- name: TasksAndParents
select engine.tasks_and_parents(%(run)s, %(index_path)s, %(tasks)s::text[]) as nodes

-- name: ScopeAtRest
select engine.scope_at_rest(%(run)s, %(scope)s, %(known)s::bigint[], %(spared)s::text[]) as nodes

-- name: ExpandResult
select engine.expand_result(%(task_run)s, %(run)s, %(task)s, %(index_path)s, %(fields)s::text[]) as expanded

-- name: ExpandValue
select engine.expand_value(%(task_run)s, %(value)s) as expanded

-- name: ResultOf
select engine.result_of(%(run)s, %(task)s, %(index_path)s) as value

-- name: ElementValue
select engine.item_value(%(item)s) as value

-- name: CancelBundles
select worker, bundle_id from engine.cancel_bundles(%(run)s, %(spared)s)

-- name: RunsInInbox
-- Who waits in the inbox: for halving a batch that failed.
select run_id, min(id) as id
from (
    select run_id, id from engine.report where partition = any (%(partitions)s::smallint[])
    union all
    select run_id, id from engine.request where partition = any (%(partitions)s::smallint[])
) inbox
group by run_id order by 2 limit %(limit)s

-- name: ParkRun
-- A run that can't be decided ends failed, class internal; its bundles, requests and reports are deleted.
with bundles as (
    delete from engine.bundle where run_id = %(run)s
),
requests as (
    delete from engine.request where run_id = %(run)s
),
reports as (
    delete from engine.report where run_id = %(run)s returning body
),
parked as (
    insert into engine.parked (what, run_id, body, error)
    select 'run', %(run)s, jsonb_agg(body), %(error)s from reports
),
items as (
    update engine.task_run set state = 'cancelled', total = coalesce(total, 0), mark = coalesce(total, 0),
        cancelled = coalesce(total, 0) - succeeded - failed - skipped, finished_at = clock_timestamp()
    where run_id = %(run)s and state in ('pending', 'running')
)
update engine.run
set state = 'failed', started_at = coalesce(started_at, clock_timestamp()),
    finished_at = greatest(clock_timestamp(), started_at),
    error = jsonb_build_object('class', 'internal', 'message', %(error)s::text)
where id = %(run)s and state in ('pending', 'running')
returning id, workflow, version, trigger, scheduled_for, group_id, rerun_of, created_at, started_at, finished_at, error

-- name: AnnounceFact
insert into engine.outbox (run_id, body) values (%(run)s, %(body)s) returning id

-- name: Overview
-- Whether anything waits, and until when: the only statement of an idle dispatcher. Named columns: a plan that a session
-- keeps outlives a migration that adds one.
select now, next_due, next_expiry, claimed, oldest_report, oldest, backlog, published
from engine.overview(%(partitions)s::smallint[])

-- name: ReleaseDue
update engine.bundle b set due_at = null
where b.id = any (array(
    select id from engine.bundle where due_at <= clock_timestamp() order by due_at limit %(limit)s
    for update skip locked))
returning b.queue

-- name: PublishBacklog
-- By priority, then round-robin over runs (turn), then age.
update engine.bundle b set published_at = clock_timestamp()
where b.id = any (array(
    select id from engine.bundle
    where queue = %(queue)s and published_at is null and due_at is null and claim is null and submitted_at is null
    order by priority, turn, id limit %(room)s
    for update skip locked))
returning b.id, b.queue, b.turn, b.priority

-- name: PublishLimited
select id, turn, priority from engine.publish_limited(%(queue)s, %(room)s, %(keys)s::text[], %(limits)s::int[])

-- name: PlaceWanted
-- Whether bundles of a queue wait for a place in one of these pools.
select exists (
    select from engine.bundle
    where limit_key = any (%(keys)s::text[]) and queue = %(queue)s and published_at is null and due_at is null
        and claim is null and submitted_at is null
) as wanted

-- name: UnpublishAll
-- After a flush: whatever nobody holds has no message any more.
update engine.bundle set published_at = null
where published_at is not null and claim is null and submitted_at is null

-- name: PublishedBundles
select id from engine.bundle
where queue = %(queue)s and published_at < clock_timestamp() - %(age)s * interval '1 second'
    and claim is null and submitted_at is null
order by id limit %(limit)s

-- name: UnpublishBundles
update engine.bundle set published_at = null
where id = any (%(ids)s::bigint[]) and published_at is not null and claim is null and submitted_at is null

-- name: ExpireBundles
select partition, worker, bundle_id from engine.expire_bundles(%(limit)s)

-- name: ReleaseWorkers
select partition from engine.release_workers(%(workers)s::text[])

-- name: ClaimedWorkers
select distinct worker as id, max(claimed_at) as claimed_at from engine.bundle where worker is not null group by worker

-- name: WitnessedWorkers
-- Of the workers named, those whose session still holds their advisory lock.
select w.id
from engine.worker w
join pg_locks l on l.locktype = 'advisory' and l.granted and l.objsubid = 1
    and l.database = (select oid from pg_database where datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) = w.lock_key
where w.id = any (%(workers)s::text[])

-- name: TakePartitions
-- Session locks of the partitions asked for; those that were free are ours now.
select p::smallint as partition from unnest(%(partitions)s::int[]) as p where pg_try_advisory_lock(%(class)s, p)
limit %(wanted)s

-- name: ReleasePartitions
select pg_advisory_unlock(%(class)s, p) from unnest(%(partitions)s::int[]) as p
