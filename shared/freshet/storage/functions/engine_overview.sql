-- engine.overview: whether anything waits, and until when. It probes indexes only: on tables without statistics the
-- planner would rather read all of `bundle` to learn that some row is claimed.
create or replace function engine.overview(p_partitions smallint[])
returns table (
    now timestamptz, next_due timestamptz, next_expiry timestamptz, claimed boolean, oldest_report timestamptz,
    oldest timestamptz, backlog text[], published text[]
)
language sql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select
        clock_timestamp() as now,
        (select min(due_at) from engine.bundle where due_at is not null) as next_due,
        (select min(expires_at) from engine.bundle where expires_at is not null) as next_expiry,
        exists (select from engine.bundle where worker is not null) as claimed,
        (select created_at from engine.report where partition = any (p_partitions) order by id limit 1) as oldest_report,
        least(
        (select created_at from engine.report order by id limit 1),
        (select created_at from engine.request order by id limit 1)
    ) as oldest,
        array(
            -- A loose scan: one probe per queue, whatever the backlog holds.
            with recursive backlog (queue) as (
                (select queue from engine.bundle
                 where published_at is null and due_at is null and claim is null and submitted_at is null
                 order by queue limit 1)
                union all
                select (select b.queue from engine.bundle b
                        where b.published_at is null and b.due_at is null and b.claim is null and b.submitted_at is null
                            and b.queue > backlog.queue
                        order by b.queue limit 1)
                from backlog where backlog.queue is not null
            )
            select queue from backlog where queue is not null
        ) as backlog,
        array(
            with recursive waiting (queue) as (
                (select queue from engine.bundle
                 where published_at is not null and claim is null and submitted_at is null
                 order by queue limit 1)
                union all
                select (select b.queue from engine.bundle b
                        where b.published_at is not null and b.claim is null and b.submitted_at is null
                            and b.queue > waiting.queue
                        order by b.queue limit 1)
                from waiting where waiting.queue is not null
            )
            select queue from waiting where queue is not null
        ) as published
$$;
