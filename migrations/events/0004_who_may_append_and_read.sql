-- Each domain appends its own facts for the organisation it acts for, and nothing else; the runtime
-- reads everything and seals; nobody else sees anything.

alter table events.domain_events enable row level security;
alter table events.domain_events force row level security;
alter table events.seals enable row level security;
alter table events.seals force row level security;
alter table events.duplicates enable row level security;
alter table events.duplicates force row level security;

create policy a_domain_records_its_own_facts on events.domain_events
    for insert
    with check (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy a_domain_sees_its_own_facts on events.domain_events
    for select
    using (
        domain = current_user
        and org_id = nullif(current_setting('app.org_id', true), '')::uuid
    );
create policy the_runtime_sees_everything on events.domain_events
    for select to finnest_runtime using (true);
create policy the_runtime_reads_seals on events.seals
    for select to finnest_runtime using (true);
create policy the_runtime_seals on events.seals
    for insert to finnest_runtime with check (true);
create policy the_runtime_keeps_duplicates on events.duplicates
    to finnest_runtime using (true) with check (true);

grant usage on schema events to finnest_runtime;
grant select on events.domain_events, events.readable to finnest_runtime;
-- Only for the keeper's report of what lies outside every month.
grant select on events.domain_events_default to finnest_runtime;
create policy the_runtime_sees_everything on events.domain_events_default
    for select to finnest_runtime using (true);
grant select, insert on events.seals, events.duplicates to finnest_runtime;
grant select, update on events.sealer_state to finnest_runtime;
grant select, insert, update on events.cursors to finnest_runtime;
grant execute on function events.ensure_partitions(date, integer) to finnest_runtime;

-- Lets the role `domain_role` append its own facts and see them again. Columns are named one by one:
-- `tx` and `arrival` are what the sealer trusts, so no domain may choose them.
create function events.admit(domain_role name) returns void
language plpgsql
set search_path = pg_catalog
as $$
begin
    execute format('grant usage on schema events to %I', domain_role);
    execute format(
        'grant insert (id, org_id, domain, event_type, version, aggregate_id, payload, metadata, inserted_at) '
        'on events.domain_events to %I',
        domain_role
    );
    execute format('grant select on events.domain_events to %I', domain_role);
end;
$$;
revoke all on function events.admit(name) from public;

-- Every role the platform may become is a domain, but for the runtime itself.
select events.admit(domain_role.rolname)
from pg_auth_members as membership
join pg_roles as member on member.oid = membership.member
join pg_roles as domain_role on domain_role.oid = membership.roleid
where member.rolname = 'finnest_app'
    and domain_role.rolname <> 'finnest_runtime'
    and not domain_role.rolcanlogin
    and domain_role.rolname not like 'pg\_%';
