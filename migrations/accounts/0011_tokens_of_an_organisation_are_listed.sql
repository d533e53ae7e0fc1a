-- Administrators see the tokens of programs of their whole organisation, page by page.

create index tokens_of_programs on platform.tokens (org_id, id)
    where kind = 'api' and revoked_at is null;
