-- engine.put: the second half of a dispatcher's batch. Writes a decision, set by set, in the transaction that took.
--
-- p holds arrays, each may be missing:
--   items    [{id, state, attempt, failures, losses, handbacks, error}]  what failed, waits or was cancelled
--   elements [{id, state, result_of}]                 scopes that ended; result_of = the TaskRun whose result is theirs
--   nodes    [{id, state, total, mark, failed, skipped, cancelled, succeeded, attempts, error, started, finished}]
--            counters are added to, the rest is set; null leaves what is there
--   fresh    [{run_id, task_run_id, queue, priority, turn, timeout_s, first, count, published,
--            limit_key}]   new items, one bundle; limit_key = the compute pool whose places are counted
--   again    [{run_id, task_run_id, queue, priority, turn, timeout_s, items, attempts, delay_s, published, limit_key}]
--   runs     [{id, state, turn, error, cancel}]
--   facts    [{run_id, body}]
-- Returns {bundles: [[id, queue], …] to publish, announced: [[id, body], …], released: [partition, …]}.
create or replace function engine.put(p jsonb, p_now timestamptz)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
    v_bundles jsonb := '[]';
    v_more jsonb;
    v_announced jsonb := '[]';
    v_released jsonb := '[]';
begin
    if p ? 'items' then
        perform engine.put_items(p -> 'items', p_now);
    end if;
    if p ? 'elements' then
        perform engine.put_elements(p -> 'elements', p_now);
    end if;
    if p ? 'nodes' then
        perform engine.put_nodes(p -> 'nodes', p_now);
    end if;
    if p ? 'fresh' then
        v_bundles := engine.put_fresh(p -> 'fresh', p_now);
    end if;
    if p ? 'again' then
        v_more := engine.put_again(p -> 'again', p_now);
        v_bundles := v_bundles || v_more;
    end if;
    if p ? 'runs' then
        v_released := engine.put_runs(p -> 'runs', p_now);
    end if;
    if p ? 'facts' then
        with announced as (
            insert into engine.outbox (run_id, body)
            select run_id, engine.with_results(body)
            from jsonb_to_recordset(p -> 'facts') as f (run_id uuid, body jsonb)
            returning id, body
        )
        select coalesce(jsonb_agg(jsonb_build_array(id, body::text)), '[]') into v_announced from announced;
    end if;
    return jsonb_build_object('bundles', v_bundles, 'announced', v_announced, 'released', v_released);
end
$$;

-- A plain task's result travels with its fact when it is small (8 KiB); it never enters Python.
create or replace function engine.with_results(p_facts jsonb)
returns jsonb
language plpgsql
stable
as $$
declare
    v_facts jsonb;
begin
    select jsonb_agg(
        case when fact ? 'result_of' then
            (fact - 'result_of') || jsonb_build_object('result', (
                select w.result from engine.work_item w
                where w.id = (fact ->> 'result_of')::bigint << 24 and pg_column_size(w.result) <= 8192))
        else fact end order by position)
    into v_facts
    from jsonb_array_elements(p_facts) with ordinality as f (fact, position);
    return v_facts;
end
$$;

create or replace function engine.put_items(p_items jsonb, p_now timestamptz)
returns void
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
    i record;
begin
    for i in select * from jsonb_to_recordset(p_items) as i (
        id bigint, state text, attempt int, failures smallint, losses smallint, handbacks smallint, error jsonb)
    loop
        update engine.work_item w
        set state = i.state, attempt = i.attempt, failures = i.failures, losses = i.losses, handbacks = i.handbacks,
            error = i.error, finished_at = case when i.state <> 'queued' then p_now end
        where w.id = i.id and w.state = 'queued';
    end loop;
end
$$;

create or replace function engine.put_elements(p_elements jsonb, p_now timestamptz)
returns void
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
    e record;
begin
    for e in select * from jsonb_to_recordset(p_elements) as e (id bigint, state text, result_of bigint)
    loop
        update engine.work_item w
        set state = e.state, finished_at = p_now,
            -- What the inner task yielded stands in rows of its own key; the element has it as a list.
            result = (
                select coalesce(r.result, case when r.row_count is not null then engine.yielded(r.id) end)
                from engine.work_item r where r.id = e.result_of << 24 and e.state = 'succeeded')
        where w.id = e.id and w.state = 'running';
    end loop;
end
$$;

create or replace function engine.put_nodes(p_nodes jsonb, p_now timestamptz)
returns void
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
    n record;
begin
    for n in select * from jsonb_to_recordset(p_nodes) as n (
        id bigint, state text, total int, mark int, succeeded int, failed int, skipped int, cancelled int,
        attempts int, error jsonb, started boolean, finished boolean)
    loop
        update engine.task_run t
        set state = coalesce(n.state, t.state),
            total = coalesce(n.total, t.total),
            mark = coalesce(n.mark, t.mark),
            succeeded = t.succeeded + coalesce(n.succeeded, 0),
            failed = t.failed + coalesce(n.failed, 0),
            skipped = t.skipped + coalesce(n.skipped, 0),
            cancelled = t.cancelled + coalesce(n.cancelled, 0),
            attempts = t.attempts + coalesce(n.attempts, 0),
            error = coalesce(n.error, t.error),
            started_at = case when n.started then coalesce(t.started_at, p_now) else t.started_at end,
            -- The database's clock may have been put back meanwhile.
            finished_at = case when n.finished then greatest(p_now, t.started_at) else t.finished_at end
        where t.id = n.id;
    end loop;
end
$$;

create or replace function engine.put_fresh(p_fresh jsonb, p_now timestamptz)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
    v_published jsonb;
begin
    with fresh as materialized (
        select * from jsonb_to_recordset(p_fresh) as f (
            run_id uuid, task_run_id bigint, queue text, priority int, turn bigint, timeout_s double precision,
            first int, count int, published boolean, limit_key text)
    ),
    item as (
        insert into engine.work_item (id)
        select f.task_run_id << 24 | i
        from fresh f cross join lateral generate_series(f.first, f.first + f.count - 1) as g (i)
    ),
    bundle as (
        insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, timeout_s, items, attempts,
            published_at, limit_key)
        select f.run_id, (('x' || right(f.run_id::text, 1))::bit(4))::int, f.task_run_id, f.queue, f.priority, f.turn,
            f.timeout_s,
            array(select f.task_run_id << 24 | i from generate_series(f.first, f.first + f.count - 1) as g (i)),
            array_fill(1, array[f.count]),
            case when f.published then p_now end,
            f.limit_key
        from fresh f
        returning id, queue, published_at
    )
    select coalesce(jsonb_agg(jsonb_build_array(id, queue) order by id) filter (where published_at is not null), '[]')
    into v_published
    from bundle;
    return v_published;
end
$$;

create or replace function engine.put_again(p_again jsonb, p_now timestamptz)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
    v_published jsonb;
begin
    with bundle as (
        insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, timeout_s, items, attempts,
            due_at, published_at, limit_key)
        select run_id, (('x' || right(run_id::text, 1))::bit(4))::int, task_run_id, queue, priority, turn, timeout_s,
            array(select jsonb_array_elements_text(items)::bigint), array(select jsonb_array_elements_text(attempts)::int),
            case when delay_s > 0 then p_now + delay_s * interval '1 second' end,
            case when published and not coalesce(delay_s > 0, false) then p_now end,
            limit_key
        from jsonb_to_recordset(p_again) as a (
            run_id uuid, task_run_id bigint, queue text, priority int, turn bigint, timeout_s double precision,
            items jsonb, attempts jsonb, delay_s double precision, published boolean, limit_key text)
        returning id, queue, published_at
    )
    select coalesce(jsonb_agg(jsonb_build_array(id, queue) order by id) filter (where published_at is not null), '[]')
    into v_published
    from bundle;
    return v_published;
end
$$;

-- Returns the partitions of the held runs that may start now (overlap: queue): the oldest one of a workflow whose last
-- run that went on has ended. The end of a run that was itself held, by a cancel, lets nobody start beside another.
create or replace function engine.put_runs(p_runs jsonb, p_now timestamptz)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
    c record;
    v_ended text[] := '{}';
    v_workflow text;
    v_released jsonb := '[]';
    v_next record;
begin
    for c in select * from jsonb_to_recordset(p_runs) as c (id uuid, state text, turn bigint, error jsonb, cancel boolean)
    loop
        update engine.run r
        set state = coalesce(c.state, r.state),
            turn = coalesce(c.turn, r.turn),
            error = coalesce(c.error, r.error),
            -- A cancelled run waits for nobody any more.
            held = r.held and not coalesce(c.cancel, false),
            cancel_requested_at =
                case when c.cancel then coalesce(r.cancel_requested_at, p_now) else r.cancel_requested_at end,
            started_at = case when c.state is not null then coalesce(r.started_at, p_now) else r.started_at end,
            -- The clock may have been put back since the start; nothing ends before it began.
            finished_at = case when c.state in ('succeeded', 'failed', 'skipped', 'cancelled')
                then greatest(p_now, r.started_at) end
        where r.id = c.id
        returning case when r.finished_at is not null then r.workflow end into v_workflow;
        v_ended := v_ended || v_workflow;
    end loop;
    for v_workflow in select distinct w from unnest(v_ended) as w where w is not null order by w
    loop
        continue when not exists (
            select from engine.run where workflow = v_workflow and held and state in ('pending', 'running'));
        -- Two runs that end at once would each see the other go on, and nobody would start the held one: the second
        -- waits here for the first one's commit, and looks in a later statement.
        perform from engine.workflow where name = v_workflow for no key update;
        update engine.run r set held = false
        where r.id = (
            select id from engine.run
            where workflow = v_workflow and held and state in ('pending', 'running')
            order by id limit 1 for update skip locked)
        and not exists (
            select from engine.run
            where workflow = v_workflow and not held and state in ('pending', 'running'))
        returning r.id, r.partition into v_next;
        if found then
            insert into engine.request (partition, run_id, kind) values (v_next.partition, v_next.id, 'start');
            v_released := v_released || to_jsonb(v_next.partition);
        end if;
    end loop;
    return v_released;
end
$$;
