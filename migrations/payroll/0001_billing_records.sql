-- What a client will be billed for a job order. Amounts are integer cents and are absent together,
-- as long as no rate is agreed.

create table payroll.billing_records (
    org_id uuid not null,
    billing_record_id uuid not null,
    job_order_id uuid not null,
    title text not null,
    client_name text,
    headcount integer not null check (headcount > 0),
    minutes_per_person bigint not null check (minutes_per_person >= 0),
    charge_rate_cents integer check (charge_rate_cents > 0),
    subtotal_cents bigint check (subtotal_cents >= 0),
    gst_cents bigint check (gst_cents >= 0),
    total_cents bigint check (total_cents = subtotal_cents + gst_cents),
    state text not null check (state in ('rate_needed', 'draft')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (org_id, billing_record_id),
    -- One record per job order: creating it again answers the first.
    constraint billing_records_once unique (org_id, job_order_id),
    constraint amounts_need_a_rate check (
        (state = 'rate_needed')
        = (num_nonnulls(charge_rate_cents, subtotal_cents, gst_cents, total_cents) = 0)
    )
);

select platform.protect('payroll.billing_records');
