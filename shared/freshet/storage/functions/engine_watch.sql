-- A claim becomes a watch: the job runs, nobody holds the row, and the job's name is what fences it from now on.
--
-- {"outbox", "fact"} of the `waiting` fact. FR001 when the claim is lost or the job's name was never stored.
create or replace function engine.watch(bundle_id bigint, token uuid) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    held engine.bundle;
    fact jsonb;
    outbox_id bigint;
begin
    select * into held from engine.bundle
    where id = bundle_id and claim = token and job_name is not null
    for update;
    if not found then
        raise exception 'bundle % is not held under this claim', bundle_id using errcode = 'FR001';
    end if;
    update engine.bundle
    set submitted_at = now(), claim = null, worker = null, claimed_at = null, expires_at = null
    where id = bundle_id;
    select jsonb_build_array(jsonb_build_object(
        'type', 'freshet.item.waiting.v1', 'run_id', held.run_id, 'at', now(), 'task', t.task,
        'index_path', t.index_path, 'kind', t.kind, 'workflow', r.workflow, 'mapped', t.source_kind is not null,
        'worker', held.worker, 'claim', token, 'claimed_at', held.claimed_at,
        'items', jsonb_build_array(jsonb_build_array(
            held.items[1] & ((1 << 24) - 1), held.attempts[1], null, null))))
    into fact
    from engine.task_run t cross join engine.run r
    where t.id = held.task_run_id and r.id = held.run_id;
    insert into engine.outbox (run_id, body) values (held.run_id, fact) returning id into outbox_id;
    return jsonb_build_object('outbox', outbox_id, 'fact', fact);
end
$$;
