-- An app that loses the network while it refreshes has used its refresh token up and has nothing of the
-- answer. It may show the same token again as long as nothing was used that the lost answer had in it;
-- so each refresh token knows which one it was made from and which access token was handed out with it.
alter table accounts.refresh_tokens
    add column made_from uuid,
    add column access_id uuid,
    -- Made for an answer that was lost, and replaced.
    add column voided_at timestamptz;

-- What was made from a refresh token is found by it, and there is one that counts.
create unique index successors_of_refresh_tokens on accounts.refresh_tokens (made_from)
    where voided_at is null;
