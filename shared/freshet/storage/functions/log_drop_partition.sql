-- One partition with all it holds. DROP wants the parent for itself for a moment: rather than queue behind a long
-- reader, and everybody behind that, it gives up after two seconds and the next hour tries again.
create or replace function log.drop_partition(name text) returns void
language plpgsql set lock_timeout = '2s' as $$
begin
    execute format('drop table if exists log.%I', name);
end $$;
