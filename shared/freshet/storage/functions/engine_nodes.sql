-- Which TaskRuns a decision sees. Of a narrow scope all of them; of a wide one those that were touched, the tasks that
-- the end of these may start, and the parents of those: a blocked task costs nothing.

-- Whether a scope has at most sixteen tasks: then it is cheaper to load all than to ask which.
create or replace function engine.is_narrow(p_run uuid, p_scope bigint)
returns boolean
language plpgsql
stable
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
    v_narrow boolean;
begin
    select count(*) <= 16
    into v_narrow
    from (
        select 1 from engine.task_run where run_id = p_run and scope = p_scope
        union all
        select 1 from engine.task_run where run_id = p_run and scope is null and p_scope is null
        limit 17
    ) first_ones;
    return v_narrow;
end
$$;

-- One TaskRun by its name.
create or replace function engine.task_named(p_run uuid, p_task text, p_index_path text)
returns engine.task_run
language plpgsql
stable
as $$
declare
    v_task engine.task_run;
begin
    select *
    into v_task from engine.task_run where run_id = p_run and task = p_task and index_path = p_index_path;
    return v_task;
end
$$;

-- The nodes of every scope that was touched and of the scopes around it; of every open scope where a cancel was asked.
create or replace function engine.nodes(p_runs uuid[], p_touched jsonb, p_cancel uuid[], p_whole boolean)
returns jsonb
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
-- Its table is made for as many rows as the planner expects, and costs more than all else for the two that there are.
set enable_hashagg = off
as $$
declare
    v_nodes jsonb;
begin
    with recursive touched (id, run_id, index_path, scope, children) as (
        select t.id, t.run_id, t.index_path, t.scope, t.children
        from jsonb_array_elements_text(p_touched) as e (id)
        cross join lateral (select * from engine.task_run where id = e.id::bigint offset 0) t
        union
        select t.id, t.run_id, t.index_path, t.scope, t.children
        from touched a
        cross join lateral (select * from engine.task_run where id = a.scope >> 24 offset 0) t
        where a.scope is not null
    ),
    place as (
        select run_id, scope from touched
        union
        select unnest(p_runs), null
    ),
    whole as materialized (
        select run_id, scope from place where p_whole or engine.is_narrow(run_id, scope)
        union
        select run_id, scope from touched where children is null
        union
        select run_id, scope from engine.task_run where run_id = any (p_cancel) and state in ('pending', 'running')
    ),
    reached as materialized (
        select t.run_id, t.index_path, n.task
        from touched t
        cross join lateral unnest(t.children) as n (task)
        where not exists (
            select from whole w where w.run_id = t.run_id and w.scope is not distinct from t.scope)
    ),
    -- A child that still waits for a parent which nobody touched can't start now.
    child as materialized (
        select c.id, c.run_id, c.index_path, c.parents
        from (select distinct run_id, index_path, task from reached) r
        cross join lateral engine.task_named(r.run_id, r.task, r.index_path) c
        where c.state = 'pending' and not exists (
            select from unnest(c.parents) as p (task)
            cross join lateral engine.task_named(c.run_id, p.task, c.index_path) q
            where q.state in ('pending', 'running') and not exists (select from touched t where t.id = q.id))
    ),
    wanted (id) as (
        select n.id
        from whole w
        cross join lateral (
            select id from engine.task_run n
            where n.run_id = w.run_id and n.scope = w.scope
            union all
            select id from engine.task_run n
            where n.run_id = w.run_id and n.scope is null and w.scope is null
            offset 0
        ) n
        union
        select id from touched
        union
        select id from child
        union
        select q.id
        from child c
        cross join lateral unnest(c.parents) as p (task)
        cross join lateral engine.task_named(c.run_id, p.task, c.index_path) q
    )
    select coalesce(jsonb_agg(to_jsonb(t) - '{parents,children}'::text[] order by t.id), '[]')
    into v_nodes
    from wanted w
    cross join lateral (select * from engine.task_run where id = w.id offset 0) t;
    return v_nodes;
end
$$;

-- Tasks of one scope with all their parents.
create or replace function engine.tasks_and_parents(p_run uuid, p_index_path text, p_tasks text[])
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
    with task as materialized (
        select t.id, t.parents
        from unnest(p_tasks) as n (task) cross join lateral engine.task_named(p_run, n.task, p_index_path) t
    ),
    wanted (id) as (
        select id from task
        union
        select q.id
        from task t
        cross join lateral unnest(t.parents) as p (task)
        cross join lateral engine.task_named(p_run, p.task, p_index_path) q
    )
    select coalesce(jsonb_agg(to_jsonb(t) - '{parents,children}'::text[] order by t.id), '[]')
    into v_nodes
    from wanted w
    cross join lateral (select * from engine.task_run where id = w.id offset 0) t;
    return v_nodes;
end
$$;

-- All of a scope, once nothing in it goes on but what is known and what is spared; null before. Twice the same, for the
-- run's own scope and an element's: IS NOT DISTINCT FROM uses no index.
create or replace function engine.scope_at_rest(p_run uuid, p_scope bigint, p_known bigint[], p_spared text[])
returns jsonb
language plpgsql
stable
set plan_cache_mode = force_generic_plan
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
as $$
begin
    if p_scope is null then
        perform from engine.task_run
        where run_id = p_run and scope is null and state in ('pending', 'running')
            and id <> all (p_known) and task <> all (p_spared)
        limit 1;
        if found then
            return null;
        end if;
        return (
            select jsonb_agg(to_jsonb(t) - '{parents,children}'::text[] order by t.id)
            from engine.task_run t where run_id = p_run and scope is null);
    end if;
    perform from engine.task_run
    where run_id = p_run and scope = p_scope and state in ('pending', 'running')
        and id <> all (p_known) and task <> all (p_spared)
    limit 1;
    if found then
        return null;
    end if;
    return (
        select jsonb_agg(to_jsonb(t) - '{parents,children}'::text[] order by t.id)
        from engine.task_run t where run_id = p_run and scope = p_scope);
end
$$;
