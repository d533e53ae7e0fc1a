-- Projections are read models: whatever is in their tables can be made again from the log. A rebuild
-- fills a second set of tables, the shadow, in a schema of its own beside the live one, and the two
-- change places in one transaction. See docs/adr/0015.

create table events.projections (
    -- That of its cursor, for example `recruit.pipeline`.
    name text primary key,
    domain text not null,
    tables text[] not null check (cardinality(tables) > 0),
    -- The version of the logic that filled the live tables.
    version integer not null check (version between 1 and 65535),
    -- What was in the tables when they were last digested, and at which position of the log.
    digests jsonb,
    digest_position bigint,
    rebuilt_at timestamptz,
    declared_at timestamptz not null
);

create table events.rebuilds (
    rebuild_id uuid primary key,
    projection text not null references events.projections (name),
    -- The version of the logic that fills the shadow.
    version integer not null check (version between 1 and 65535),
    state text not null check (state in (
        'running', 'paused', 'failed', 'ready', 'digest_mismatch', 'swapped', 'kept', 'cancelled'
    )),
    reason text not null,
    -- The shadow holds the effect of everything up to here; moved in the commit of that effect.
    position bigint not null default 0 check (position >= 0),
    has_shadow boolean not null default false,
    events bigint not null default 0,
    events_per_second bigint not null default 0,
    positions_per_second bigint not null default 0,
    batch_size integer not null check (batch_size between 1 and 100000),
    -- Events per second at most; null for as fast as it goes.
    throttle integer check (throttle > 0),
    -- An operator decides, whatever the comparison says.
    asks boolean not null,
    -- An operator has decided for the shadow.
    is_accepted boolean not null default false,
    comparison jsonb,
    failure text,
    started_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz
);
-- A projection is rebuilt by one rebuild at a time.
create unique index rebuilds_under_way on events.rebuilds (projection)
    where state in ('running', 'paused', 'failed', 'ready', 'digest_mismatch');
create index rebuilds_by_projection on events.rebuilds (projection, started_at desc);

alter table events.projections enable row level security;
alter table events.projections force row level security;
alter table events.rebuilds enable row level security;
alter table events.rebuilds force row level security;
create policy the_runtime_keeps_projections on events.projections
    to finnest_runtime using (true) with check (true);
create policy the_runtime_keeps_rebuilds on events.rebuilds
    to finnest_runtime using (true) with check (true);
grant select, insert, update on events.projections, events.rebuilds to finnest_runtime;

-- Makes `filled` a table that a projection fills: the wall around a tenant's rows, and the right of
-- the runtime to read them all, which it needs to digest them. For migrations of domains.
create function events.projection_table(filled regclass) returns void
language plpgsql
as $$
declare
    schema_name name;
begin
    select nspname into strict schema_name
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = filled;
    perform platform.protect(filled);
    execute format('grant usage on schema %I to finnest_runtime', schema_name);
    execute format('grant select on %s to finnest_runtime', filled);
    execute format(
        'create policy the_runtime_digests on %s for select to finnest_runtime using (true)', filled
    );
end;
$$;
revoke all on function events.projection_table(regclass) from public;

-- What keeps a table from being rebuilt and swapped, one sentence each; nothing for a table as it
-- should be. Whatever is not a function of the events would differ after every rebuild, and whatever
-- holds on to the live table would go on holding the old one.
create function events.projection_faults(schema_name name, table_name name) returns setof text
language plpgsql stable
set search_path = pg_catalog
as $$
declare
    live constant regclass := to_regclass(format('%I.%I', schema_name, table_name));
    found record;
begin
    if live is null then
        return next 'no migration makes it';
        return;
    end if;
    if (select relkind <> 'r' or relispartition from pg_class where oid = live)
        or exists (select from pg_inherits where live in (inhrelid, inhparent)) then
        return next 'it is no plain table';
        return;
    end if;
    if not exists (select from pg_index where indrelid = live and indisprimary) then
        return next 'it has no primary key, and so no order to digest it in';
    end if;
    for found in
        select attname from pg_attribute
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = live and attnum > 0 and not attisdropped
            and (attidentity <> '' or pg_get_expr(adbin, adrelid) ~*
                '(nextval|now\(|random|uuid_|uuidv|_timestamp|timeofday|current_|localtime|session_)')
        order by attnum
    loop
        return next format(
            'the default of its column %s is another one each time; take the value from the event',
            found.attname
        );
    end loop;
    if exists (select from pg_constraint where contype = 'f' and live in (conrelid, confrelid)) then
        return next 'a foreign key leads out of it or to it';
    end if;
    if exists (select from pg_trigger where tgrelid = live and not tgisinternal) then
        return next 'it has a trigger';
    end if;
    if exists (
        select from pg_depend
        join pg_rewrite on pg_rewrite.oid = objid
        where classid = 'pg_rewrite'::regclass and refclassid = 'pg_class'::regclass
            and refobjid = live and ev_class <> live
    ) then
        return next 'a view is made from it';
    end if;
    if not has_table_privilege('finnest_runtime', live, 'select') then
        return next format(
            'the runtime may not digest it; its migration has to call '
            'events.projection_table(''%s.%s'')', schema_name, table_name
        );
    end if;
end;
$$;

-- Makes an empty table `shadow`.`table_name` like that of `schema_name`, with the same names of
-- constraints and indexes, the same row security and the same rights.
create function events.copy_table(schema_name name, shadow name, table_name name) returns void
language plpgsql
set search_path = pg_catalog
as $$
declare
    live constant regclass := format('%I.%I', schema_name, table_name)::regclass;
    made constant text := format('%I.%I', shadow, table_name);
    part record;
begin
    -- Indexes are copied by hand: `like` would give them names of its own.
    execute format('create table %s (like %s including all excluding indexes)', made, live);
    for part in
        select conname, pg_get_constraintdef(oid) as definition from pg_constraint
        where conrelid = live and contype in ('p', 'u', 'x') order by conname
    loop
        execute format('alter table %s add constraint %I %s', made, part.conname, part.definition);
    end loop;
    for part in
        select pg_get_indexdef(indexrelid) as definition from pg_index
        where indrelid = live
            and not exists (select from pg_constraint where conindid = indexrelid)
        order by indexrelid
    loop
        execute replace(
            part.definition,
            format(' ON %I.%I USING ', schema_name, table_name), format(' ON %s USING ', made)
        );
    end loop;
    for part in select reloptions, relrowsecurity, relforcerowsecurity from pg_class where oid = live
    loop
        if part.reloptions is not null then
            execute format('alter table %s set (%s)', made, array_to_string(part.reloptions, ', '));
        end if;
        if part.relrowsecurity then
            execute format('alter table %s enable row level security', made);
        end if;
        if part.relforcerowsecurity then
            execute format('alter table %s force row level security', made);
        end if;
    end loop;
    perform events.copy_policies(live, made);
    perform events.copy_rights(live, made);
end;
$$;

create function events.copy_policies(live regclass, made text) returns void
language plpgsql
set search_path = pg_catalog
as $$
declare
    part record;
begin
    for part in
        select polname, case when polpermissive then 'permissive' else 'restrictive' end as kind,
            case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                when 'd' then 'delete' else 'all' end as command,
            (select string_agg(case when role = 0 then 'public' else role::regrole::text end, ', ')
                from unnest(polroles) as role) as roles,
            coalesce(format(' using (%s)', pg_get_expr(polqual, polrelid)), '') as visible,
            coalesce(format(' with check (%s)', pg_get_expr(polwithcheck, polrelid)), '') as allowed,
            polqual is null as sees_all, polwithcheck is null as allows_all
        from pg_policy where polrelid = live order by polname
    loop
        execute format(
            'create policy %I on %s as %s for %s to %s%s%s',
            part.polname, made, part.kind, part.command, part.roles,
            case when part.sees_all then '' else part.visible end,
            case when part.allows_all then '' else part.allowed end
        );
    end loop;
end;
$$;

create function events.copy_rights(live regclass, made text) returns void
language plpgsql
set search_path = pg_catalog
as $$
declare
    part record;
begin
    for part in
        select privilege_type, grantee, is_grantable, '' as columns
        from pg_class, aclexplode(relacl) where pg_class.oid = live
        union all
        select privilege_type, grantee, is_grantable, format(' (%I)', attname)
        from pg_attribute, aclexplode(attacl) where attrelid = live and not attisdropped
    loop
        execute format(
            'grant %s%s on %s to %s%s', part.privilege_type, part.columns, made,
            case when part.grantee = 0 then 'public' else part.grantee::regrole::text end,
            case when part.is_grantable then ' with grant option' else '' end
        );
    end loop;
end;
$$;
revoke all on function events.copy_table(name, name, name) from public;
revoke all on function events.copy_policies(regclass, text) from public;
revoke all on function events.copy_rights(regclass, text) from public;

-- The schema of the shadow of `projection`, a name like `recruit.pipeline`.
create function events.shadow_of(projection text) returns name
language sql immutable
set search_path = pg_catalog
as $$
    select ('shadow_of_' || replace(projection, '.', '__'))::name
$$;

-- The three below run with the owner's rights, because the runtime may not create or drop tables.
-- They touch nothing but the tables of a domain and the schema of a shadow.

-- Makes the shadow of `projection`, empty; one that is left from before goes.
create function events.make_shadow(projection text, tables name[]) returns void
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    schema_name constant name := split_part(projection, '.', 1);
    shadow constant name := events.shadow_of(projection);
    table_name name;
    fault text;
begin
    if schema_name in ('events', 'jobs', 'platform') or to_regrole(quote_ident(schema_name)) is null
    then
        raise exception '% is no projection of a domain', projection;
    end if;
    perform events.drop_shadow(projection);
    execute format('create schema %I', shadow);
    execute format('grant usage on schema %I to %I, finnest_runtime', shadow, schema_name);
    foreach table_name in array tables loop
        for fault in select events.projection_faults(schema_name, table_name) loop
            raise exception 'the table % cannot be rebuilt: %', table_name, fault;
        end loop;
        perform events.copy_table(schema_name, shadow, table_name);
    end loop;
end;
$$;

create function events.drop_shadow(projection text) returns void
language plpgsql
security definer
set search_path = pg_catalog
set client_min_messages = warning
as $$
begin
    execute format('drop schema if exists %I cascade', events.shadow_of(projection));
end;
$$;

-- Puts the tables of the shadow into the place of the live ones, which go. Readers see the one or
-- the other: who comes while this runs waits for its commit. It waits for them only briefly, since
-- everybody else queues behind.
create function events.swap_shadow(projection text, tables name[]) returns void
language plpgsql
security definer
set search_path = pg_catalog
set lock_timeout = '500ms'
as $$
declare
    schema_name constant name := split_part(projection, '.', 1);
    table_name name;
begin
    foreach table_name in array tables loop
        execute format('drop table %I.%I', schema_name, table_name);
        execute format(
            'alter table %I.%I set schema %I', events.shadow_of(projection), table_name, schema_name
        );
    end loop;
    perform events.drop_shadow(projection);
end;
$$;

revoke all on function events.projection_faults(name, name) from public;
revoke all on function events.make_shadow(text, name[]) from public;
revoke all on function events.drop_shadow(text) from public;
revoke all on function events.swap_shadow(text, name[]) from public;
grant execute on function events.projection_faults(name, name) to finnest_runtime;
grant execute on function events.make_shadow(text, name[]) to finnest_runtime;
grant execute on function events.drop_shadow(text) to finnest_runtime;
grant execute on function events.swap_shadow(text, name[]) to finnest_runtime;
