-- How long job services ran, and in which kind of pool.

-- name: PoolStore
insert into engine.compute_pool (name, family) values (%(pool)s, %(family)s)
on conflict (name) do update set family = excluded.family, seen_at = clock_timestamp();

-- name: PoolFamilies
select name, family from engine.compute_pool where name = any(%(pools)s::text[]);

-- name: JobSeconds
-- Of ended attempts; those whose container never ran waited, and waiting costs nothing.
select task, coalesce(sum(duration_s), 0)::double precision as seconds
from log.attempt
where run_id = %(run)s and kind = 'job_service' and (error_class is null or error_class <> all(%(unstarted)s::text[]))
group by task;

-- name: JobItemSeconds
select item, coalesce(sum(duration_s), 0)::double precision as seconds
from log.attempt
where run_id = %(run)s and task = %(task)s and item = any(%(items)s::text[]) and kind = 'job_service'
    and (error_class is null or error_class <> all(%(unstarted)s::text[]))
group by item;
