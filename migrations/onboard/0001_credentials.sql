-- Onboard's own copy of who holds which credential, and what checking them against job orders found.
-- It is filled from recruit's events, because no domain reads another's tables.

create table onboard.candidates (
    org_id uuid not null,
    candidate_id uuid not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (org_id, candidate_id)
);

create table onboard.credentials (
    org_id uuid not null,
    candidate_id uuid not null,
    code text not null check (code ~ '^[a-z][a-z0-9_]{0,47}$'),
    expires_on date,
    -- The document that proved it; until then it is only what the candidate says.
    document_id uuid,
    primary key (org_id, candidate_id, code),
    foreign key (org_id, candidate_id) references onboard.candidates
);

create table onboard.required_credentials (
    org_id uuid not null,
    job_order_id uuid not null,
    codes text[] not null,
    needed_on date not null,
    created_at timestamptz not null,
    primary key (org_id, job_order_id)
);

create table onboard.credential_checks (
    org_id uuid not null,
    job_order_id uuid not null,
    candidate_id uuid not null,
    is_eligible boolean not null,
    missing text[] not null,
    expired text[] not null,
    expiring text[] not null,
    checked_at timestamptz not null,
    primary key (org_id, job_order_id, candidate_id),
    foreign key (org_id, job_order_id) references onboard.required_credentials,
    foreign key (org_id, candidate_id) references onboard.candidates
);

select platform.protect('onboard.candidates');
select platform.protect('onboard.credentials');
select platform.protect('onboard.required_credentials');
select platform.protect('onboard.credential_checks');
