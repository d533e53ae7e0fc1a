-- Roles and schemas of the platform, generated from the catalog of domains.
-- A change here is a change of who may touch what: review it as such.

do $$ begin
    if to_regrole('finnest_app') is null then create role finnest_app login noinherit; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if to_regrole('finnest_runtime') is null then create role finnest_runtime nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'finnest_runtime', 'member') then grant finnest_runtime to finnest_app; end if;
end $$;
create schema if not exists platform;
revoke create on schema public from public;

do $$ begin
    if to_regrole('accounts') is null then create role accounts nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'accounts', 'member') then grant accounts to finnest_app; end if;
end $$;
create schema if not exists accounts;
grant usage on schema accounts to accounts;
grant usage on schema platform to accounts;

do $$ begin
    if to_regrole('recruit') is null then create role recruit nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'recruit', 'member') then grant recruit to finnest_app; end if;
end $$;
create schema if not exists recruit;
grant usage on schema recruit to recruit;
grant usage on schema platform to recruit;

do $$ begin
    if to_regrole('onboard') is null then create role onboard nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'onboard', 'member') then grant onboard to finnest_app; end if;
end $$;
create schema if not exists onboard;
grant usage on schema onboard to onboard;
grant usage on schema platform to onboard;

do $$ begin
    if to_regrole('pulse') is null then create role pulse nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'pulse', 'member') then grant pulse to finnest_app; end if;
end $$;
create schema if not exists pulse;
grant usage on schema pulse to pulse;
grant usage on schema platform to pulse;

do $$ begin
    if to_regrole('reach') is null then create role reach nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'reach', 'member') then grant reach to finnest_app; end if;
end $$;
create schema if not exists reach;
grant usage on schema reach to reach;
grant usage on schema platform to reach;

do $$ begin
    if to_regrole('payroll') is null then create role payroll nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'payroll', 'member') then grant payroll to finnest_app; end if;
end $$;
create schema if not exists payroll;
grant usage on schema payroll to payroll;
grant usage on schema platform to payroll;

do $$ begin
    if to_regrole('operator') is null then create role operator nologin; end if;
exception when duplicate_object or unique_violation then null; end $$;
do $$ begin
    if not pg_has_role('finnest_app', 'operator', 'member') then grant operator to finnest_app; end if;
end $$;
create schema if not exists operator;
grant usage on schema operator to operator;
grant usage on schema platform to operator;
