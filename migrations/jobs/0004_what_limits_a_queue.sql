-- Limits that hold over all nodes: how many jobs of a queue, or of one partition of it, execute at
-- once, and how many start within a period. What holds is here and not in the memory of a node, so
-- that every node keeps to the same, before and after any of them restarts.

alter table jobs.queues
    -- What the page of the node that started or reloaded last says, and what an operator said since.
    add column declared jsonb not null default '{}',
    add column overrides jsonb not null default '{}',
    -- What follows from both.
    add column partition_by text,
    add column global_limit integer check (global_limit > 0),
    add column partition_limit integer check (partition_limit > 0),
    add column rate_limit integer check (rate_limit > 0),
    add column partition_rate_limit integer check (partition_rate_limit > 0),
    add column rate_period_ms bigint not null default 60000 check (rate_period_ms > 0),
    add column is_limited boolean not null generated always as (
        num_nonnulls(
            partition_by, global_limit, partition_limit, rate_limit, partition_rate_limit
        ) > 0
    ) stored,
    -- What the partitions of its waiting jobs were last told by.
    add column keyed_by text;

-- What an operator said about a queue on one node, by the name that survives its restarts.
create table jobs.queue_nodes (
    queue text not null,
    node text not null,
    local_limit integer check (local_limit > 0),
    paused_at timestamptz,
    updated_at timestamptz not null,
    primary key (queue, node)
);

-- How many attempts started lately, of a queue or of one of its partitions: counted in slots of a
-- twentieth of the period, each of which counts until its latest start is a period old. So there
-- are few rows, and never more starts within any period than allowed.
create table jobs.rates (
    queue text not null,
    counts text not null check (counts in ('queue', 'partition')),
    partition_key text not null,
    slot bigint not null,
    used bigint not null check (used > 0),
    last_at timestamptz not null,
    primary key (queue, counts, partition_key, slot)
) with (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

create index rates_in_time on jobs.rates (queue, last_at);

-- The queues a node has a producer of.
alter table jobs.nodes add column queues text[] not null default '{}';

-- A key is part of an index, whose entries are bounded.
create function jobs.short_key(key text) returns text
language sql immutable parallel safe
as $$ select case when octet_length(key) <= 200 then key else md5(key) end $$;

-- What a job counts under: by the policy of its queue, or what its maker said.
create function jobs.partition_of(
    partition_by text, key text, org_id uuid, name text, args jsonb
) returns text
language sql immutable parallel safe
as $$
    select case
        when partition_by is null then jobs.short_key(key)
        when partition_by = 'organisation' then org_id::text
        when partition_by = 'name' then jobs.short_key(name)
        when partition_by = 'key' then jobs.short_key(coalesce(key, ''))
        else jobs.short_key(
            coalesce(args #>> string_to_array(substr(partition_by, 6), '.'), '')
        )
    end
$$;

-- Whoever enqueues tells the partition; nothing else of the row is a domain's business.
grant select (queue, partition_by) on jobs.queues to public;

-- How many of a queue execute is asked for each limited claim; the node comes second.
drop index jobs.jobs_in_hand;
create index jobs_in_hand on jobs.jobs (queue, node, attempted_at)
    where state = 'executing';
-- The next partition with a job, and the next job of a partition. A queue without partitions has
-- nothing in it.
create index jobs_to_claim_by_partition
    on jobs.jobs (queue, (partition_key collate "C"), priority, scheduled_at, id)
    where state = 'available' and partition_key is not null;

alter table jobs.queue_nodes enable row level security;
alter table jobs.queue_nodes force row level security;
alter table jobs.rates enable row level security;
alter table jobs.rates force row level security;

create policy runtime_reaches_every_queue on jobs.queue_nodes to finnest_runtime
    using (true)
    with check (true);
create policy runtime_reaches_every_queue on jobs.rates to finnest_runtime
    using (true)
    with check (true);

grant select, insert, update, delete on jobs.queue_nodes, jobs.rates to finnest_runtime;
