-- What an organisation has switched on or off. Every domain may ask, for the organisation it works for;
-- the accounts domain changes it.

create table platform.feature_flags (
    -- The flag of this organisation, for its events.
    flag_id uuid primary key,
    org_id uuid not null references platform.organisations (id),
    name text not null check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    -- Nothing where the organisation has gone back to what the domain declares.
    is_on boolean,
    changed_at timestamptz not null,
    changed_by uuid not null,
    unique (org_id, name)
);

alter table platform.feature_flags enable row level security;
alter table platform.feature_flags force row level security;
create policy runtime on platform.feature_flags to finnest_runtime using (true) with check (true);
create policy tenant on platform.feature_flags
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
grant select on platform.feature_flags to public;
