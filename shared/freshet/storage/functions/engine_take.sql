-- engine.take: the first half of a dispatcher's batch. Locks runs, folds their reports, loads what a decision needs.
--
-- Reads   request, report, run, task_run, work_item
-- Writes  deletes requests and reports; moves the items that succeeded and adds them to the counters; outbox
-- Locks   run rows in id order, skipping those that another dispatcher holds; then, in later statements (a statement
--         that locks and reads at once would read the snapshot from before the lock wait), everything else
-- Plans   arrays have unknown lengths and fresh maps no statistics: without these settings the planner re-plans each
--         call, and walks the whole map for each bundle
create or replace function engine.take(p_partitions smallint[], p_limit int, p_runs uuid[] default null)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_reports bigint[];
    v_requests bigint[];
    v_runs uuid[];
    v_asked jsonb;
    v_folded jsonb;
    v_cancel uuid[];
    v_oldest timestamptz;
begin
    select coalesce(array_agg(id), '{}'), coalesce(array_agg(distinct run_id), '{}'), min(created_at)
    into v_reports, v_runs, v_oldest
    from (
        select id, run_id, created_at from engine.report
        where partition = any (p_partitions) and (p_runs is null or run_id = any (p_runs))
        order by id limit p_limit
    ) inbox;
    select coalesce(array_agg(id), '{}'), v_runs || coalesce(array_agg(run_id), '{}') into v_requests, v_runs
    from (
        select id, run_id from engine.request
        where partition = any (p_partitions) and (p_runs is null or run_id = any (p_runs))
        order by id limit p_limit
    ) inbox;
    if cardinality(v_runs) = 0 then
        return null;
    end if;

    select coalesce(array_agg(id), '{}') into v_runs
    from (select id from engine.run where id = any (v_runs) order by id for update skip locked) locked;

    with gone as (
        delete from engine.request where id = any (v_requests) and run_id = any (v_runs) returning id, run_id, kind
    )
    select coalesce(jsonb_agg(jsonb_build_object('run_id', run_id, 'kind', kind) order by id), '[]'),
           coalesce(array_agg(run_id) filter (where kind = 'cancel'), '{}')
    into v_asked, v_cancel
    from gone;

    v_folded := engine.fold(v_reports, v_runs, v_now);

    return jsonb_build_object(
        'now', v_now,
        'waited', extract(epoch from v_now - v_oldest),
        'requests', v_asked,
        'outcomes', v_folded -> 'outcomes',
        'announced', v_folded -> 'announced',
        'full', cardinality(v_reports) = p_limit or cardinality(v_requests) = p_limit,
        'runs', (
            select coalesce(jsonb_agg(to_jsonb(r) - 'partition'), '[]') from engine.run r where r.id = any (v_runs)
        ),
        'nodes', engine.nodes(v_runs, v_folded -> 'touched', v_cancel)
    );
end
$$;

-- Deletes reports, moves what succeeded, counts what came back. Anything but a success goes to the core.
create or replace function engine.fold(p_reports bigint[], p_runs uuid[], p_now timestamptz)
returns jsonb
language sql
volatile
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
    with gone as (
        delete from engine.report where id = any (p_reports) and run_id = any (p_runs)
        returning id, run_id, task_run_id, bundle_id, worker, claimed_at, body
    ),
    outcome as materialized (
        select g.id as report, g.run_id, g.task_run_id, g.bundle_id, g.worker, g.claimed_at, o.*
        from gone g
        cross join lateral jsonb_to_recordset(g.body)
            as o (i bigint, a int, s text, r jsonb, n int, d double precision, e jsonb, c boolean, x boolean)
    ),
    moved as (
        update engine.work_item w
        set state = 'succeeded', result = o.r, row_count = o.n, finished_at = p_now
        from outcome o
        where o.s = 'succeeded' and w.id = o.i and w.attempt = o.a and w.state = 'queued'
        returning w.id, o.report, o.run_id, o.task_run_id, o.worker, o.bundle_id, o.claimed_at, o.a, o.d
    ),
    counted as (
        select task_run_id, count(*)::int as n, coalesce(sum(d), 0) as busy, count(d)::int as measured
        from moved group by task_run_id
    ),
    added as (
        update engine.task_run t
        set succeeded = t.succeeded + c.n, attempts = t.attempts + c.n,
            busy_s = t.busy_s + c.busy, measured = t.measured + c.measured
        from counted c
        where t.id = c.task_run_id
        returning t.id
    ),
    batch as (
        select m.run_id, m.task_run_id, m.worker, m.bundle_id, m.claimed_at,
               jsonb_agg(jsonb_build_array(m.id & 16777215, m.a, m.d, null) order by m.id) as items
        from moved m group by m.report, m.run_id, m.task_run_id, m.worker, m.bundle_id, m.claimed_at
    ),
    fact as (
        select b.run_id, jsonb_agg(jsonb_build_object(
            'type', 'freshet.item.succeeded.v1', 'run_id', b.run_id, 'at', p_now, 'task', t.task,
            'index_path', t.index_path, 'kind', t.kind, 'workflow', r.workflow, 'mapped', t.source_kind is not null,
            'worker', b.worker, 'claim', b.bundle_id, 'claimed_at', b.claimed_at, 'items', b.items)) as body
        from batch b
        join engine.task_run t on t.id = b.task_run_id
        join engine.run r on r.id = b.run_id
        group by b.run_id
    ),
    announced as (
        insert into engine.outbox (run_id, body) select run_id, body from fact returning id, body
    )
    select jsonb_build_object(
        'announced', (select coalesce(jsonb_agg(jsonb_build_array(id, body::text)), '[]') from announced),
        'touched', (
            -- `added` is read so that a reader sees the order; a data-modifying part runs whether it is read or not.
            select coalesce(jsonb_agg(distinct task_run_id), '[]')
            from (select task_run_id from outcome union select id from added) t
        ),
        'outcomes', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'task_run_id', o.task_run_id, 'run_id', o.run_id, 'item', o.i, 'attempt', o.a, 'outcome', o.s,
                'seconds', o.d, 'error', o.e, 'charged', o.c, 'ended', o.x, 'worker', o.worker,
                'bundle_id', o.bundle_id, 'claimed_at', o.claimed_at,
                'failures', w.failures, 'losses', w.losses, 'handbacks', w.handbacks) order by o.report, o.i), '[]')
            from outcome o
            join engine.work_item w on w.id = o.i and w.attempt = o.a and w.state = 'queued'
            where o.s <> 'succeeded'
        )
    )
$$;

-- The nodes of every scope that was touched and of the scopes around it; of every open scope where a cancel was asked.
create or replace function engine.nodes(p_runs uuid[], p_touched jsonb, p_cancel uuid[])
returns jsonb
language sql
volatile
set plan_cache_mode = force_generic_plan
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
    with recursive around (run_id, scope) as (
        select t.run_id, t.scope
        from jsonb_array_elements_text(p_touched) as e (id)
        cross join lateral (select run_id, scope from engine.task_run where id = e.id::bigint offset 0) t
        union
        select t.run_id, t.scope
        from around a
        cross join lateral (select run_id, scope from engine.task_run where id = a.scope >> 24 offset 0) t
        where a.scope is not null
    ),
    wanted (run_id, scope) as (
        select run_id, scope from around
        union
        select unnest(p_runs), null
        union
        select run_id, scope from engine.task_run where run_id = any (p_cancel) and state in ('pending', 'running')
    )
    select coalesce(jsonb_agg(to_jsonb(t) - 'parents' order by t.id), '[]')
    from wanted w
    cross join lateral (
        select * from engine.task_run n
        where n.run_id = w.run_id and n.scope = w.scope
        union all
        select * from engine.task_run n
        where n.run_id = w.run_id and n.scope is null and w.scope is null
    ) t
$$;
