-- Append-only, for owners and superusers too: a grant can be given, a trigger has to be disabled,
-- and that is an act one can audit. What gets past it is found by the chain of hashes.

create function events.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    raise exception 'events are immutable: % of %.% is refused',
        lower(tg_op), tg_table_schema, tg_table_name
        using errcode = 'P0001', hint = 'Record a new event that corrects the old one.';
end;
$$;

-- Row triggers are cloned to every partition, also to one attached by hand.
create trigger what_is_recorded_stays
    before update or delete on events.domain_events
    for each row execute function events.refuse_change();
create trigger what_is_recorded_is_not_emptied
    before truncate on events.domain_events
    for each statement execute function events.refuse_change();

create trigger what_is_sealed_stays
    before update or delete on events.seals
    for each row execute function events.refuse_change();
create trigger what_is_sealed_is_not_emptied
    before truncate on events.seals
    for each statement execute function events.refuse_change();
