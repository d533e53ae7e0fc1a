-- What recruit knows: what clients asked for, who may be placed, how well they fit, and what was
-- said to them. Every key begins with the organisation, so one tenant's rows lie together and an id
-- alone never finds another tenant's row.

create table recruit.job_orders (
    org_id uuid not null,
    job_order_id uuid not null,
    title text not null check (char_length(title) between 3 and 120),
    client_name text check (char_length(client_name) between 2 and 120),
    headcount integer not null check (headcount between 1 and 500),
    suburb text check (char_length(suburb) between 2 and 80),
    postcode text check (postcode ~ '^[0-9]{4}$'),
    skills text[] not null,
    credentials_required text[] not null,
    starts_on date,
    shift_starts_minute smallint not null check (shift_starts_minute between 0 and 1439),
    shift_minutes smallint not null check (shift_minutes between 60 and 720),
    shift_days smallint not null check (shift_days between 1 and 365),
    charge_rate_cents integer check (charge_rate_cents between 1 and 100000),
    state text not null check (state in ('open', 'filled', 'cancelled')),
    cancel_reason text,
    scoring_requested_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (org_id, job_order_id)
);
-- The pool refresh looks for open orders that were not scored for the longest time.
create index job_orders_by_scoring on recruit.job_orders (org_id, scoring_requested_at nulls first)
    where state = 'open';

create table recruit.candidates (
    org_id uuid not null,
    candidate_id uuid not null,
    full_name text not null check (char_length(full_name) between 2 and 120),
    mobile text not null check (mobile ~ '^\+614[0-9]{8}$'),
    suburb text not null check (char_length(suburb) between 2 and 80),
    postcode text not null check (postcode ~ '^[0-9]{4}$'),
    skills text[] not null,
    credentials jsonb not null,
    available_from date,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (org_id, candidate_id),
    constraint candidates_mobile_once unique (org_id, mobile)
);

create table recruit.scores (
    org_id uuid not null,
    job_order_id uuid not null,
    candidate_id uuid not null,
    score smallint not null check (score between 0 and 1000),
    rule_version smallint not null,
    contributions jsonb not null,
    scored_at timestamptz not null,
    shortlisted_at timestamptz,
    primary key (org_id, job_order_id, candidate_id),
    foreign key (org_id, job_order_id) references recruit.job_orders,
    foreign key (org_id, candidate_id) references recruit.candidates
);

create table recruit.outreach (
    org_id uuid not null,
    outreach_id uuid not null,
    job_order_id uuid not null,
    candidate_id uuid not null,
    body text not null check (char_length(body) between 1 and 480),
    state text not null check (state in ('queued', 'sent')),
    provider_reference text,
    created_at timestamptz not null,
    sent_at timestamptz,
    primary key (org_id, outreach_id),
    -- A candidate is asked once about an order, however often the button is pressed.
    constraint outreach_once unique (org_id, job_order_id, candidate_id),
    foreign key (org_id, job_order_id) references recruit.job_orders,
    foreign key (org_id, candidate_id) references recruit.candidates
);

-- Where the development adapter of the SMS provider puts what it would have sent. The key is the
-- provider's idempotency key, so a message handed over twice is here once.
create table recruit.sms_outbox (
    org_id uuid not null,
    idempotency_key uuid not null,
    recipient text not null,
    body text not null,
    created_at timestamptz not null,
    primary key (org_id, idempotency_key)
);

select platform.protect('recruit.job_orders');
select platform.protect('recruit.candidates');
select platform.protect('recruit.scores');
select platform.protect('recruit.outreach');
select platform.protect('recruit.sms_outbox');
