-- Finished jobs leave the table that producers work on.
--
-- What slows a queue down is the dead front of its indexes and a table that is mostly history. So
-- `jobs.jobs` holds what is still to be done, and `jobs.finished` what was done, until it is
-- pruned. A job that ends by the hand of a domain (in the transaction of its effect) is marked
-- there and then, and swept into `jobs.finished` a moment later, together with whatever waits for
-- its end. That is also how those that are finished today get there.

alter table jobs.jobs
    add column tags text[] not null default '{}',
    add column meta jsonb not null default '{}',
    -- What the job answered, if that was small.
    add column result jsonb,
    -- What the limits of the queue count it under.
    add column partition_key text,
    -- Jobs of one key are performed one after another.
    add column chain_key text,
    add column workflow_id uuid,
    -- Its name within the workflow.
    add column workflow_step text,
    add column batch_id uuid,
    -- So many other jobs have to end before this one is staged.
    add column waits_for integer not null default 0 check (waits_for >= 0),
    -- Whether its end matters to others, who are told when it is swept.
    add column is_followed boolean not null default false;

create table jobs.finished (
    like jobs.jobs including defaults including constraints,
    primary key (id),
    check (state in ('completed', 'cancelled', 'discarded'))
);

-- A key decides by the rules its job was enqueued with: in which states, within which period. So
-- inserters of one key take turns by a lock, and look.
drop index jobs.jobs_unique;
create index jobs_of_a_key on jobs.jobs (queue, org_id, unique_key)
    where unique_key is not null;
create index finished_of_a_key on jobs.finished (queue, org_id, unique_key)
    where unique_key is not null;

drop index jobs.jobs_to_prune;
drop index jobs.jobs_to_list;
drop index jobs.jobs_to_stage;
create index jobs_to_stage on jobs.jobs (scheduled_at, id)
    where state in ('scheduled', 'retryable') and waits_for = 0;
create index jobs_to_sweep on jobs.jobs (queue)
    where state in ('completed', 'cancelled', 'discarded');
create index finished_to_prune
    on jobs.finished (state, (coalesce(completed_at, cancelled_at, discarded_at)));
create index finished_to_list on jobs.finished (queue, state, id);

create index jobs_of_a_workflow on jobs.jobs (workflow_id) where workflow_id is not null;
create index finished_of_a_workflow on jobs.finished (workflow_id) where workflow_id is not null;
create index jobs_of_a_batch on jobs.jobs (batch_id) where batch_id is not null;
create index finished_of_a_batch on jobs.finished (batch_id) where batch_id is not null;
create index jobs_of_a_chain on jobs.jobs (queue, org_id, chain_key, id)
    where chain_key is not null;

alter table jobs.finished enable row level security;
alter table jobs.finished force row level security;

-- A domain looks whether a unique job was done already.
create policy domain_reads_its_own_queue on jobs.finished for select
    using (
        queue = current_user::text
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );

create policy runtime_reaches_every_queue on jobs.finished to finnest_runtime
    using (true)
    with check (true);

grant select on jobs.finished to public;
grant select, insert, update, delete on jobs.finished to finnest_runtime;
grant update (result) on jobs.jobs to public;

-- All jobs, wherever they are; with the rights of whoever asks.
create view jobs.every_job with (security_invoker = true) as
    select * from jobs.jobs
    union all
    select * from jobs.finished;

grant select on jobs.every_job to public;
