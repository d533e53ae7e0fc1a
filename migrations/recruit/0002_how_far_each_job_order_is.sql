-- A read model, filled by the projection `pipeline` from events and by nothing else: how many people
-- have come how far for each job order. It can be rebuilt at any time, so nothing may refer to it and
-- no column may have a default that is another one each time.

create table recruit.pipeline (
    org_id uuid not null,
    job_order_id uuid not null,
    title text not null,
    client_name text,
    headcount integer not null,
    state text not null check (state in ('open', 'filled', 'cancelled')),
    scored integer not null check (scored >= 0),
    eligible integer not null check (eligible >= 0),
    shortlisted integer not null check (shortlisted >= 0),
    invited integer not null check (invited >= 0),
    placed integer not null check (placed >= 0),
    opened_at timestamptz not null,
    closed_at timestamptz,
    changed_at timestamptz not null,
    primary key (org_id, job_order_id)
);
create index pipeline_by_state on recruit.pipeline (org_id, state, job_order_id);

select events.projection_table('recruit.pipeline');
