-- Parts of a log after its attempt has ended, when there is no watch that could be their fence: how many were added.
--
-- The number of the first part is the fence here, too: it has to be how many there are. Whoever comes second waits for
-- the first one's commit, and counts in a later statement.
create or replace function log.add_to_ended(
    p_run uuid, p_task text, p_item text, p_attempt int, p_claim uuid, p_numbers int[], p_texts text[]) returns int
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(p_claim::text, 0));
    if p_numbers[1] is distinct from (
        select count(*)::int from log.attempt_log
        where run_id = p_run and task = p_task and item = p_item and attempt = p_attempt and claim = p_claim
    ) then
        return 0;
    end if;
    insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)
    select p_run, p_task, p_item, p_attempt, p_claim, p.number, p.text
    from unnest(p_numbers, p_texts) p(number, text);
    return cardinality(p_numbers);
end
$$;
