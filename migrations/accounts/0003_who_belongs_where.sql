-- Organisations are kept by their own: who belongs to them, in which of their offices, and by which
-- link somebody comes in. Versions let two who change the same thing at once notice it.

alter table platform.users add column version bigint not null default 1;
alter table platform.organisations add column version bigint not null default 1;

create table accounts.offices (
    office_id uuid primary key,
    org_id uuid not null,
    name text not null check (char_length(name) between 1 and 200),
    address text check (char_length(address) between 1 and 500),
    -- Millionths of a degree: whole numbers, to a hand's breadth.
    latitude_e6 integer check (latitude_e6 between -90000000 and 90000000),
    longitude_e6 integer check (longitude_e6 between -180000000 and 180000000),
    timezone text not null,
    version bigint not null default 1,
    created_at timestamptz not null,
    deleted_at timestamptz,
    unique (org_id, office_id),
    check ((latitude_e6 is null) = (longitude_e6 is null))
);
create unique index offices_by_name on accounts.offices (org_id, lower(name)) where deleted_at is null;
select platform.protect('accounts.offices');

create table accounts.office_members (
    office_member_id uuid primary key,
    org_id uuid not null,
    office_id uuid not null,
    user_id uuid not null,
    is_primary boolean not null,
    created_at timestamptz not null,
    unique (org_id, user_id, office_id),
    foreign key (org_id, office_id) references accounts.offices (org_id, office_id)
);
create unique index one_primary_office on accounts.office_members (org_id, user_id) where is_primary;
select platform.protect('accounts.office_members');

-- Links that let somebody set a password, once: by invitation, or because it was forgotten.
create table accounts.links (
    link_id uuid primary key,
    org_id uuid not null,
    user_id uuid not null,
    purpose text not null check (purpose in ('invitation', 'password_reset')),
    digest bytea not null unique check (length(digest) = 32),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index links_of_a_user on accounts.links (org_id, user_id);
select platform.protect('accounts.links');
