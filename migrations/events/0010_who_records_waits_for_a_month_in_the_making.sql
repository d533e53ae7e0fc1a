-- Whoever records an event while its month is being made or comes back waits, and then finds the
-- month. Attaching a partition locks out neither the writers of the table nor, until late, those of
-- the default partition. An insert that has already chosen the default partition then waits for it,
-- and is refused when the month has taken over what that partition may hold (23514): a command failed
-- for nothing. So both functions lock the log against writers first; readers go on.
--
-- A month is made a year ahead, so the lock is asked for once a month, waited for half a second at
-- most, and held for some milliseconds.

-- Makes the partitions of the month of `first_day` and of `months_ahead` months after it, where they
-- are missing. Answers how many it made. Safe to call again and from several nodes at once.
--
-- Runs with the owner's rights, because the keeper's role may not create tables. It waits for a lock
-- only briefly: while it waits, writers and readers of the default partition queue behind it.
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
        lock table only events.domain_events in share row exclusive mode;
        -- Looked at again, because whoever wrote until now may have recorded the first of them.
        continue when exists (
            select from events.domain_events_default
            where inserted_at >= month_begin and inserted_at < month_end
        );
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

-- Attaches the month again, if its events are those that were sealed, all of them and no others.
create or replace function events.finish_attaching(archived date) returns bigint
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
    lock table only events.domain_events in share row exclusive mode;
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
