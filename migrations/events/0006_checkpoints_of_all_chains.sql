-- Checkpoints: what all chains were at one position, signed, so that not even somebody who rewrites
-- every link of the log can make it look as if it had always been so. See docs/adr/0012.
--
-- Heads are kept for the organisations that changed since the checkpoint before; the head of any
-- other is its last row. A frontier is all that is needed to let the tree of an organisation grow, so
-- a checkpoint reads the new seals and nothing else.

create table events.checkpoints (
    number bigint primary key check (number > 0),
    -- The last position covered.
    position bigint not null check (position > 0),
    created_at timestamptz not null,
    -- What is signed: canonical JSON, see docs/event-format.md.
    body bytea not null,
    signature bytea not null check (octet_length(signature) = 64),
    public_key bytea not null check (octet_length(public_key) = 32)
);

comment on table events.checkpoints is
    'Signed statements of all chain heads; append-only, each naming the digest of the one before.';

create table events.checkpoint_heads (
    org_id uuid not null,
    checkpoint_number bigint not null references events.checkpoints (number),
    org_sequence bigint not null check (org_sequence > 0),
    link bytea not null check (octet_length(link) = 32),
    root bytea not null check (octet_length(root) = 32),
    -- The roots of the full subtrees of the organisation's tree, 32 bytes each.
    frontier bytea not null,
    primary key (org_id, checkpoint_number)
);

-- How far each place outside has been given the checkpoints, and what keeps it from more.
create table events.checkpoint_exports (
    place text primary key,
    exported_number bigint not null default 0 check (exported_number >= 0),
    failures integer not null default 0,
    last_error text,
    updated_at timestamptz not null
);

create trigger what_is_signed_stays
    before update or delete on events.checkpoints
    for each row execute function events.refuse_change();
create trigger what_is_signed_is_not_emptied
    before truncate on events.checkpoints
    for each statement execute function events.refuse_change();
create trigger what_is_signed_stays
    before update or delete on events.checkpoint_heads
    for each row execute function events.refuse_change();
create trigger what_is_signed_is_not_emptied
    before truncate on events.checkpoint_heads
    for each statement execute function events.refuse_change();

-- What was set aside is a fact too: it says why an event has no seal.
create trigger what_was_set_aside_stays
    before update or delete on events.duplicates
    for each row execute function events.refuse_change();
create trigger what_was_set_aside_is_not_emptied
    before truncate on events.duplicates
    for each statement execute function events.refuse_change();

-- The walks over the log that operators asked for: where each stands and what it has found.
create table events.verifications (
    id uuid primary key,
    org_id uuid,
    from_position bigint not null,
    to_position bigint,
    -- Enough for a walk that was interrupted to go on.
    standing jsonb,
    outcome jsonb,
    failure text,
    started_at timestamptz not null,
    updated_at timestamptz not null
);

alter table events.checkpoints enable row level security;
alter table events.checkpoints force row level security;
alter table events.checkpoint_heads enable row level security;
alter table events.checkpoint_heads force row level security;
alter table events.checkpoint_exports enable row level security;
alter table events.checkpoint_exports force row level security;
alter table events.verifications enable row level security;
alter table events.verifications force row level security;

create policy the_runtime_reads_checkpoints on events.checkpoints
    for select to finnest_runtime using (true);
create policy the_runtime_keeps_checkpoints on events.checkpoints
    for insert to finnest_runtime with check (true);
create policy the_runtime_reads_heads on events.checkpoint_heads
    for select to finnest_runtime using (true);
create policy the_runtime_keeps_heads on events.checkpoint_heads
    for insert to finnest_runtime with check (true);
create policy the_runtime_notes_exports on events.checkpoint_exports
    to finnest_runtime using (true) with check (true);
create policy the_runtime_notes_verifications on events.verifications
    to finnest_runtime using (true) with check (true);

grant select, insert on events.checkpoints, events.checkpoint_heads to finnest_runtime;
grant select, insert, update on events.checkpoint_exports, events.verifications to finnest_runtime;
