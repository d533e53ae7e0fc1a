-- The pipeline of five stages. A row in onboard.stages is a check point: what stands there is done and
-- paid for, so after a crash the pipeline goes on behind it.

create table onboard.documents (
    org_id uuid not null,
    document_id uuid not null,
    candidate_id uuid not null,
    credential_code text not null check (credential_code ~ '^[a-z][a-z0-9_]{0,47}$'),
    holder_name text not null check (char_length(holder_name) between 2 and 120),
    file_name text not null check (char_length(file_name) between 1 and 120),
    content text not null check (char_length(content) between 1 and 20000),
    state text not null check (state in ('in_progress', 'in_review', 'verified', 'failed')),
    -- The stage to do next; of a failed document, the one it failed at.
    stage text not null check (
        stage in ('classification', 'extraction', 'validation', 'face_verification', 'cross_reference')
    ),
    reason_code text,
    created_at timestamptz not null,
    -- When the pipeline last moved or was last driven.
    driven_at timestamptz not null,
    primary key (org_id, document_id),
    foreign key (org_id, candidate_id) references onboard.candidates
);
create index documents_in_progress on onboard.documents (org_id, driven_at)
    where state = 'in_progress';

create table onboard.stages (
    org_id uuid not null,
    document_id uuid not null,
    stage text not null,
    finding jsonb not null,
    provider text not null,
    cost_micro_dollars bigint not null check (cost_micro_dollars >= 0),
    completed_at timestamptz not null,
    primary key (org_id, document_id, stage),
    foreign key (org_id, document_id) references onboard.documents
);

create table onboard.reviews (
    org_id uuid not null,
    review_id uuid not null,
    document_id uuid not null,
    stage text not null,
    question text not null,
    state text not null check (state in ('waiting', 'approved', 'rejected')),
    note text,
    created_at timestamptz not null,
    decided_at timestamptz,
    primary key (org_id, review_id),
    constraint reviews_once unique (org_id, document_id, stage),
    foreign key (org_id, document_id) references onboard.documents
);
create index reviews_waiting on onboard.reviews (org_id, review_id) where state = 'waiting';

-- Money for AI stages, per organisation, stage and month. `committed` is what is settled plus what is
-- reserved for calls under way; the check is the last line of defence behind the budget guard.
create table onboard.budgets (
    org_id uuid not null,
    stage text not null,
    period date not null check (extract(day from period) = 1),
    limit_micro_dollars bigint not null check (limit_micro_dollars >= 0),
    committed_micro_dollars bigint not null check (committed_micro_dollars >= 0),
    warned_percent smallint not null default 0,
    primary key (org_id, stage, period)
);

-- One reservation per document and stage: an attempt that died and is made again takes up the
-- reservation of the first, so crashes cost no budget.
create table onboard.reservations (
    org_id uuid not null,
    document_id uuid not null,
    stage text not null,
    period date not null,
    reserved_micro_dollars bigint not null check (reserved_micro_dollars >= 0),
    settled_micro_dollars bigint,
    created_at timestamptz not null,
    primary key (org_id, document_id, stage),
    foreign key (org_id, stage, period) references onboard.budgets
);

select platform.protect('onboard.documents');
select platform.protect('onboard.stages');
select platform.protect('onboard.reviews');
select platform.protect('onboard.budgets');
select platform.protect('onboard.reservations');
