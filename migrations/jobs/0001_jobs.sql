-- The queue: work that reactions, schedules and domains leave for later.
--
-- One table holds a job from its first day to its pruning, so that enqueueing, claiming and
-- completing are each one statement that can share a transaction with whatever caused it.
-- Every index a claim or a duty walks is partial: finished jobs cost them nothing.

create schema if not exists jobs;

create table jobs.jobs (
    id uuid primary key,
    org_id uuid not null,
    queue text not null,
    name text not null,
    state text not null default 'available' check (state in (
        'available', 'scheduled', 'executing', 'retryable', 'completed', 'cancelled', 'discarded'
    )),
    args jsonb not null,
    scope jsonb not null,
    priority smallint not null default 0 check (priority between 0 and 9),
    -- Every claim raises `attempt`; it never falls, because it is what guards a completion against
    -- a slower attempt of the same job. What shall not count (a snooze, a stop of the node, a
    -- database that was away) raises `excused` as well, so `attempt - excused` have been used up.
    attempt integer not null default 0 check (attempt >= 0),
    excused integer not null default 0 check (excused between 0 and attempt),
    max_attempts integer not null check (max_attempts > 0),
    timeout_ms bigint not null check (timeout_ms > 0),
    unique_key text,
    node text,
    errors jsonb not null default '[]',
    duration_us bigint,
    inserted_at timestamptz not null,
    scheduled_at timestamptz not null,
    attempted_at timestamptz,
    completed_at timestamptz,
    cancelled_at timestamptz,
    discarded_at timestamptz
) with (
    -- Dead versions at the front of the claim index are what slows a queue down, so they are
    -- removed after so many changes and not after a share of a table that is mostly history.
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    fillfactor = 80
);

create index jobs_to_claim on jobs.jobs (queue, priority, scheduled_at, id)
    where state = 'available';
create index jobs_to_stage on jobs.jobs (scheduled_at, id)
    where state in ('scheduled', 'retryable');
create index jobs_in_hand on jobs.jobs (node, queue, attempted_at)
    where state = 'executing';
create index jobs_to_prune on jobs.jobs ((coalesce(completed_at, cancelled_at, discarded_at)))
    where state in ('completed', 'cancelled', 'discarded');
create index jobs_to_list on jobs.jobs (queue, state, id);

-- The key is unique within a queue of an organisation: a domain must not learn from a conflict
-- that another tenant has a job of that key.
create unique index jobs_unique on jobs.jobs (queue, org_id, unique_key)
    where unique_key is not null;

-- What an operator changed about a queue; absent means: nothing.
create table jobs.queues (
    queue text primary key,
    paused_at timestamptz,
    updated_at timestamptz not null
);

-- The heartbeat of each process that performs jobs. A name that starts again gets a new row, and
-- the old one is marked as left, so that what it held is rescued at once.
create table jobs.nodes (
    node text primary key,
    name text not null,
    started_at timestamptz not null,
    steady_since timestamptz not null,
    seen_at timestamptz not null,
    left_at timestamptz
);

-- The last tick of each schedule that became a job. It only moves forward, which makes a tick
-- happen once over all nodes, restarts and clocks set back.
create table jobs.schedules (
    name text primary key,
    ticked_at timestamptz not null
);

-- A domain reaches its own queue for the tenant at hand and nothing else. The grant goes to public
-- because a domain added later must not depend on this file running again; the policies are what
-- decides, and a role without a queue of its own name matches no row.
alter table jobs.jobs enable row level security;
alter table jobs.jobs force row level security;

create policy domain_reaches_its_own_queue on jobs.jobs
    using (
        queue = current_user::text
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    )
    with check (
        queue = current_user::text
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );

create policy runtime_reaches_every_queue on jobs.jobs to finnest_runtime
    using (true)
    with check (true);

grant usage on schema jobs to public;
grant select, insert on jobs.jobs to public;
-- Completing is all that a domain does to a job it has enqueued.
grant update (state, completed_at, duration_us) on jobs.jobs to public;

grant select, insert, update, delete on all tables in schema jobs to finnest_runtime;
