-- How people sign in: with a password, a second factor if they have one, and a session that ends by
-- itself. Guesses are counted here, so that all nodes agree on who guesses too often.

grant delete on platform.tokens to accounts;

create table accounts.passwords (
    user_id uuid primary key,
    org_id uuid not null,
    -- Argon2id in the PHC format, with its parameters and salt.
    hash text not null,
    changed_at timestamptz not null
);
select platform.protect('accounts.passwords');

-- A guess is known by a keyed digest of what was guessed: addresses of strangers are kept nowhere.
create table accounts.guesses (
    guess_id uuid primary key,
    org_id uuid not null,
    count integer not null check (count >= 0),
    last_at timestamptz not null,
    locked_until timestamptz
);
create index guesses_by_age on accounts.guesses (org_id, last_at);
select platform.protect('accounts.guesses');

-- Somebody showed the right password and owes a code, or a second factor to have codes of.
create table accounts.challenges (
    challenge_id uuid primary key,
    org_id uuid not null,
    user_id uuid not null,
    digest bytea not null unique check (length(digest) = 32),
    asks_for text not null check (asks_for in ('code', 'enrolment')),
    kind text not null check (kind in ('session', 'app')),
    client text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index challenges_by_age on accounts.challenges (org_id, expires_at);
select platform.protect('accounts.challenges');

-- The codes of a person's device. The secret is sealed with the secret of the installation.
create table accounts.second_factors (
    user_id uuid primary key,
    org_id uuid not null,
    sealed_secret bytea,
    confirmed_at timestamptz,
    -- The newest half minute whose code was used; none is used twice.
    last_step bigint not null default 0,
    -- What is being enrolled, until its first code is shown.
    pending_secret bytea,
    check ((sealed_secret is null) = (confirmed_at is null))
);
select platform.protect('accounts.second_factors');

create table accounts.recovery_codes (
    code_id uuid primary key,
    org_id uuid not null,
    user_id uuid not null,
    digest bytea not null check (length(digest) = 32),
    created_at timestamptz not null,
    used_at timestamptz,
    unique (user_id, digest)
);
select platform.protect('accounts.recovery_codes');

-- Each refresh token of an app is good once. The session is their family.
create table accounts.refresh_tokens (
    refresh_token_id uuid primary key,
    org_id uuid not null,
    session_id uuid not null,
    user_id uuid not null,
    digest bytea not null unique check (length(digest) = 32),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index refresh_tokens_of_a_session on accounts.refresh_tokens (session_id);
select platform.protect('accounts.refresh_tokens');
