-- Every credential a request can show is a row of platform.tokens: tokens of programs, sessions of
-- people, short access tokens of apps, and tickets that open one socket. What differs is in columns, so
-- that one question finds whoever comes.

alter table platform.tokens
    add column id uuid not null default gen_random_uuid(),
    add column org_id uuid references platform.organisations (id),
    add column kind text not null default 'api'
        check (kind in ('api', 'service', 'session', 'access', 'ticket')),
    -- Without scopes a credential carries all that the role of its user allows.
    add column scopes text[],
    -- Ends when it was not used for so long.
    add column idle_ms bigint check (idle_ms > 0),
    add column last_used_at timestamptz,
    -- The second factor shown when it was made, or since.
    add column second_factor_at timestamptz,
    -- What it was made from: the session behind an access token or a ticket. Revoking that ends it.
    add column parent_id uuid,
    -- What it was made with, as people recognise it in a list: browser, device, program.
    add column client text;

update platform.tokens set org_id = users.org_id from platform.users where users.id = tokens.user_id;
alter table platform.tokens alter column org_id set not null;
create unique index tokens_by_id on platform.tokens (id);
create index tokens_by_parent on platform.tokens (parent_id) where parent_id is not null;

alter table platform.users
    add column has_second_factor boolean not null default false,
    add column last_login_at timestamptz;
create unique index users_of_an_organisation on platform.users (org_id, id);

alter table platform.organisations
    add column abn text check (abn ~ '^[0-9]{11}$'),
    add column subscription_tier text not null default 'tier1',
    add column irap_classified boolean not null default false,
    add column settings jsonb not null default '{}';

grant delete on platform.tokens to finnest_runtime;

-- These tables hold rows of all organisations. The runtime looks across them, everybody else, the owner
-- included, sees the current organisation.
alter table platform.organisations enable row level security;
alter table platform.organisations force row level security;
create policy runtime on platform.organisations to finnest_runtime using (true) with check (true);
create policy tenant on platform.organisations
    using (id = nullif(current_setting('app.org_id', true), '')::uuid);

alter table platform.users enable row level security;
alter table platform.users force row level security;
create policy runtime on platform.users to finnest_runtime using (true) with check (true);
create policy tenant on platform.users
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);

alter table platform.tokens enable row level security;
alter table platform.tokens force row level security;
create policy runtime on platform.tokens to finnest_runtime using (true) with check (true);
create policy tenant on platform.tokens
    using (org_id = nullif(current_setting('app.org_id', true), '')::uuid);
