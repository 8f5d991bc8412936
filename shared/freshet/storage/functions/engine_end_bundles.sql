-- Ending bundles from outside: a dead worker's, an overdue one, a cancelled run's. One form for all: delete the row, and
-- report what is left of it from `done` on. A report that the worker committed before is untouched and is folded first.
-- Reports come in the order of their bundles, so that the same history makes the same rows.

-- The bundles of workers that are gone. A bundle of several charges nobody; a lost single charges its item.
create or replace function engine.release_workers(p_workers text[])
returns table (partition smallint)
language sql
volatile
set jit = off
set enable_seqscan = off
as $$
    with gone as (
        delete from engine.bundle b where b.worker = any (p_workers) and b.claim is not null returning b.*
    )
    insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)
    select g.partition, g.run_id, g.task_run_id, g.id, g.worker, g.claimed_at, (
        select jsonb_agg(jsonb_build_object('i', g.items[k], 'a', g.attempts[k], 's', 'lost',
            'c', g.done + 1 = cardinality(g.items),
            'e', jsonb_build_object('class', 'lost', 'message', format('Worker %s was lost.', g.worker))) order by k)
        from generate_series(g.done + 1, cardinality(g.items)) as k)
    from gone g
    order by g.id
    returning report.partition
$$;

-- Claims past their deadline although the supervisor should have ended them: the first item left is the one in hand.
create or replace function engine.expire_bundles(p_limit int)
returns table (partition smallint, worker text, bundle_id bigint)
language sql
volatile
set jit = off
set enable_seqscan = off
as $$
    with gone as (
        delete from engine.bundle b
        where b.id = any (array(
            select id from engine.bundle where expires_at < clock_timestamp() order by expires_at limit p_limit
            for update skip locked))
        returning b.*
    )
    insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)
    select g.partition, g.run_id, g.task_run_id, g.id, g.worker, g.claimed_at, (
        select jsonb_agg(jsonb_build_object('i', g.items[k], 'a', g.attempts[k],
            's', case when k = g.done + 1 then 'timed_out' else 'lost' end,
            -- The others never began: nobody is charged for them.
            'c', k = g.done + 1,
            'e', case when k = g.done + 1
                then jsonb_build_object('class', 'timeout', 'message',
                    format('Item ran longer than its timeout of %s s.', g.timeout_s))
                else jsonb_build_object('class', 'lost', 'message',
                    'An item before it in its bundle ran longer than its timeout.') end) order by k)
        from generate_series(g.done + 1, cardinality(g.items)) as k)
    from gone g
    order by g.id
    returning report.partition, report.worker, report.bundle_id
$$;

-- Everything that a cancelled run has in flight, but for its `finally` tasks and what is within them.
create or replace function engine.cancel_bundles(p_run uuid, p_spared text[])
returns table (worker text, bundle_id bigint)
language sql
volatile
set jit = off
set enable_seqscan = off
as $$
    with gone as (
        delete from engine.bundle b
        where b.run_id = p_run and b.task_run_id <> all (array(
            select t.id from engine.task_run t where t.run_id = p_run and split_part(t.task, '.', 1) = any (p_spared)))
        returning b.*
    )
    insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)
    select g.partition, g.run_id, g.task_run_id, g.id, g.worker, coalesce(g.claimed_at, g.submitted_at), (
        select jsonb_agg(jsonb_build_object('i', g.items[k], 'a', g.attempts[k], 's', 'cancelled',
            'c', (g.claim is not null or g.submitted_at is not null) and k = g.done + 1,
            'e', jsonb_build_object('class', 'cancelled', 'message', 'The run was cancelled.')) order by k)
        from generate_series(g.done + 1, cardinality(g.items)) as k)
    from gone g
    order by g.id
    returning report.worker, report.bundle_id
$$;
