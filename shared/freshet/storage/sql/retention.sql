-- Making the log's partitions ahead, and letting old days and old runs go.

-- name: PartitionsMissing
-- Days of each table of the log, from today to `ahead` days on, that have no partition yet.
select parent.relname as parent, (now() at time zone 'UTC')::date + ahead.days as day
from pg_class parent
cross join generate_series(0, %(ahead)s::int) as ahead (days)
where parent.relnamespace = 'log'::regnamespace and parent.relkind = 'p'
    and to_regclass('log.' || parent.relname
        || to_char((now() at time zone 'UTC')::date + ahead.days, '"_"YYYYMMDD')) is null
order by 2, 1;

-- name: PartitionMake
select log.make_partition(%(parent)s, %(day)s) as made;

-- name: PartitionsOld
-- Partitions whose whole day lies `days` days back.
select child.relname as partition
from pg_inherits
join pg_class child on child.oid = pg_inherits.inhrelid
join pg_class parent on parent.oid = pg_inherits.inhparent
where parent.relnamespace = 'log'::regnamespace and parent.relkind = 'p'
    and child.relname ~ '_[0-9]{8}$'
    and to_date(right(child.relname, 8), 'YYYYMMDD') < (now() at time zone 'UTC')::date - %(days)s::int
order by 1;

-- name: PartitionDrop
select log.drop_partition(%(partition)s);

-- name: DefaultPartitionsPrune
-- What stands in the DEFAULT partitions and is as old; in chunks, because these are deletes.
select log.prune_defaults(%(days)s, %(limit)s) as pruned;

-- name: RunsOld
-- Finished runs whose whole group, reruns included, ended before: a rerun's copied tasks keep their results in the
-- items of the run that made them. Ids are ordered by time, so the oldest come first.
select run.id
from engine.run
where run.finished_at < now() - make_interval(days => %(days)s)
    and not exists (
        select from engine.run kin
        where kin.group_id = run.group_id
            and (kin.finished_at is null or kin.finished_at >= now() - make_interval(days => %(days)s))
    )
order by run.id
limit %(limit)s;

-- name: RunPrune
select log.prune_run(%(run)s, %(limit)s) as pruned;

-- name: JobPayloadsPrune
-- Payloads whose attempt is over, which is for ever.
with gone as (
    delete from engine.job_payload p
    where p.job_name = any (array(
        select q.job_name from engine.job_payload q
        where not exists (
            select from engine.work_item w
            where w.id = q.item and w.attempt = q.attempt and w.state in ('queued', 'running')
        )
        limit %(limit)s
    ))
    returning p.job_name
)
select count(*) as pruned from gone

-- name: RetentionTry
select pg_try_advisory_lock(%(key)s) as held;
