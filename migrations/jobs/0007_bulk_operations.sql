-- What an operator asked to be done to many jobs.
--
-- It is done in batches, each in a transaction together with the note of how far it is: so it goes
-- on where it was after a restart, on whatever node, and changes no job twice.

create table jobs.bulks (
    id uuid primary key,
    change text not null
        check (change in ('retry', 'run_now', 'cancel', 'discard', 'delete')),
    filter text not null,
    asked_by text not null,
    state text not null default 'running'
        check (state in ('running', 'done', 'cancelled', 'failed')),
    -- Jobs below this id are still to be looked at. What is enqueued later has a higher one.
    cursor uuid not null,
    -- How many jobs fitted when it began; absent until they are counted.
    total bigint check (total >= 0),
    done bigint not null default 0 check (done >= 0),
    refused bigint not null default 0 check (refused >= 0),
    -- How many were refused for each reason.
    refusals jsonb not null default '{}',
    failure text,
    started_at timestamptz not null,
    updated_at timestamptz not null,
    ended_at timestamptz
);

create index bulks_under_way on jobs.bulks (id) where state = 'running';

alter table jobs.bulks enable row level security;
alter table jobs.bulks force row level security;

create policy runtime_reaches_every_bulk on jobs.bulks to finnest_runtime
    using (true)
    with check (true);

grant select, insert, update, delete on jobs.bulks to finnest_runtime;
