-- The watcher ends a job: by bundle and job name, for a watch has no claimant.
--
-- False when somebody else has ended it: another watcher, a timeout, a cancel.
create or replace function engine.finish_job(bundle_id bigint, job text, outcomes jsonb) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
begin
    with ended as (
        delete from engine.bundle where id = bundle_id and job_name = job and submitted_at is not null returning *
    )
    insert into engine.report (partition, run_id, task_run_id, bundle_id, claimed_at, body)
    select partition, run_id, task_run_id, id, submitted_at, outcomes from ended;
    return found;
end
$$;
