-- Passkeys: keys that a device or a key ring keeps for this installation. One stands for the second
-- factor; one whose keeper has checked who is there stands for the password too. Only what verifies
-- is kept here; nothing of it lets anybody in.
create table accounts.passkeys (
    passkey_id uuid primary key,
    org_id uuid not null,
    user_id uuid not null,
    -- The name that its keeper knows it by.
    credential_id bytea not null check (length(credential_id) between 1 and 1023),
    -- As COSE writes it.
    public_key bytea not null,
    -- How often it has signed. It only grows, or its keeper does not count.
    sign_count bigint not null check (sign_count >= 0),
    is_synced boolean not null,
    label text not null check (char_length(label) between 1 and 100),
    created_at timestamptz not null,
    last_used_at timestamptz,
    unique (org_id, credential_id)
);
create index passkeys_of_a_user on accounts.passkeys (user_id);
select platform.protect('accounts.passkeys');

-- What a passkey is to sign: good once, for five minutes and for one purpose. Whoever signs in with a
-- passkey alone has not said who they are, so those challenges are nobody's.
create table accounts.passkey_challenges (
    passkey_challenge_id uuid primary key,
    org_id uuid not null,
    user_id uuid,
    digest bytea not null unique check (length(digest) = 32),
    purpose text not null check (purpose in ('adding', 'sign_in', 'second_factor', 'step_up')),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    check ((user_id is null) = (purpose = 'sign_in'))
);
create index passkey_challenges_by_age on accounts.passkey_challenges (org_id, expires_at);
select platform.protect('accounts.passkey_challenges');
