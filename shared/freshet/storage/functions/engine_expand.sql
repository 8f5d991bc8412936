-- Opening scopes and expanding maps, in SQL: the elements of a list never enter Python.

-- A JSON list of texts as an array; null for null.
create or replace function engine.texts(p_list jsonb)
returns text[]
language sql
immutable
as $$
    select case when p_list is not null then array(select jsonb_array_elements_text(p_list)) end
$$;

-- Pending TaskRuns, one for each task of a scope: p_rows = [{run_id, scope, index_path, task, kind, parents,
-- children}].
create or replace function engine.open_scope(p_rows jsonb)
returns jsonb
language plpgsql
volatile
as $$
declare
    v_opened jsonb;
begin
    with opened as (
        insert into engine.task_run (run_id, scope, index_path, task, kind, parents, children)
        select run_id, scope, index_path, task, kind, engine.texts(parents), engine.texts(children)
        from jsonb_to_recordset(p_rows)
            as r (run_id uuid, scope bigint, index_path text, task text, kind text, parents jsonb, children jsonb)
        on conflict on constraint task_run_key do nothing
        returning *
    )
    select coalesce(jsonb_agg(to_jsonb(o) - '{parents,children}'::text[] order by o.id), '[]')
    into v_opened from opened o;
    return v_opened;
end
$$;

-- The tasks of a rerun that do not run again: succeeded, their results where they are, no attempts.
create or replace function engine.copy_tasks(p_run uuid, p_old uuid, p_again text[])
returns jsonb
language sql
volatile
as $$
    with copied as (
        insert into engine.task_run (run_id, task, index_path, scope, kind, parents, children, state, total, mark, succeeded,
            failed, skipped, cancelled, source_kind, source, copied_from, started_at, finished_at)
        select p_run, task, index_path, scope, kind, parents, children, state, total, mark, succeeded,
            failed, skipped, cancelled, source_kind, source, coalesce(copied_from, id), clock_timestamp(), clock_timestamp()
        from engine.task_run
        where run_id = p_old and split_part(task, '.', 1) <> all (p_again)
            and state in ('succeeded', 'failed', 'skipped', 'cancelled')
        order by id
        returning *
    )
    select coalesce(jsonb_agg(to_jsonb(c) - '{parents,children}'::text[] order by c.id), '[]') from copied c where c.scope is null
$$;

-- The value of an element or item, by where its TaskRun takes its values from.
create or replace function engine.item_value(p_item bigint)
returns jsonb
language sql
stable
as $$
    select case t.source_kind
        when 'index' then to_jsonb((p_item & 16777215)::int)
        when 'value' then (select v.value from engine.value v where v.source = t.source and v.idx = (p_item & 16777215)::int)
        when 'item' then (
            select coalesce(w.result, case when w.row_count is not null then engine.yielded(w.id) end)
            from engine.work_item w where w.id = t.source << 24 | (p_item & 16777215))
    end
    from engine.task_run t where t.id = p_item >> 24
$$;

-- A plain TaskRun's result by its name in a scope; null when it has none.
create or replace function engine.result_of(p_run uuid, p_task text, p_index_path text)
returns jsonb
language sql
stable
as $$
    select coalesce(w.result, case when w.row_count is not null then engine.yielded(w.id) end)
    from engine.task_run t
    join engine.work_item w on w.id = coalesce(t.copied_from, t.id) << 24
    where t.run_id = p_run and t.task = p_task and t.index_path = p_index_path and t.source_kind is null
$$;

-- Makes a map's width known from a value: a list becomes rows, a whole number needs none.
create or replace function engine.expand_value(p_task_run bigint, p_value jsonb)
returns jsonb
language plpgsql
volatile
as $$
declare
    v_total numeric;
begin
    if jsonb_typeof(p_value) = 'array' then
        insert into engine.value (source, idx, value)
        select -p_task_run, (position - 1)::int, element
        from jsonb_array_elements(p_value) with ordinality as e (element, position);
        get diagnostics v_total = row_count;
        return engine.set_total(p_task_run, v_total::int, 'value', -p_task_run);
    elsif jsonb_typeof(p_value) = 'number' then
        v_total := (p_value #>> '{}')::numeric;
        if v_total = trunc(v_total) and v_total between 0 and 16777216 then
            return engine.set_total(p_task_run, v_total::int, 'index', null);
        end if;
    end if;
    return jsonb_build_object('id', p_task_run, 'got', coalesce(jsonb_typeof(p_value), 'null'), 'value', left(p_value::text, 80));
end
$$;

-- The same from `tasks.X.result`, which stays in Postgres: a fanned-out X lends its items, a yielding X its rows.
create or replace function engine.expand_result(
    p_task_run bigint, p_run uuid, p_task text, p_index_path text, p_fields text[]
)
returns jsonb
language plpgsql
volatile
as $$
declare
    v_task engine.task_run;
    v_item engine.work_item;
begin
    select * into v_task from engine.task_run
    where run_id = p_run and task = p_task and index_path = p_index_path;
    if v_task.source_kind is not null and cardinality(p_fields) = 0 then
        return engine.set_total(p_task_run, v_task.total, 'item', coalesce(v_task.copied_from, v_task.id));
    end if;
    select * into v_item from engine.work_item where id = coalesce(v_task.copied_from, v_task.id) << 24;
    if v_item.row_count is not null and cardinality(p_fields) = 0 then
        return engine.set_total(p_task_run, v_item.row_count, 'value', v_item.id);
    end if;
    return engine.expand_value(p_task_run, v_item.result #> p_fields);
end
$$;

create or replace function engine.set_total(p_task_run bigint, p_total int, p_kind text, p_source bigint)
returns jsonb
language sql
volatile
as $$
    update engine.task_run set total = p_total, source_kind = p_kind, source = p_source where id = p_task_run
    returning jsonb_build_object('id', id, 'total', total, 'source_kind', source_kind)
$$;

-- Elements first .. first+count-1 of a nested map: running items, each a scope with pending TaskRuns of its own.
create or replace function engine.open_elements(p_task_run bigint, p_first int, p_count int, p_tasks jsonb)
returns jsonb
language plpgsql
volatile
as $$
declare
    v_opened jsonb;
begin
    with outer_task as (
        update engine.task_run set mark = p_first + p_count where id = p_task_run returning run_id, index_path
    ),
    element as (
        insert into engine.work_item (id, state)
        select p_task_run << 24 | i, 'running' from generate_series(p_first, p_first + p_count - 1) as g (i)
        returning id
    ),
    opened as (
        insert into engine.task_run (run_id, scope, index_path, task, kind, parents, children)
        select o.run_id, e.id, concat_ws('.', nullif(o.index_path, ''), e.id & 16777215), t.task, t.kind,
               engine.texts(t.parents), engine.texts(t.children)
        from element e
        cross join outer_task o
        cross join rows from (
            jsonb_to_recordset(p_tasks) as (task text, kind text, parents jsonb, children jsonb))
            with ordinality as t (task, kind, parents, children, place)
        order by e.id, t.place -- the same history makes the same ids, and the first element is the first in line
        returning *
    )
    select coalesce(jsonb_agg(to_jsonb(o) - '{parents,children}'::text[] order by o.id), '[]')
    into v_opened from opened o;
    return v_opened;
end
$$;
