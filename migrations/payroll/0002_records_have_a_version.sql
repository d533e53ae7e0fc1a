-- Two people may agree on a rate with the same client: whoever sets one says which version of the
-- record they have seen.

alter table payroll.billing_records add column version bigint not null default 1;
