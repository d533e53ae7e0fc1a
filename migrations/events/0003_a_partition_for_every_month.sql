-- Months are made ahead, by this migration and later by the partition keeper, so that an insert
-- never waits for DDL.
--
-- Why a default partition too: `inserted_at` is the instant a caller's clock gives, and a command
-- must not be refused because that instant lies outside the months made so far (a test's manual
-- clock, a node whose clock is wrong, a keeper that could not run for a year). Rows there are sealed
-- and read like all others; the keeper reports them, because their month can no longer get a
-- partition of its own and cannot be archived by month.

create table events.domain_events_default partition of events.domain_events default;
create trigger what_is_recorded_is_not_emptied
    before truncate on events.domain_events_default
    for each statement execute function events.refuse_change();

-- Makes the partitions of the month of `first_day` and of `months_ahead` months after it, where they
-- are missing. Answers how many it made. Safe to call again and from several nodes at once.
--
-- Runs with the owner's rights, because the keeper's role may not create tables. It waits for a lock
-- only briefly: while it waits, readers of the default partition queue behind it.
create function events.ensure_partitions(first_day date, months_ahead integer) returns integer
language plpgsql
security definer
set search_path = pg_catalog
set lock_timeout = '500ms'
as $$
declare
    first_month constant timestamp := date_trunc('month', first_day::timestamp);
    month_begin timestamptz;
    month_end timestamptz;
    partition_name text;
    made integer := 0;
begin
    if months_ahead not between 0 and 120 then
        raise exception 'months_ahead is %, but must lie between 0 and 120', months_ahead;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('events.ensure_partitions', 0));
    for months in 0..months_ahead loop
        month_begin := (first_month + make_interval(months => months)) at time zone 'UTC';
        month_end := (first_month + make_interval(months => months + 1)) at time zone 'UTC';
        partition_name := 'domain_events_' || to_char(month_begin at time zone 'UTC', 'YYYY_MM');
        continue when to_regclass('events.' || partition_name) is not null;
        -- Such rows are immutable, so they stay where they are and their month stays with them.
        continue when exists (
            select from events.domain_events_default
            where inserted_at >= month_begin and inserted_at < month_end
        );
        -- Made apart and then attached: attaching does not lock out the writers of other months.
        execute format(
            'create table events.%I (like events.domain_events including defaults including constraints)',
            partition_name
        );
        execute format(
            'create trigger what_is_recorded_is_not_emptied before truncate on events.%I '
            'for each statement execute function events.refuse_change()',
            partition_name
        );
        execute format(
            'alter table events.domain_events attach partition events.%I for values from (%L) to (%L)',
            partition_name, month_begin, month_end
        );
        execute format('alter table events.%I enable row level security', partition_name);
        made := made + 1;
    end loop;
    return made;
end;
$$;
revoke all on function events.ensure_partitions(date, integer) from public;

-- Not forced, as it is on the parent: the function above has to see the rows that are in the way.
alter table events.domain_events_default enable row level security;

select events.ensure_partitions((now() at time zone 'UTC')::date, 12);
