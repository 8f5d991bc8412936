-- The role of user code, and the little that it may do here. Runs at every migrate, after the engine's functions.
--
-- A role belongs to the whole server while migrate's lock belongs to one database, so two databases may come here at
-- the same time: whatever the other one has just done counts as done.
do $$
begin
    if not exists (select from pg_roles where rolname = 'freshet_process') then
        create role freshet_process nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise exception 'The role freshet_process does not exist and % may not create it.', current_user
            using hint = format(
                'Let an administrator run: create role freshet_process nologin; grant freshet_process to %I;',
                current_user);
end
$$;

-- Membership lets the engine's role SET ROLE. Granted each time: since Postgres 16 the maker of a role is a member that
-- may hand it out and yet may not SET ROLE to it, and a superuser may lose that rank later.
do $$
begin
    execute format('grant freshet_process to %I', current_user);
exception
    when unique_violation or internal_error then null; -- "tuple concurrently updated": the other one granted it
    when insufficient_privilege then
        if not pg_has_role(current_user, 'freshet_process', 'member') then
            raise exception 'The role freshet_process exists and % is not a member of it.', current_user
                using hint = format('Let an administrator run: grant freshet_process to %I;', current_user);
        end if;
end
$$;

revoke execute on all functions in schema engine from public;
revoke all on all tables in schema engine from public, freshet_process;
grant usage on schema engine to freshet_process;
grant execute on function engine.finish_in_transaction(bigint, uuid, jsonb) to freshet_process;
grant execute on function engine.put_values(bigint, uuid, bigint, int, jsonb) to freshet_process;

grant usage, create on schema public to freshet_process;
do $$
declare
    pair record;
    kind text;
    owned record;
begin
    -- Both ways: a table that a process made is the owner's to read, and a table of the owner's is a process's to fill.
    for pair in
        select * from (values (current_user::text, 'freshet_process'), ('freshet_process', current_user::text))
            as p(maker, user_role)
    loop
        foreach kind in array array['tables', 'sequences', 'functions', 'types'] loop
            execute format('alter default privileges for role %I in schema public grant all on %s to %I',
                pair.maker, kind, pair.user_role);
        end loop;
    end loop;
    for owned in
        select c.oid::regclass as name, c.relkind from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and c.relowner = current_user::regrole and c.relname not like 'freshet\_%'
    loop
        execute format('grant all on %s %s to freshet_process',
            case owned.relkind when 'S' then 'sequence' else 'table' end, owned.name);
    end loop;
end
$$;
revoke all on table public.freshet_migration from freshet_process;
