-- What reach says to whom, and where the development adapters put what they would have sent.

create table reach.messages (
    org_id uuid not null,
    message_id uuid not null,
    channel text not null check (channel in ('sms', 'email', 'notice')),
    recipient text not null check (char_length(recipient) between 3 and 254),
    body text not null check (char_length(body) between 1 and 2000),
    about_id uuid,
    -- What the message answers; the same occasion never makes a second message.
    occasion text,
    state text not null check (state in ('queued', 'sent')),
    provider_reference text,
    created_at timestamptz not null,
    sent_at timestamptz,
    primary key (org_id, message_id),
    constraint messages_once unique (org_id, occasion)
);

create table reach.outbox (
    org_id uuid not null,
    idempotency_key uuid not null,
    channel text not null,
    recipient text not null,
    body text not null,
    created_at timestamptz not null,
    primary key (org_id, idempotency_key)
);

select platform.protect('reach.messages');
select platform.protect('reach.outbox');
