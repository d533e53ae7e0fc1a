-- The duties of all queues are done by one node at a time, and what recurs can be changed.
--
-- Every duty stays correct when two nodes do it at once: what it changes it locks and skips. The
-- lease only spares the database the looks of all the other nodes.

-- Who leads. Times are the database's own, because the clocks of nodes differ.
create table jobs.leaders (
    name text primary key,
    node text not null,
    -- Raised by every new leadership.
    epoch bigint not null,
    since timestamptz not null,
    renewed_at timestamptz not null,
    expires_at timestamptz not null
);

-- How long jobs are remembered that ended in a state, where it is not as long as the code says.
create table jobs.retention (
    -- `*` is every queue that has no line of its own.
    queue text not null,
    state text not null check (state in ('completed', 'cancelled', 'discarded')),
    keep_s bigint not null check (keep_s > 0),
    updated_at timestamptz not null,
    primary key (queue, state)
);

-- A share of a large history is a lot to leave dead.
alter table jobs.finished set (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

alter table jobs.schedules
    -- What `ticked_at` was reckoned with: an entry that recurs otherwise begins with its next tick.
    add column schedule text,
    -- What an operator made of the entry; absent while it is as declared.
    add column definition jsonb,
    add column paused_at timestamptz,
    -- A declared entry that an operator deleted stays deleted.
    add column deleted_at timestamptz,
    -- The job of its last tick.
    add column job_id uuid,
    -- When a leader last had it among its declarations.
    add column declared_at timestamptz,
    add column updated_at timestamptz;

alter table jobs.leaders enable row level security;
alter table jobs.leaders force row level security;
create policy runtime_reaches_every_leader on jobs.leaders to finnest_runtime
    using (true)
    with check (true);
grant select, insert, update, delete on jobs.leaders to finnest_runtime;

alter table jobs.retention enable row level security;
alter table jobs.retention force row level security;
create policy runtime_reaches_every_retention on jobs.retention to finnest_runtime
    using (true)
    with check (true);
grant select, insert, update, delete on jobs.retention to finnest_runtime;
