-- Each seal gets the arrival of its event, and that becomes the events' primary key. Positions and
-- arrivals both grow with time, so a run of positions is a dense range of each of the two tables;
-- joined by ids, it was one probe at a random place for every event. See docs/adr/0011.
--
-- And what an append may ask for: an expected version of its aggregate, and to be recognised when
-- it comes a second time.

-- Lifted while this file runs, because an owner need not be a superuser.
alter table events.domain_events no force row level security;
alter table events.seals no force row level security;

-- A seal whose event is gone gets a number that no event has, so that a damaged log is migrated as
-- it is and still found to be damaged.
create function events.arrival_of(event_id uuid, recorded timestamptz, seal_position bigint)
returns bigint
language sql
stable
set search_path = pg_catalog
as $$
    select coalesce(
        (select min(event.arrival) from events.domain_events as event
         where event.id = arrival_of.event_id and event.inserted_at = arrival_of.recorded),
        -arrival_of.seal_position)
$$;

-- A rewrite of the table and not an update: no trigger fires, so none has to be disabled, and no
-- dead rows are left between the living.
alter table events.seals add column arrival bigint;
alter table events.seals
    alter column arrival type bigint using events.arrival_of(event_id, inserted_at, position);
alter table events.seals alter column arrival set not null;
drop function events.arrival_of(uuid, timestamptz, bigint);

alter table events.domain_events drop constraint domain_events_pkey;
alter table events.domain_events
    add constraint domain_events_pkey primary key (arrival, inserted_at);

create or replace view events.readable with (security_invoker = true) as
select
    seals.position,
    seals.org_sequence,
    domain_events.id as event_id,
    domain_events.org_id,
    domain_events.domain,
    domain_events.event_type,
    domain_events.version,
    domain_events.aggregate_id,
    convert_from(domain_events.payload, 'UTF8')::jsonb as payload,
    convert_from(domain_events.metadata, 'UTF8')::jsonb as metadata,
    domain_events.inserted_at,
    encode(seals.hash, 'hex') as hash
from events.seals
join events.domain_events
    on domain_events.arrival = seals.arrival
    and domain_events.inserted_at = seals.inserted_at
    and domain_events.id = seals.event_id;

alter table events.domain_events force row level security;
alter table events.seals force row level security;

-- How many events of an aggregate lie in archived months, so that its version goes on counting.
create table events.archived_aggregates (
    org_id uuid not null,
    domain text not null,
    aggregate_id uuid not null,
    event_count bigint not null check (event_count >= 0),
    primary key (org_id, domain, aggregate_id)
);

-- Who appends at an expected version claims the next one here. The key makes exactly one of many
-- succeed, and whoever claims the same waits for that one alone; locks would fill a table of fixed
-- size with the aggregates of one large batch.
create table events.claimed_versions (
    org_id uuid not null,
    domain text not null,
    aggregate_id uuid not null,
    version bigint not null check (version > 0),
    primary key (org_id, domain, aggregate_id, version)
);

-- Events whose caller may append them again, with what they said.
create table events.claimed_ids (
    event_id uuid primary key,
    org_id uuid not null,
    domain text not null,
    event_type text not null,
    version integer not null,
    aggregate_id uuid,
    payload_hash bytea not null check (octet_length(payload_hash) = 32)
);

comment on table events.claimed_versions is
    'Versions of aggregates that somebody expected and took; one row for each such append.';
comment on table events.claimed_ids is
    'Ids of events that were appended idempotently; one row for each such event.';

alter table events.archived_aggregates enable row level security;
alter table events.archived_aggregates force row level security;
alter table events.claimed_versions enable row level security;
alter table events.claimed_versions force row level security;
alter table events.claimed_ids enable row level security;
alter table events.claimed_ids force row level security;

create policy a_domain_counts_its_own_facts on events.archived_aggregates
    for select
    using (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy a_domain_claims_its_own_versions on events.claimed_versions
    using (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy a_domain_claims_its_own_ids on events.claimed_ids
    using (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy the_runtime_counts_what_it_archives on events.archived_aggregates
    to finnest_runtime using (true) with check (true);
grant select, insert, update, delete on events.archived_aggregates to finnest_runtime;

-- The place of an event of the transaction's organisation, once it is sealed. With the owner's
-- rights, because a domain sees no seals; it still sees the event itself only if it is its own.
create function events.place_of(wanted uuid)
returns table ("position" bigint, arrival bigint, inserted_at timestamptz)
language sql
stable
security definer
set search_path = pg_catalog
as $$
    select seal.position, seal.arrival, seal.inserted_at
    from events.seals as seal
    where seal.event_id = place_of.wanted
        and seal.org_id = nullif(current_setting('app.org_id', true), '')::uuid
$$;
revoke all on function events.place_of(uuid) from public;
create policy the_owner_finds_places on events.seals
    for select to current_user using (true);

create or replace function events.admit(domain_role name) returns void
language plpgsql
set search_path = pg_catalog
as $$
begin
    execute format('grant usage on schema events to %I', domain_role);
    execute format(
        'grant insert (id, org_id, domain, event_type, version, aggregate_id, payload, metadata, inserted_at) '
        'on events.domain_events to %I',
        domain_role
    );
    execute format(
        'grant select on events.domain_events, events.archived_aggregates to %I', domain_role
    );
    -- A claim is given back by whoever finds that it was made for nothing.
    execute format('grant select, insert, delete on events.claimed_versions to %I', domain_role);
    execute format('grant select, insert on events.claimed_ids to %I', domain_role);
    execute format('grant execute on function events.place_of(uuid) to %I', domain_role);
end;
$$;

select events.admit(domain_role.rolname)
from pg_auth_members as membership
join pg_roles as member on member.oid = membership.member
join pg_roles as domain_role on domain_role.oid = membership.roleid
where member.rolname = 'finnest_app'
    and domain_role.rolname <> 'finnest_runtime'
    and not domain_role.rolcanlogin
    and domain_role.rolname not like 'pg\_%';
