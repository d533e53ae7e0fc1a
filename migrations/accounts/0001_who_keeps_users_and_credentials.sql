-- The tables every request is checked against are the platform's; the accounts domain keeps them, for
-- the organisation it works for. Row security there shows it no other.

grant select, insert, update on platform.organisations, platform.users, platform.tokens to accounts;
