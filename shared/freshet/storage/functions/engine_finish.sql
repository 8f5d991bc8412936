-- A worker ends the next items of a bundle it holds: fence, report, and the end of the claim with the last item.
--
-- True when that was the whole bundle. FR001 when the claim is lost, or when the outcomes are not those of the next
-- items: reports of a bundle form a prefix, so that whoever ends it instead knows which items are left by `done`.
create or replace function engine.finish(bundle_id bigint, token uuid, outcomes jsonb) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
    n constant int := jsonb_array_length(outcomes);
    b engine.bundle;
    before int; -- items done before these
    ended boolean := true;
begin
    delete from engine.bundle
    where id = bundle_id and claim = token and cardinality(items) - done = n
    returning * into b;
    before := b.done;
    if not found then
        ended := false;
        update engine.bundle set done = done + n
        where id = bundle_id and claim = token and cardinality(items) - done > n
        returning * into b;
        if not found then
            raise exception 'bundle % is not held under this claim', bundle_id using errcode = 'FR001';
        end if;
        before := b.done - n;
    end if;
    if n = 0 or b.items[before + 1 : before + n] is distinct from (
        select array_agg((o.outcome ->> 'i')::bigint order by o.ord)
        from jsonb_array_elements(outcomes) with ordinality o(outcome, ord)
    ) then
        raise exception 'the outcomes are not those of the next items of bundle %', bundle_id using errcode = 'FR001';
    end if;
    insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)
    values (b.partition, b.run_id, b.task_run_id, b.id, b.worker, b.claimed_at, outcomes);
    return ended;
end
$$;

-- The same for the session of context.connection: the only way into the engine for the role of user code.
--
-- `freshet.claim` was set for this transaction alone, right after BEGIN: if it is not there any more, user code has
-- ended the transaction that its writes were in, and what it wrote cannot be taken back.
create or replace function engine.finish_in_transaction(bundle_id bigint, token uuid, outcomes jsonb) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('freshet.claim', true) is distinct from token::text then
        raise exception 'the transaction was ended by the process' using errcode = 'FR002';
    end if;
    return engine.finish(bundle_id, token, outcomes);
end
$$;
