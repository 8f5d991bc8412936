-- What an item has yielded, as a list: an item of a map that yields counts as having come to that.
create or replace function engine.yielded(item bigint) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
    select coalesce(jsonb_agg(v.value order by v.idx), '[]') from engine.value v where v.source = item
$$;

-- A worker takes a bundle: compare-and-set, the `running` fact, and all that the work needs, in one round trip.
--
-- Null when the bundle is gone, claimed, watched or not due yet. Every look-up goes by a whole primary key through
-- LATERAL … OFFSET 0: a join against a table that was never analysed reads the whole map instead of the bundle. The
-- settings below hold inside the function only; a plan made while a table was tiny would else be a sequential scan,
-- cached by the session while the table grows.
create or replace function engine.take_claim(bundle_id bigint, worker_id text, token uuid) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    index_mask constant bigint := (1 << 24) - 1;
    b engine.bundle;
    t engine.task_run;
    r engine.run;
    element_values jsonb;
    parents jsonb;
    fact jsonb;
    outbox_id bigint;
begin
    update engine.bundle
    set claim = token, worker = worker_id, claimed_at = now(),
        expires_at = now() + make_interval(secs => timeout_s * (cardinality(items) - done) + 5)
    where id = bundle_id and claim is null and submitted_at is null and due_at is null
    returning * into b;
    if not found then
        -- Asked again under the same token: the answer was lost after the commit, the claim was not.
        select * into b from engine.bundle where id = bundle_id and claim = token and worker = worker_id;
    end if;
    if not found then
        return null;
    end if;
    select * into t from engine.task_run where id = b.task_run_id;
    select * into r from engine.run where id = b.run_id;

    if t.source_kind = 'index' then
        select jsonb_agg(e.item & index_mask order by e.ord) into element_values
        from unnest(b.items) with ordinality e(item, ord);
    elsif t.source_kind = 'value' then
        select jsonb_agg(v.value order by e.ord) into element_values
        from unnest(b.items) with ordinality e(item, ord)
        left join lateral (
            select value from engine.value where source = t.source and idx = (e.item & index_mask) offset 0
        ) v on true;
    elsif t.source_kind = 'item' then
        select jsonb_agg(coalesce(w.result, case when w.row_count is not null then engine.yielded(w.id) end) order by e.ord)
        into element_values
        from unnest(b.items) with ordinality e(item, ord)
        left join lateral (
            select id, result, row_count from engine.work_item
            where id = (t.source << 24 | (e.item & index_mask)) offset 0
        ) w on true;
    else
        parents := engine.parents(b.run_id, t.index_path, t.parents);
    end if;

    select jsonb_build_array(jsonb_build_object(
        'type', 'freshet.item.running.v1', 'run_id', b.run_id, 'at', now(), 'task', t.task, 'index_path', t.index_path,
        'kind', t.kind, 'workflow', r.workflow, 'mapped', t.source_kind is not null, 'worker', worker_id,
        'queue', b.queue, 'queued_at', b.created_at,
        'claim', token, 'claimed_at', b.claimed_at,
        'items', jsonb_agg(jsonb_build_array(e.item & index_mask, e.attempt, null, null) order by e.ord)))
    into fact
    from unnest(b.items, b.attempts) with ordinality e(item, attempt, ord) where e.ord > b.done;
    insert into engine.outbox (run_id, body) values (b.run_id, fact) returning id into outbox_id;

    return jsonb_build_object(
        'bundle', jsonb_build_object(
            'id', b.id, 'run_id', b.run_id, 'task_run_id', b.task_run_id, 'partition', b.partition,
            'items', to_jsonb(b.items), 'attempts', to_jsonb(b.attempts), 'done', b.done,
            'timeout_s', b.timeout_s, 'job_name', b.job_name),
        'run', jsonb_build_object(
            'workflow', r.workflow, 'version', r.version, 'params', r.params, 'scheduled_for', r.scheduled_for,
            'traceparent', r.traceparent, 'group_id', r.group_id, 'trigger', r.trigger,
            'created_at', r.created_at),
        'task', jsonb_build_object('path', t.task, 'index_path', t.index_path, 'scope', t.scope, 'kind', t.kind),
        'mapped', t.source_kind is not null,
        'values', element_values,
        'element', case when t.scope is not null then engine.element(t.scope) end,
        'parents', parents,
        'outbox', outbox_id,
        'fact', fact);
end
$$;

-- The same as a transaction of its own. A crash of the server may forget a claim: its worker then finds it lost, and what
-- it did through the engine's Postgres is taken back. That is what a claim is for, so nobody has to wait for the disk
-- here. A job service's is on disk with the job's name, before anything is submitted.
create or replace function engine.claim(bundle_id bigint, worker_id text, token uuid) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('synchronous_commit', 'off', true);
    return engine.take_claim(bundle_id, worker_id, token);
end
$$;

-- What the named tasks of one scope have come to: {last segment of the path: {"state", "kind", and either "value" or
-- "results": {"kind": "items", "task_run", "total"} or {"kind": "rows", "source", "total"}}}.
create or replace function engine.parents(in_run uuid, in_scope text, paths text[]) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    found_parents jsonb;
begin
    select coalesce(jsonb_object_agg(split_part(p.path, '.', -1), jsonb_build_object('state', t.state, 'kind', t.kind)
        || case
            when t.source_kind is not null and t.total is not null then jsonb_build_object('results', jsonb_build_object(
                'kind', 'items', 'task_run', coalesce(t.copied_from, t.id), 'total', t.total))
            when w.row_count is not null then jsonb_build_object('results', jsonb_build_object(
                'kind', 'rows', 'source', w.id, 'total', w.row_count))
            else jsonb_build_object('value', w.result)
        end), '{}')
    into found_parents
    from unnest(paths) p(path)
    cross join lateral (
        select * from engine.task_run where run_id = in_run and task = p.path and index_path = in_scope offset 0
    ) t
    left join lateral (
        select id, result, row_count from engine.work_item
        where id = coalesce(t.copied_from, t.id) << 24 and t.source_kind is null offset 0
    ) w on true;
    return found_parents;
end
$$;

-- The value of one element of a map: what the tasks inside its scope were opened for.
create or replace function engine.element(item bigint) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
    select case t.source_kind
        when 'index' then to_jsonb(item & ((1 << 24) - 1))
        when 'value' then (
            select v.value from engine.value v where v.source = t.source and v.idx = (item & ((1 << 24) - 1)))
        when 'item' then (
            select coalesce(w.result, case when w.row_count is not null then engine.yielded(w.id) end)
            from engine.work_item w where w.id = (t.source << 24 | (item & ((1 << 24) - 1))))
    end
    from engine.task_run t where t.id = item >> 24
$$;
