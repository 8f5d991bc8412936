-- A finished run's rows, at most `most` of them; how many went. Called again until it answers 0. Values and items go
-- first and the run last, so that a stop in between leaves a run that can still be found and pruned.
create or replace function log.prune_run(run uuid, most int) returns bigint
language plpgsql as $$
declare
    gone bigint;
begin
    delete from engine.value v where v.ctid = any(array(
        select found.ctid
        from engine.task_run t
        cross join lateral (
            (select ctid from engine.value i where i.source between t.id << 24 and ((t.id + 1) << 24) - 1 limit most)
            union all
            (select ctid from engine.value e where e.source = -t.id limit most)
            offset 0
        ) found
        where t.run_id = run
        limit most
    ));
    get diagnostics gone = row_count;
    if gone > 0 then
        return gone;
    end if;
    delete from engine.work_item w where w.ctid = any(array(
        select found.ctid
        from engine.task_run t
        cross join lateral (
            select ctid from engine.work_item i where i.id between t.id << 24 and ((t.id + 1) << 24) - 1 limit most
        ) found
        where t.run_id = run
        limit most
    ));
    get diagnostics gone = row_count;
    if gone > 0 then
        return gone;
    end if;
    delete from engine.task_run t where t.ctid = any(array(
        select ctid from engine.task_run x where x.run_id = run limit most
    ));
    get diagnostics gone = row_count;
    if gone > 0 then
        return gone;
    end if;
    delete from engine.run r where r.id = run;
    get diagnostics gone = row_count;
    return gone;
end $$;
