-- What is kept of one attempt's log: parts, bytes of all, and the text of the last ones, so that at least `p_window` bytes
-- are among them; parts that are a gap count, and are left out of the text.
--
-- Nothing of the text but its end is fetched: how long a part is stands in its header.
create or replace function log.kept(
    p_run uuid, p_task text, p_item text, p_attempt int, p_claim uuid, p_window int, p_gap text,
    out parts int, out size int, out tail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select count(*)::int, coalesce(sum(p.size), 0)::int,
        coalesce(string_agg(p.text, '' order by p.part) filter (where p.behind < p_window and p.text <> p_gap), '')
    from (
        select part, text, octet_length(text) as size, coalesce(sum(octet_length(text)) over later, 0) as behind
        from log.attempt_log
        where run_id = p_run and task = p_task and item = p_item and attempt = p_attempt and claim = p_claim
        window later as (order by part desc rows between unbounded preceding and 1 preceding)
    ) p
$$;
