-- Who uses the platform: organisations, their users, and the tokens they call with; the answers the
-- platform remembers for repeated calls; and the one function that puts a wall around a tenant table.
--
-- The schema itself and `platform.migrations` exist before: the runner of these files makes them.

grant usage on schema platform to finnest_runtime;

create table platform.organisations (
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    slug text not null unique check (slug ~ '^[a-z0-9-]{1,63}$'),
    created_at timestamptz not null,
    deleted_at timestamptz
);

create table platform.users (
    id uuid primary key,
    org_id uuid not null references platform.organisations (id),
    name text not null check (length(name) between 1 and 200),
    email text not null check (email = lower(email)),
    role text not null check (
        role in ('director', 'admin', 'staff', 'payroll', 'supervisor', 'worker', 'client_contact', 'operator')
    ),
    created_at timestamptz not null,
    deleted_at timestamptz,
    unique (org_id, email)
);

-- Only digests of tokens are kept: who reads this table cannot call as anybody.
create table platform.tokens (
    token_hash bytea primary key check (length(token_hash) = 32),
    user_id uuid not null references platform.users (id),
    label text not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
create index tokens_of_a_user on platform.tokens (user_id);

grant select, insert, update on platform.organisations, platform.users, platform.tokens to finnest_runtime;

-- Answers of commands that were called with an idempotency key. Domains write here inside the
-- transaction of the effect, so the policy keeps them to their own rows of the current tenant.
create table platform.idempotency (
    org_id uuid not null,
    domain text not null,
    operation text not null,
    key text not null,
    fingerprint bytea not null,
    answer jsonb,
    created_at timestamptz not null,
    primary key (org_id, domain, operation, key)
);
alter table platform.idempotency enable row level security;
alter table platform.idempotency force row level security;
create policy own_answers on platform.idempotency
    using (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy runtime_prunes on platform.idempotency to finnest_runtime using (true);
grant select, delete on platform.idempotency to finnest_runtime;

-- Puts the wall around a tenant table: rows of the current organisation only, for the owner too, and
-- rights for the domain whose schema it is in and for nobody else.
create function platform.protect(guarded regclass) returns void
language plpgsql as $$
declare
    schema_name text;
begin
    select nspname into schema_name
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where pg_class.oid = guarded;
    execute format('alter table %s enable row level security', guarded);
    execute format('alter table %s force row level security', guarded);
    execute format(
        'create policy tenant on %s using (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)',
        guarded
    );
    execute format('grant select, insert, update, delete on %s to %I', guarded, schema_name);
end
$$;
