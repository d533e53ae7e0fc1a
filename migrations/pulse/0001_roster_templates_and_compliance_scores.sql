-- What pulse drafts by itself: the roster a job order will need, and how far a candidate's documents
-- are verified.

create table pulse.roster_templates (
    org_id uuid not null,
    roster_template_id uuid not null,
    job_order_id uuid not null,
    title text not null,
    headcount integer not null check (headcount > 0),
    planned_minutes bigint not null check (planned_minutes >= 0),
    created_at timestamptz not null,
    primary key (org_id, roster_template_id),
    -- One draft per job order: drafting again answers the first.
    constraint roster_templates_once unique (org_id, job_order_id)
);

create table pulse.roster_template_shifts (
    org_id uuid not null,
    roster_template_id uuid not null,
    shift_number smallint not null,
    worked_on date not null,
    starts_minute smallint not null check (starts_minute between 0 and 1439),
    minutes smallint not null check (minutes > 0),
    primary key (org_id, roster_template_id, shift_number),
    foreign key (org_id, roster_template_id) references pulse.roster_templates
);

-- One row per decided document; the primary key is what makes counting it twice impossible.
create table pulse.verified_documents (
    org_id uuid not null,
    document_id uuid not null,
    candidate_id uuid not null,
    is_verified boolean not null,
    created_at timestamptz not null,
    primary key (org_id, document_id)
);
create index verified_documents_of_candidate on pulse.verified_documents (org_id, candidate_id);

create table pulse.compliance_scores (
    org_id uuid not null,
    candidate_id uuid not null,
    verified_count integer not null,
    failed_count integer not null,
    score smallint not null check (score between 0 and 1000),
    updated_at timestamptz not null,
    primary key (org_id, candidate_id)
);

select platform.protect('pulse.roster_templates');
select platform.protect('pulse.roster_template_shifts');
select platform.protect('pulse.verified_documents');
select platform.protect('pulse.compliance_scores');
