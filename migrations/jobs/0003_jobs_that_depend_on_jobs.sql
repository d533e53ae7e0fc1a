-- Jobs that depend on other jobs: unique ones, workflows, chains and batches.
--
-- What a job waits for stands in `jobs.dependencies`, one row for each job it waits for, and
-- `jobs.jobs.waits_for` is the number of those that are not met. Whoever adds a dependency on a job
-- keeps that job from being swept until his transaction ends (`for key share`), and the sweeper,
-- which is where an end has consequences, never waits for anybody: what somebody holds it leaves for
-- its next round. So none of them can wait for each other in a circle.

-- A domain may not change a job it has enqueued, only complete it. An enqueue that meets a waiting
-- job of the same unique key may give that one its own fields; so this runs with the owner's
-- rights and holds the boundary itself: the caller's role is its queue, the organisation is his,
-- and the job waits. Answers the jobs it has changed.
create function jobs.replace_waiting(job_ids uuid[], changes jsonb[], at timestamptz)
returns setof uuid
language sql
security definer
set search_path = pg_catalog
as $$
    update jobs.jobs as job
    set args = coalesce(change -> 'args', job.args),
        meta = coalesce(change -> 'meta', job.meta),
        priority = coalesce((change ->> 'priority')::smallint, job.priority),
        max_attempts = coalesce((change ->> 'max_attempts')::integer, job.max_attempts),
        tags = case when change ? 'tags'
            then array(select jsonb_array_elements_text(change -> 'tags')) else job.tags end,
        scheduled_at = coalesce((change ->> 'scheduled_at')::timestamptz, job.scheduled_at),
        state = case
            when not change ? 'scheduled_at' or job.state = 'retryable' or job.waits_for > 0
                then job.state
            when (change ->> 'scheduled_at')::timestamptz > at then 'scheduled'
            else 'available' end
    from unnest(job_ids, changes) as wanted (id, change)
    where job.id = wanted.id
        and job.state in ('available', 'scheduled', 'retryable')
        and (
            current_setting('role') = 'finnest_runtime'
            or job.queue = current_setting('role')
                and job.org_id = nullif(current_setting('app.org_id', true), '')::uuid
        )
    returning job.id
$$;

-- The policies hold for the owner too, who is not always a superuser.
do $$ begin
    execute format(
        'create policy owner_reaches_every_queue on jobs.jobs to %I using (true) with check (true)',
        current_user
    );
end $$;

create table jobs.workflows (
    id uuid primary key,
    queue text not null,
    org_id uuid not null,
    name text not null,
    inserted_at timestamptz not null
);

create table jobs.dependencies (
    -- This job waits
    job_id uuid not null,
    -- for the end of this one.
    depends_on uuid not null,
    queue text not null,
    org_id uuid not null,
    -- Absent for a link of a chain.
    workflow_id uuid references jobs.workflows (id) on delete cascade,
    -- What becomes of the one that waits, should the other end so.
    if_cancelled text not null check (if_cancelled in ('cancel', 'ignore', 'hold')),
    if_discarded text not null check (if_discarded in ('cancel', 'ignore', 'hold')),
    -- A link of a chain is deleted instead.
    is_met boolean not null,
    primary key (job_id, depends_on)
);

create index dependencies_on_a_job on jobs.dependencies (depends_on) where not is_met;
create index dependencies_of_a_workflow on jobs.dependencies (workflow_id)
    where workflow_id is not null;

-- The last job of each chain, so that the next one knows whom to wait for. Whoever adds to a chain
-- holds its row until his transaction ends, which makes the order of commits the order of the chain.
create table jobs.chains (
    queue text not null,
    org_id uuid not null,
    chain_key text not null,
    tail uuid,
    primary key (queue, org_id, chain_key)
);

create index chains_by_tail on jobs.chains (tail);

create table jobs.batches (
    id uuid primary key,
    queue text not null,
    org_id uuid not null,
    name text not null,
    jobs_count integer not null check (jobs_count >= 0),
    completed_count integer not null default 0 check (completed_count >= 0),
    cancelled_count integer not null default 0 check (cancelled_count >= 0),
    discarded_count integer not null default 0 check (discarded_count >= 0),
    inserted_at timestamptz not null,
    -- Since then nothing more can be added.
    exhausted_at timestamptz
);

-- The job that is enqueued once when something happened to a batch.
create table jobs.batch_callbacks (
    batch_id uuid not null references jobs.batches (id) on delete cascade,
    queue text not null,
    org_id uuid not null,
    event text not null check (event in ('completed', 'exhausted', 'cancelled', 'discarded')),
    job jsonb not null,
    enqueued_at timestamptz,
    primary key (batch_id, event)
);

-- Those that the sweeper has to tell others about.
create index jobs_to_tell_of on jobs.jobs (id)
    where is_followed and state in ('completed', 'cancelled', 'discarded');

do $$
declare
    kept name;
begin
    foreach kept in array
        array['workflows', 'dependencies', 'chains', 'batches', 'batch_callbacks']
    loop
        execute format('alter table jobs.%I enable row level security', kept);
        execute format('alter table jobs.%I force row level security', kept);
        execute format(
            'create policy domain_reaches_its_own_queue on jobs.%I
             using (
                 queue = current_user::text
                 and org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid
             )
             with check (
                 queue = current_user::text
                 and org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid
             )',
            kept
        );
        execute format(
            'create policy runtime_reaches_every_queue on jobs.%I to finnest_runtime
             using (true)
             with check (true)',
            kept
        );
        execute format('grant select, insert on jobs.%I to public', kept);
        execute format('grant select, insert, update, delete on jobs.%I to finnest_runtime', kept);
    end loop;
end $$;

grant update (tail) on jobs.chains to public;
grant update (jobs_count) on jobs.batches to public;
