-- engine.publish_limited: the next bundles of a queue whose pool has a place, marked as published.
--
-- By priority, then round-robin over runs (turn), then age. `p_keys` and `p_limits` pair pools with the places that
-- each has; what names none of them is not limited, and is looked for among all that wait in the queue (no index for
-- it: one more over the whole backlog leads a planner without statistics astray in the plain statement). Two dispatchers at once wait for each other, briefly: the lock is
-- taken in one statement and the places are counted in the next, so the second one sees what the first has taken.
create or replace function engine.publish_limited(p_queue text, p_room int, p_keys text[], p_limits int[])
returns table (id bigint, turn bigint, priority int)
language plpgsql
volatile
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    perform pg_advisory_xact_lock(7235421, hashtext(k.key)) from (select unnest(p_keys) as key order by 1) k;
    return query
    update engine.bundle b set published_at = clock_timestamp()
    where b.id = any (array(
        select w.id
        from (
            select c.id, c.priority, c.turn
            from unnest(p_keys, p_limits) l(key, places)
            cross join lateral (
                select count(*) as taken from engine.bundle t
                where t.limit_key = l.key
                    and (t.published_at is not null or t.claim is not null or t.submitted_at is not null)
            ) f
            cross join lateral (
                select n.id, n.priority, n.turn from engine.bundle n
                where n.limit_key = l.key and n.queue = p_queue and n.published_at is null and n.due_at is null
                    and n.claim is null and n.submitted_at is null
                order by n.priority, n.turn, n.id
                limit least(p_room, greatest(0, l.places - f.taken))
            ) c
            union all
            (
                select n.id, n.priority, n.turn from engine.bundle n
                where n.queue = p_queue and n.published_at is null and n.due_at is null and n.claim is null
                    and n.submitted_at is null and (n.limit_key is null or n.limit_key <> all (p_keys))
                order by n.priority, n.turn, n.id
                limit p_room
            )
        ) w
        order by w.priority, w.turn, w.id
        limit p_room))
        and b.published_at is null and b.due_at is null and b.claim is null and b.submitted_at is null
    returning b.id, b.turn, b.priority::int;
end
$$;
