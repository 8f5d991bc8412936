-- Values that a process yields become rows, in the transaction that its finish will fence and commit.
create or replace function engine.put_values(bundle_id bigint, token uuid, item bigint, first_idx int, elements jsonb)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
begin
    if current_setting('freshet.claim', true) is distinct from token::text then
        raise exception 'the transaction was ended by the process' using errcode = 'FR002';
    end if;
    if not exists (select from engine.bundle where id = bundle_id and claim = token and item = any(items)) then
        raise exception 'bundle % is not held under this claim', bundle_id using errcode = 'FR001';
    end if;
    insert into engine.value (source, idx, value)
    select item, first_idx + e.ord::int - 1, e.element from jsonb_array_elements(elements) with ordinality e(element, ord);
end
$$;
