-- The event log: what happened (domain_events), in which order and chain (seals), and who has read
-- how far (cursors).
--
-- Why two tables: writers append concurrently and must never wait for each other, so an event's row
-- knows nothing of order. One sealer gives it a position afterwards, in a narrow row of its own.
-- Nothing here is ever filled and emptied again: dead rows would slow the log down under every long
-- snapshot. See docs/adr/0002 and 0003.

create schema if not exists events;

create table events.domain_events (
    id uuid not null,
    org_id uuid not null,
    domain text not null,
    event_type text not null,
    version integer not null,
    aggregate_id uuid,
    payload bytea not null,
    metadata bytea not null,
    inserted_at timestamptz not null,
    -- The transaction that recorded the event. The sealer finds new rows by comparing two snapshots.
    tx xid8 not null default pg_current_xact_id(),
    -- Order within what one snapshot adds. Gaps are normal: refused transactions use numbers too.
    arrival bigint generated always as identity,
    primary key (id, inserted_at),
    constraint version_fits check (version between 1 and 65535),
    constraint payload_size_max check (octet_length(payload) <= 262144),
    -- A row the platform could not read would stall every reader, so no domain may write one.
    constraint payload_is_json check (convert_from(payload, 'UTF8')::json is not null),
    constraint metadata_names_its_chain check (
        (convert_from(metadata, 'UTF8')::json ->> 'correlation_id')::uuid is not null
        and (convert_from(metadata, 'UTF8')::json ->> 'actor') is not null
    ),
    constraint chain_of_causes_max check (
        coalesce((convert_from(metadata, 'UTF8')::json ->> 'hops')::int between 1 and 10, false)
    ),
    constraint inserted_at_is_a_date check (
        inserted_at >= '1970-01-01 00:00:00+00' and inserted_at < '3000-01-01 00:00:00+00'
    )
) partition by range (inserted_at);

comment on table events.domain_events is
    'What happened. Append-only, partitioned by month; payload and metadata are canonical JSON bytes.';

create index domain_events_tx on events.domain_events (tx);
create index domain_events_of_aggregate
    on events.domain_events (org_id, aggregate_id, arrival) where aggregate_id is not null;

create table events.seals (
    position bigint primary key check (position > 0),
    event_id uuid not null unique,
    inserted_at timestamptz not null,
    org_id uuid not null,
    org_sequence bigint not null check (org_sequence > 0),
    previous_hash bytea not null check (octet_length(previous_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    -- Only on the last seal of a batch: up to where the sealer has looked. Kept here, so that it is
    -- advanced in the same row as the seals and no hot row is updated for every batch.
    sealed_snapshot pg_snapshot,
    target_snapshot pg_snapshot,
    last_arrival bigint,
    unique (org_id, org_sequence),
    constraint unfinished_target_has_an_arrival
        check ((target_snapshot is null) = (last_arrival is null)),
    constraint target_needs_a_start
        check (target_snapshot is null or sealed_snapshot is not null)
);

comment on table events.seals is
    'The order: a gapless position over everything, a gapless sequence and a hash chain per organisation.';

-- Who may seal. `epoch` is raised by every new leader; a leader whose epoch has passed can seal
-- nothing, whatever it believes about its lock.
create table events.sealer_state (
    only_row boolean primary key default true check (only_row),
    epoch bigint not null default 0,
    -- The cluster whose transaction ids the snapshots speak of; after a logical restore into
    -- another cluster they mean nothing, and the sealer compares the tables instead.
    system_identifier bigint,
    -- The head as last noted while idle: evidence against a tail that was cut off.
    noted_position bigint not null default 0,
    noted_at timestamptz
);
insert into events.sealer_state default values;

-- Events that carry the id of an event that is already sealed. They are never sealed themselves;
-- without this table one such mistake of one domain would stop the sealer for everybody.
create table events.duplicates (
    arrival bigint primary key,
    event_id uuid not null,
    inserted_at timestamptz not null,
    org_id uuid not null,
    domain text not null,
    found_at timestamptz not null
);

create table events.cursors (
    name text primary key,
    position bigint not null check (position >= 0),
    updated_at timestamptz not null
);

comment on table events.cursors is 'How far each consumer has read; advanced in the commit of its effect.';

-- For people and ad-hoc queries: the bytes as jsonb, in sealed order.
create view events.readable with (security_invoker = true) as
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
    on domain_events.id = seals.event_id and domain_events.inserted_at = seals.inserted_at;
