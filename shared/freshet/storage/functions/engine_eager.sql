-- Eager dispatch: the worker that ends a plain task decides what follows, and claims it, in the transaction of its report.
-- What the dispatcher does in three transactions with a queue between them, done in one: see docs/adr/010.

-- What the inbox holds for this end: the outcome as a report has it. Null: it is the dispatcher's, as it is not a success.
create or replace function engine.success_of(p_outcomes jsonb)
returns jsonb
language sql
immutable
as $$
    select case when jsonb_array_length(p_outcomes) = 1 and p_outcomes #>> '{0,s}' = 'succeeded' then p_outcomes -> 0 end
$$;

-- End the only item of a bundle (p_outcomes null: its report is committed already), lock its run, count the success, load
-- what a decision needs. Null: the end is reported, and is the dispatcher's: it holds the run, or there is more to it than
-- a success. FR001 when the claim is lost. Whatever else the inbox holds for this run stays there.
--
-- Lock order: the run, without waiting, then the bundle, which who waits for a run never holds.
create or replace function engine.finish_and_take(
    p_bundle bigint, p_token uuid, p_outcomes jsonb, p_partition smallint, p_run uuid)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_hashagg = off -- as in engine.nodes
as $$
declare
    v_now timestamptz := clock_timestamp();
    r engine.run;
    t engine.task_run;
    v_ended record;
    v_success jsonb;
    v_fact jsonb;
    v_outbox bigint;
begin
    -- As every session of a dispatcher has it: who holds a run and stands still gives it up.
    perform set_config('idle_in_transaction_session_timeout', '3s', true);
    select * into r from engine.run where id = p_run for update skip locked;
    v_success := engine.success_of(p_outcomes);
    if r.id is null or (p_outcomes is not null and v_success is null) then
        if p_outcomes is not null then
            perform engine.finish(p_bundle, p_token, p_outcomes);
        end if;
        return null;
    end if;

    if p_outcomes is null then
        -- Committed a moment ago, so it is at the end of the inbox; who wants to fold it needs the run.
        select id, task_run_id, worker, claimed_at, engine.success_of(body) as success
        into v_ended
        from engine.report where partition = p_partition and bundle_id = p_bundle
        order by id desc limit 1;
        v_success := v_ended.success;
        if v_success is null then
            return null;
        end if;
        delete from engine.report where id = v_ended.id;
    else
        delete from engine.bundle
        where id = p_bundle and claim = p_token and done = 0 and items = array[(v_success ->> 'i')::bigint]
        returning id, task_run_id, worker, claimed_at into v_ended;
        if not found then
            raise exception 'bundle % is not held under this claim', p_bundle using errcode = 'FR001';
        end if;
    end if;

    update engine.work_item
    set state = 'succeeded', result = nullif(v_success -> 'r', 'null'), row_count = (v_success ->> 'n')::int,
        finished_at = v_now
    where id = (v_success ->> 'i')::bigint and attempt = (v_success ->> 'a')::int and state = 'queued';
    if not found then
        raise exception 'item % has no attempt %', v_success -> 'i', v_success -> 'a' using errcode = 'FR001';
    end if;
    perform engine.add_successes(
        v_ended.task_run_id, 1, coalesce((v_success ->> 'd')::double precision, 0), (v_success ? 'd')::int);
    select * into t from engine.task_run where id = v_ended.task_run_id;

    v_fact := jsonb_build_array(jsonb_build_object(
        'type', 'freshet.item.succeeded.v1', 'run_id', p_run, 'at', v_now, 'task', t.task,
        'index_path', t.index_path, 'kind', t.kind, 'workflow', r.workflow, 'mapped', false,
        'worker', v_ended.worker, 'claim', p_bundle, 'claimed_at', v_ended.claimed_at,
        'items', jsonb_build_array(jsonb_build_array(
            (v_success ->> 'i')::bigint & 16777215, (v_success ->> 'a')::int,
            (v_success ->> 'd')::double precision, null))));
    insert into engine.outbox (run_id, body) values (p_run, v_fact) returning id into v_outbox;

    return jsonb_build_object(
        'now', v_now, 'waited', null, 'requests', '[]'::jsonb, 'outcomes', '[]'::jsonb, 'full', false,
        'announced', jsonb_build_array(jsonb_build_array(v_outbox, v_fact::text)),
        'runs', jsonb_build_array(to_jsonb(r) - 'partition'),
        'nodes', engine.nodes_after(t));
end
$$;

-- The nodes of the run's own scope that the end of one of its tasks may matter to: what engine.nodes answers for this
-- task alone, in a fifth of its time, since nothing has to be found out about runs, scopes and cancels.
create or replace function engine.nodes_after(t engine.task_run)
returns jsonb
language plpgsql
stable
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set enable_hashagg = off
as $$
declare
    v_nodes jsonb;
begin
    if t.children is null or engine.is_narrow(t.run_id, null) then
        select jsonb_agg(to_jsonb(n) - '{parents,children}'::text[] order by n.id)
        into v_nodes
        from engine.task_run n where n.run_id = t.run_id and n.scope is null;
        return v_nodes;
    end if;
    with child as materialized (
        select c.id, c.parents
        from unnest(t.children) as n (task)
        cross join lateral (
            select * from engine.task_run where run_id = t.run_id and task = n.task and index_path = '' offset 0
        ) c
        where c.state = 'pending'
    ),
    parent as materialized (
        select c.id as child, q.id, q.id <> t.id and q.state in ('pending', 'running') as goes_on
        from child c
        cross join lateral unnest(c.parents) as p (task)
        cross join lateral (
            select id, state from engine.task_run
            where run_id = t.run_id and task = p.task and index_path = '' offset 0
        ) q
    ),
    -- A child that still waits for another parent can't start now.
    waits as (
        select child from parent where goes_on
    ),
    wanted (id) as (
        select t.id
        union
        select id from child where id not in (select child from waits)
        union
        select id from parent where child not in (select child from waits)
    )
    select jsonb_agg(to_jsonb(n) - '{parents,children}'::text[] order by n.id)
    into v_nodes
    from wanted w
    cross join lateral (select * from engine.task_run where id = w.id offset 0) n;
    return v_nodes;
end
$$;

-- Write a decision, and claim the first of its published bundles that the worker serves: {done, claim}. The claim shares
-- the commit, which waits for the disk, unlike that of engine.claim.
create or replace function engine.put_and_claim(p jsonb, p_now timestamptz, p_queues text[], p_worker text, p_token uuid)
returns jsonb
language plpgsql
volatile
as $$
declare
    v_done jsonb := engine.put(p, p_now);
    v_bundle bigint;
begin
    select (b ->> 0)::bigint
    into v_bundle
    from jsonb_array_elements(v_done -> 'bundles') with ordinality as e (b, position)
    where b ->> 1 = any (p_queues)
    order by position limit 1;
    return jsonb_build_object('done', v_done, 'claim', engine.take_claim(v_bundle, p_worker, p_token));
end
$$;
