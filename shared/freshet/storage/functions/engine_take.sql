-- engine.take_inbox: the first half of a dispatcher's batch. Locks runs, folds their reports, loads what a decision
-- needs. With p_whole it loads every scope that was touched as a whole.
--
-- Reads   request, report, run, task_run, work_item
-- Writes  deletes requests and reports; moves the items that succeeded and adds them to the counters; outbox
-- Locks   run rows in id order, skipping those that another dispatcher holds; then, in later statements (a statement
--         that locks and reads at once would read the snapshot from before the lock wait), everything else
-- Plans   a session keeps a generic plan for its life, also one that was made while the tables were empty. So rows are
--         reached in ways that leave the planner no choice: one by one through a function, by `= any (array)` on one
--         table, or through LATERAL … OFFSET 0. A join would be planned as a walk over the whole map sooner or later.
create or replace function engine.take_inbox(p_partitions smallint[], p_limit int, p_runs uuid[], p_whole boolean)
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
            select coalesce(jsonb_agg(to_jsonb(r) - 'partition' order by r.id), '[]')
            from engine.run r where r.id = any (v_runs)
        ),
        'nodes', engine.nodes(v_runs, v_folded -> 'touched', v_cancel, p_whole)
    );
end
$$;

-- The same for a dispatcher of the version before, which can only decide about scopes that it sees as a whole.
create or replace function engine.take(p_partitions smallint[], p_limit int, p_runs uuid[] default null)
returns jsonb
language sql
volatile
as $$
    select engine.take_inbox(p_partitions, p_limit, p_runs, true)
$$;

create or replace function engine.add_successes(p_id bigint, p_count int, p_busy double precision, p_measured int)
returns bigint
language plpgsql
volatile
as $$
begin
    update engine.task_run
    set succeeded = succeeded + p_count, attempts = attempts + p_count,
        busy_s = busy_s + p_busy, measured = measured + p_measured
    where id = p_id;
    return p_id;
end
$$;

-- Deletes reports, moves what succeeded, counts what came back. Anything but a success goes to the core.
create or replace function engine.fold(p_reports bigint[], p_runs uuid[], p_now timestamptz)
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
    v_folded jsonb;
begin
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
    -- What the core is told: how an attempt ended, once. Were the same report there twice, it would decide it twice.
    told as materialized (
        select distinct on (o.i, o.a) o.* from outcome o where o.s <> 'succeeded' order by o.i, o.a, o.report
    ),
    -- An item that has another attempt by now, or has ended, is not moved: the report is then of no effect. Joins by hash
    -- and by merge are off, and so are scans of tables: what is left is a look-up by key for each outcome.
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
    added as materialized (
        select engine.add_successes(c.task_run_id, c.n, c.busy, c.measured) as id from counted c
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
        cross join lateral (select * from engine.task_run where id = b.task_run_id offset 0) t
        cross join lateral (select workflow from engine.run where id = b.run_id offset 0) r
        group by b.run_id
    ),
    announced as (
        insert into engine.outbox (run_id, body) select run_id, body from fact returning id, body
    )
    select jsonb_build_object(
        'announced', (select coalesce(jsonb_agg(jsonb_build_array(id, body::text)), '[]') from announced),
        'touched', (
            -- `added` has to be read: unlike a data-modifying part, a select that nobody reads is not run.
            select coalesce(jsonb_agg(distinct task_run_id), '[]')
            from (select task_run_id from outcome union select id from added) t
        ),
        'outcomes', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'task_run_id', o.task_run_id, 'run_id', o.run_id, 'item', o.i, 'attempt', o.a, 'outcome', o.s,
                'seconds', o.d, 'error', o.e, 'charged', o.c, 'ended', o.x, 'worker', o.worker,
                'bundle_id', o.bundle_id, 'claimed_at', o.claimed_at,
                'failures', w.failures, 'losses', w.losses, 'handbacks', w.handbacks) order by o.report, o.i), '[]')
            from told o
            cross join lateral (
                select * from engine.work_item i where i.id = o.i and i.attempt = o.a and i.state = 'queued' offset 0
            ) w
        )
    )
    into v_folded;
    return v_folded;
end
$$;
