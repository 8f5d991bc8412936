-- Old rows of the DEFAULT partitions, at most `most` of each table; how many went.
create or replace function log.prune_defaults(days int, most int) returns bigint
language plpgsql as $$
declare
    before timestamptz := ((now() at time zone 'UTC')::date - days)::timestamp at time zone 'UTC';
    parent text;
    gone bigint;
    pruned bigint := 0;
begin
    for parent in
        select relname from pg_class where relnamespace = 'log'::regnamespace and relkind = 'p' order by relname
    loop
        execute format(
            'delete from log.%1$I where ctid = any(array(select ctid from log.%1$I where %2$I < $1 limit $2))',
            parent || '_default', case parent when 'run' then 'created_at' else 'at' end
        ) using before, most;
        get diagnostics gone = row_count;
        pruned := pruned + gone;
    end loop;
    return pruned;
end $$;
