-- What a candidate declares for tax, pay and superannuation. Of a tax file number only the last three
-- digits are kept: there are so few numbers that any digest of one could be reversed by trying all.

create table onboard.tax_file_numbers (
    org_id uuid not null,
    candidate_id uuid not null,
    masked text not null check (masked ~ '^\*\*\* \*\*\* [0-9]{3}$'),
    declared_at timestamptz not null,
    primary key (org_id, candidate_id),
    foreign key (org_id, candidate_id) references onboard.candidates
);

create table onboard.bank_details (
    org_id uuid not null,
    candidate_id uuid not null,
    bsb text not null check (bsb ~ '^[0-9]{3}-[0-9]{3}$'),
    account_number text not null check (account_number ~ '^[0-9]{4,9}$'),
    account_name text not null check (char_length(account_name) between 2 and 32),
    updated_at timestamptz not null,
    primary key (org_id, candidate_id),
    foreign key (org_id, candidate_id) references onboard.candidates
);

create table onboard.super_choices (
    org_id uuid not null,
    candidate_id uuid not null,
    fund_name text not null check (char_length(fund_name) between 2 and 120),
    fund_abn text not null check (fund_abn ~ '^[0-9]{11}$'),
    member_number text check (char_length(member_number) between 1 and 20),
    updated_at timestamptz not null,
    primary key (org_id, candidate_id),
    foreign key (org_id, candidate_id) references onboard.candidates
);

select platform.protect('onboard.tax_file_numbers');
select platform.protect('onboard.bank_details');
select platform.protect('onboard.super_choices');
