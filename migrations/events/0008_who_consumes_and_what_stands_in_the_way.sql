-- Consumers on several nodes and in several lanes, and what operators do about an event that a
-- consumer cannot digest. See docs/adr/0014.

-- A consumer of one lane keeps its name for its cursor; lane 2 of 4 is `name#2/4`.
alter table events.cursors
    add column consumer text not null generated always as (split_part(name, '#', 1)) stored,
    -- Raised by whatever changes what the position means: a skipped event, an organisation that is
    -- parked or caught up. Who moves the cursor by an old epoch moves nothing.
    add column epoch bigint not null default 0,
    -- Where the lanes of earlier layouts stood, until this lane has passed them: the number of
    -- lanes, then a position for each; repeated.
    add column passed bigint[];

create index cursors_of_consumer on events.cursors (consumer);

-- A change of layout replaces the cursors of the old one.
grant delete on events.cursors to finnest_runtime;

-- Who works which lane. Only to spare the others vain work: what makes an effect happen once is the
-- row of the cursor. Unlogged, since it is renewed twice a second and means nothing after a crash.
create unlogged table events.leases (
    name text primary key,
    holder uuid not null,
    expires_at timestamptz not null
);
comment on table events.leases is
    'Which process works which lane of which consumer, by the clock of the database.';

-- Organisations with an event that a consumer could not digest.
create table events.stalls (
    consumer text not null,
    org_id uuid not null,
    -- Whether the lane goes on without the organisation, whose events wait; otherwise it waits too.
    is_parked boolean not null,
    -- Everything of the organisation up to here has had its effect or was skipped.
    settled_position bigint not null check (settled_position >= 0),
    -- The event; null while those that waited behind it are caught up.
    position bigint,
    event_id uuid,
    error text,
    attempts integer not null check (attempts >= 0),
    stalled_at timestamptz not null,
    next_attempt_at timestamptz not null,
    primary key (consumer, org_id),
    constraint event_has_a_place check ((position is null) = (event_id is null))
);
comment on table events.stalls is
    'Events that consumers cannot digest, one at most for each consumer and organisation.';

-- What operators told consumers to leave out, for ever.
create table events.skipped_events (
    number bigint generated always as identity primary key,
    consumer text not null,
    position bigint not null,
    event_id uuid not null,
    org_id uuid not null,
    reason text not null check (reason <> ''),
    skipped_by text not null,
    error text,
    skipped_at timestamptz not null
);
create index skipped_events_of_consumer on events.skipped_events (consumer, position);
comment on table events.skipped_events is
    'Events that a consumer leaves out by order of an operator. Append-only.';
create trigger what_is_skipped_stays
    before update or delete on events.skipped_events
    for each row execute function events.refuse_change();
create trigger what_is_skipped_is_not_emptied
    before truncate on events.skipped_events
    for each statement execute function events.refuse_change();

alter table events.leases enable row level security;
alter table events.leases force row level security;
alter table events.stalls enable row level security;
alter table events.stalls force row level security;
alter table events.skipped_events enable row level security;
alter table events.skipped_events force row level security;
create policy the_runtime_holds_leases on events.leases
    to finnest_runtime using (true) with check (true);
create policy the_runtime_notes_stalls on events.stalls
    to finnest_runtime using (true) with check (true);
create policy the_runtime_reads_skips on events.skipped_events
    for select to finnest_runtime using (true);
create policy the_runtime_skips on events.skipped_events
    for insert to finnest_runtime with check (true);
grant select, insert, update, delete on events.leases, events.stalls to finnest_runtime;
grant select, insert on events.skipped_events to finnest_runtime;
