-- One day's partition of one table of the log, with what the DEFAULT partition holds of that day moved into it.
-- One table and day per transaction: a recorder that writes to two DEFAULT partitions could otherwise meet it in a
-- deadlock. It waits two seconds for a long reader of the DEFAULT partition, whose queue everybody else would stand
-- in; days are made ahead, so a later hour is early enough. ATTACH, not PARTITION OF: it lets the recorders go on writing to the parent's other partitions.
create or replace function log.make_partition(parent text, day date) returns boolean
language plpgsql set lock_timeout = '2s' as $$
declare
    name text := parent || '_' || to_char(day, 'YYYYMMDD');
    key text := case parent when 'run' then 'created_at' else 'at' end;
    first timestamptz := day::timestamp at time zone 'UTC';
    past timestamptz := (day + 1)::timestamp at time zone 'UTC';
begin
    if to_regclass('log.' || quote_ident(name)) is not null then
        return false;
    end if;
    execute format('lock table log.%I in access exclusive mode', parent || '_default');
    if to_regclass('log.' || quote_ident(name)) is not null then
        return false; -- somebody else made it while this one waited for the lock
    end if;
    execute format('create table log.%I (like log.%I including defaults including constraints)', name, parent);
    execute format(
        'with moved as (delete from log.%I where %I >= %L and %I < %L returning *) insert into log.%I select * from moved',
        parent || '_default', key, first, key, past, name
    );
    execute format('alter table log.%I attach partition log.%I for values from (%L) to (%L)', parent, name, first, past);
    return true;
end $$;

-- A new installation has its first days at once; from then on the recorder makes them ahead.
do $$
begin
    perform log.make_partition(c.relname, (now() at time zone 'UTC')::date + ahead)
    from pg_class c cross join generate_series(0, 1) ahead
    where c.relnamespace = 'log'::regnamespace and c.relkind = 'p';
exception when lock_not_available then
    raise notice 'The days of the log are left to the recorder: somebody reads it.';
end $$;
