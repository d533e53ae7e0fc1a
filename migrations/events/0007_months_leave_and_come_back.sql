-- Months that are older than anybody must keep at hand go into files and leave the database; their
-- seals stay for ever, so every chain can still be followed. For an audit a month comes back. And
-- events that another installation recorded are imported with their chain. See docs/adr/0013.
--
-- Everything here that takes rows away or puts rows in checks against the seals by itself: whoever
-- calls it can be wrong about a file, but not about what was sealed.

create table events.archives (
    -- The first day of the month, in UTC.
    month date primary key check (month = date_trunc('month', month::timestamp)::date),
    -- The name of the file, and the digest of its bytes.
    file text not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    event_count bigint not null check (event_count > 0),
    first_position bigint not null,
    last_position bigint not null check (last_position >= first_position),
    archived_at timestamptz not null,
    -- When the month left the database; null while its events are at hand.
    detached_at timestamptz
);
comment on table events.archives is
    'Months that were written to files. Where detached_at is set, the file is all there is.';

create table events.imports (
    first_position bigint primary key,
    last_position bigint not null check (last_position >= first_position),
    -- Whether reactions treat these events as news; projections always do.
    runs_reactions boolean not null,
    -- The digest of the lines that were imported.
    sha256 bytea not null check (octet_length(sha256) = 32),
    imported_at timestamptz not null
);
comment on table events.imports is 'Runs of positions whose events were recorded elsewhere.';

alter table events.archives enable row level security;
alter table events.archives force row level security;
alter table events.imports enable row level security;
alter table events.imports force row level security;
create policy the_runtime_keeps_archives on events.archives
    to finnest_runtime using (true) with check (true);
create policy the_owner_keeps_archives on events.archives
    to current_user using (true) with check (true);
create policy the_runtime_keeps_imports on events.imports
    to finnest_runtime using (true) with check (true);
create policy the_owner_counts_what_is_archived on events.archived_aggregates
    to current_user using (true) with check (true);
-- `detached_at` is set by the functions below and by nobody else.
grant select, insert, delete on events.archives to finnest_runtime;
grant update (file, sha256, event_count, first_position, last_position, archived_at)
    on events.archives to finnest_runtime;
grant select, insert on events.imports to finnest_runtime;

-- What was recorded elsewhere is put in by the owner of the log, who has no domain.
create policy the_owner_imports on events.domain_events
    for insert to current_user with check (true);

-- A file that is all there is of a month is not forgotten, nor taken for another; it may be moved.
create function events.refuse_losing_an_archive() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    if old.detached_at is null then
        return case tg_op when 'DELETE' then old else new end;
    end if;
    if tg_op = 'UPDATE' and (new.month, new.sha256, new.event_count, new.first_position,
            new.last_position) is not distinct from (old.month, old.sha256, old.event_count,
            old.first_position, old.last_position) then
        return new;
    end if;
    raise exception 'the events of % are in the file of this row and nowhere else: % is refused',
        to_char(old.month, 'YYYY-MM'), lower(tg_op) using errcode = 'P0001';
end;
$$;
create trigger what_is_in_a_file_only_is_not_lost
    before update or delete on events.archives
    for each row execute function events.refuse_losing_an_archive();

-- A snapshot like `before` in which the present transaction was visible, too. What lies between the
-- end of that one and this transaction is listed as invisible, as far as it still runs or has
-- recorded events; nothing else is ever asked about. An import stores it with its last seal, so that
-- the sealer looks for whatever else waits and not for what was imported.
create function events.with_this_visible(before pg_snapshot) returns pg_snapshot
language sql
set search_path = pg_catalog
as $$
    select (
        pg_snapshot_xmin(before)::text || ':' || greatest(
            pg_snapshot_xmax(before)::text::numeric,
            pg_current_xact_id()::text::numeric + 1
        )::text || ':' || coalesce((
            select string_agg(unseen.tx::text, ',' order by unseen.tx)
            from (
                select running.tx from pg_snapshot_xip(before) as running (tx)
                union
                select running.tx from pg_snapshot_xip(pg_current_snapshot()) as running (tx)
                where running.tx >= pg_snapshot_xmax(before)
                union
                select event.tx from events.domain_events as event
                where event.tx >= pg_snapshot_xmax(before) and event.tx < pg_current_xact_id()
            ) as unseen
            where unseen.tx < pg_current_xact_id()
                or (unseen.tx > pg_current_xact_id() and unseen.tx < pg_snapshot_xmax(before))
        ), '')
    )::pg_snapshot
$$;

-- The link of an event after `previous`, as docs/event-format.md has it.
create function events.link_after(
    previous bytea, id uuid, org_id uuid, domain text, event_type text, version integer,
    aggregate_id uuid, payload bytea, metadata bytea, inserted_at timestamptz
) returns bytea
language sql
immutable
set search_path = pg_catalog
as $$
    select sha256(previous || sha256(
        int8send(16) || convert_to('finnest.event.v1', 'UTF8')
        || int8send(16) || uuid_send(id)
        || int8send(16) || uuid_send(org_id)
        || int8send(octet_length(convert_to(domain, 'UTF8'))) || convert_to(domain, 'UTF8')
        || int8send(octet_length(convert_to(event_type, 'UTF8'))) || convert_to(event_type, 'UTF8')
        || int8send(2) || substring(int4send(version) from 3)
        || case when aggregate_id is null then int8send(0)
                else int8send(16) || uuid_send(aggregate_id) end
        || int8send(octet_length(payload)) || payload
        || int8send(octet_length(metadata)) || metadata
        || int8send(8) || int8send((extract(epoch from inserted_at) * 1000000)::bigint)
    ))
$$;

-- A month that has left gets no partition again but the one that comes back with its events: what a
-- wrong clock records there goes to the default partition, like all that fits nowhere.
create or replace function events.ensure_partitions(first_day date, months_ahead integer)
returns integer
language plpgsql
security definer
set search_path = pg_catalog
set lock_timeout = '500ms'
as $$
declare
    first_month constant timestamp := date_trunc('month', first_day::timestamp);
    month_begin timestamptz;
    month_end timestamptz;
    partition_name text;
    made integer := 0;
begin
    if months_ahead not between 0 and 120 then
        raise exception 'months_ahead is %, but must lie between 0 and 120', months_ahead;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('events.ensure_partitions', 0));
    for months in 0..months_ahead loop
        month_begin := (first_month + make_interval(months => months)) at time zone 'UTC';
        month_end := (first_month + make_interval(months => months + 1)) at time zone 'UTC';
        partition_name := 'domain_events_' || to_char(month_begin at time zone 'UTC', 'YYYY_MM');
        continue when to_regclass('events.' || partition_name) is not null;
        continue when exists (
            select from events.archives
            where month = (month_begin at time zone 'UTC')::date and detached_at is not null
        );
        -- Such rows are immutable, so they stay where they are and their month stays with them.
        continue when exists (
            select from events.domain_events_default
            where inserted_at >= month_begin and inserted_at < month_end
        );
        -- Made apart and then attached: attaching does not lock out the writers of other months.
        execute format(
            'create table events.%I (like events.domain_events including defaults including constraints)',
            partition_name
        );
        execute format(
            'create trigger what_is_recorded_is_not_emptied before truncate on events.%I '
            'for each statement execute function events.refuse_change()',
            partition_name
        );
        execute format(
            'alter table events.domain_events attach partition events.%I for values from (%L) to (%L)',
            partition_name, month_begin, month_end
        );
        execute format('alter table events.%I enable row level security', partition_name);
        made := made + 1;
    end loop;
    return made;
end;
$$;

-- Lets a month leave that was written to a file. It leaves only as it was written: every event
-- sealed and unchanged since, as many as the file has, read by every consumer.
--
-- Not concurrently: Postgres cannot do that where there is a default partition, nor in a function.
-- The lock on the log is asked for last, waited for half a second at most, and held for the
-- catalog's sake only; writers of a month that leaves are locked out a little longer.
create function events.detach_month(archived date, detaching_at timestamptz) returns bigint
language plpgsql
security definer
set search_path = pg_catalog
set lock_timeout = '500ms'
as $$
declare
    partition_name constant text := 'domain_events_' || to_char(archived, 'YYYY_MM');
    archive events.archives;
    events_found bigint;
    events_sealed bigint;
    last_found bigint;
    reader text;
begin
    select * into archive from events.archives where month = archived for update;
    if archive is null then
        raise exception '% is in no file', to_char(archived, 'YYYY-MM');
    end if;
    if to_regclass('events.' || partition_name) is null then
        raise exception '% has no partition', to_char(archived, 'YYYY-MM');
    end if;
    execute format('lock table events.%I in share mode', partition_name);
    execute format(
        'select count(*), count(seal.position), max(seal.position) from events.%I as event '
        'left join events.seals as seal on seal.event_id = event.id '
        'and seal.arrival = event.arrival and seal.inserted_at = event.inserted_at '
        'and seal.org_id = event.org_id '
        'and seal.hash = events.link_after(seal.previous_hash, event.id, event.org_id, '
        'event.domain, event.event_type, event.version, event.aggregate_id, event.payload, '
        'event.metadata, event.inserted_at)',
        partition_name
    ) into events_found, events_sealed, last_found;
    if events_found <> archive.event_count or events_sealed <> events_found then
        raise exception '% has % events, % of them as they were sealed, and % in its file',
            to_char(archived, 'YYYY-MM'), events_found, events_sealed, archive.event_count;
    end if;
    select name into reader from events.cursors where position < last_found limit 1;
    if reader is not null then
        raise exception '% is not read yet by %', to_char(archived, 'YYYY-MM'), reader;
    end if;
    execute format(
        'insert into events.archived_aggregates (org_id, domain, aggregate_id, event_count) '
        'select org_id, domain, aggregate_id, count(*) from events.%I '
        'where aggregate_id is not null group by org_id, domain, aggregate_id '
        'on conflict (org_id, domain, aggregate_id) do update '
        'set event_count = archived_aggregates.event_count + excluded.event_count',
        partition_name
    );
    update events.archives set detached_at = detaching_at where month = archived;
    execute format('alter table events.domain_events detach partition events.%I', partition_name);
    execute format('drop table events.%I', partition_name);
    return events_found;
end;
$$;

-- Makes an empty table for the events of a month that comes back, apart from the log. What an
-- earlier attempt left behind is dropped.
create function events.begin_attaching(archived date) returns text
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    table_name constant text := 'returning_' || to_char(archived, 'YYYY_MM');
begin
    if not exists (
        select from events.archives where month = archived and detached_at is not null
    ) then
        raise exception '% has not left', to_char(archived, 'YYYY-MM');
    end if;
    execute format('drop table if exists events.%I', table_name);
    execute format(
        'create table events.%I (like events.domain_events including defaults '
        'including constraints including indexes)',
        table_name
    );
    execute format('grant select, insert on events.%I to finnest_runtime', table_name);
    return table_name;
end;
$$;

-- Attaches the month again, if its events are those that were sealed, all of them and no others.
create function events.finish_attaching(archived date) returns bigint
language plpgsql
security definer
set search_path = pg_catalog
set lock_timeout = '2s'
as $$
declare
    table_name constant text := 'returning_' || to_char(archived, 'YYYY_MM');
    partition_name constant text := 'domain_events_' || to_char(archived, 'YYYY_MM');
    month_begin constant timestamptz := archived::timestamp at time zone 'UTC';
    month_end constant timestamptz :=
        (archived::timestamp + interval '1 month') at time zone 'UTC';
    archive events.archives;
    events_found bigint;
    events_sealed bigint;
begin
    select * into archive from events.archives
    where month = archived and detached_at is not null for update;
    if archive is null then
        raise exception '% has not left', to_char(archived, 'YYYY-MM');
    end if;
    execute format('lock table events.%I in access exclusive mode', table_name);
    execute format('revoke all on events.%I from finnest_runtime', table_name);
    -- Rows come back as those of no transaction: long sealed, and never new to the sealer.
    execute format(
        'select count(*), count(seal.position) from events.%I as event '
        'left join events.seals as seal on seal.event_id = event.id '
        'and seal.arrival = event.arrival and seal.inserted_at = event.inserted_at '
        'and seal.org_id = event.org_id and event.tx = ''0'' '
        'and event.inserted_at >= %L and event.inserted_at < %L '
        'and seal.hash = events.link_after(seal.previous_hash, event.id, event.org_id, '
        'event.domain, event.event_type, event.version, event.aggregate_id, event.payload, '
        'event.metadata, event.inserted_at)',
        table_name, month_begin, month_end
    ) into events_found, events_sealed;
    if events_found <> archive.event_count or events_sealed <> events_found then
        raise exception '% came back with % events, % of them as they were sealed, instead of %',
            to_char(archived, 'YYYY-MM'), events_found, events_sealed, archive.event_count;
    end if;
    execute format(
        'update events.archived_aggregates as archived '
        'set event_count = archived.event_count - back.event_count '
        'from (select org_id, domain, aggregate_id, count(*) as event_count from events.%I '
        'where aggregate_id is not null group by org_id, domain, aggregate_id) as back '
        'where archived.org_id = back.org_id and archived.domain = back.domain '
        'and archived.aggregate_id = back.aggregate_id',
        table_name
    );
    delete from events.archived_aggregates where event_count = 0;
    -- Known to hold, so that attaching does not look for it row by row under its lock.
    execute format(
        'alter table events.%I add constraint lies_in_its_month '
        'check (inserted_at >= %L and inserted_at < %L)',
        table_name, month_begin, month_end
    );
    execute format(
        'create trigger what_is_recorded_is_not_emptied before truncate on events.%I '
        'for each statement execute function events.refuse_change()',
        table_name
    );
    execute format('alter table events.%I enable row level security', table_name);
    execute format('alter table events.%I rename to %I', table_name, partition_name);
    execute format(
        'alter table events.domain_events attach partition events.%I for values from (%L) to (%L)',
        partition_name, month_begin, month_end
    );
    execute format('alter table events.%I drop constraint lies_in_its_month', partition_name);
    update events.archives set detached_at = null where month = archived;
    return events_found;
end;
$$;

revoke all on function events.link_after(
    bytea, uuid, uuid, text, text, integer, uuid, bytea, bytea, timestamptz
) from public;
revoke all on function events.with_this_visible(pg_snapshot) from public;
revoke all on function events.detach_month(date, timestamptz) from public;
revoke all on function events.begin_attaching(date) from public;
revoke all on function events.finish_attaching(date) from public;
grant execute on function events.with_this_visible(pg_snapshot) to finnest_runtime;
grant execute on function events.detach_month(date, timestamptz) to finnest_runtime;
grant execute on function events.begin_attaching(date) to finnest_runtime;
grant execute on function events.finish_attaching(date) to finnest_runtime;
