//! Each mistake an operator can make on the page, and what the page then says.

use super::*;
use crate::SupervisorSpec;

fn known() -> Known {
    Known::new()
        .section("root", [] as [&str; 0])
        .section("store", ["sealer", "partitions"])
        .section("domains", [] as [&str; 0])
        .domain("recruit", ["scoring_engine", "pool_refresh"])
        .domain("payroll", [] as [&str; 0])
}

/// The least that a page must say for the tree above.
const DOMAINS: &str = "[domain.recruit]\n[domain.payroll]\n";

fn parse(text: &str) -> Result<Tuning, ConfigErrors> {
    Tuning::parse(text, "supervision.toml", &known())
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(text, &known(), expected);
}

#[track_caller]
fn check_with(text: &str, known: &Known, expected: &[&str]) {
    let parsed = Tuning::parse(text, "supervision.toml", known);
    let printed = parsed.expect_err("the page is wrong").to_string();

    assert_eq!(printed, expected.join("\n"));
}

#[test]
fn what_the_page_leaves_out_the_defaults_say() {
    let text = format!("[defaults]\nmax_restarts = 7\nqueue_limit = 3\n[store]\n{DOMAINS}");

    let tuning = parse(&text).expect("the page is right");

    let store = tuning.section("store");
    assert_eq!(store.strategy, Strategy::OneForOne);
    assert_eq!(store.intensity.max_restarts, 7);
    assert_eq!(store.intensity.within, WITHIN);
    assert_eq!(tuning.domain("payroll").queue_limit, 3);
    assert_eq!(tuning.domain("payroll").in_flight_max, IN_FLIGHT_MAX);
    assert_eq!(tuning.give_up(), GiveUp::Quarantine(QuarantineSchedule::new(QUARANTINE)));
}

#[test]
fn a_table_speaks_louder_than_the_defaults_and_a_child_louder_than_its_table() {
    let text = "
[defaults]
shutdown_ms = 1_000
[store]
strategy = 'rest_for_one'
max_seconds = 60
[domain.recruit]
shutdown_ms = 2_000
statement_timeout_ms = 250
runtime = 'shared'
[domain.recruit.child.scoring_engine]
pool = 4
shutdown_ms = 0
[domain.recruit.child.pool_refresh]
interval_ms = 500
restart = 'transient'
[domain.payroll]
";

    let tuning = parse(text).expect("the page is right");

    assert_eq!(tuning.section("store").strategy, Strategy::RestForOne);
    assert_eq!(tuning.section("store").intensity.within, Duration::from_mins(1));
    let recruit = tuning.domain("recruit");
    assert_eq!(recruit.statement_timeout, Duration::from_millis(250));
    assert_eq!(recruit.shutdown, Shutdown::Timeout(Duration::from_secs(2)));
    assert_eq!(recruit.child("scoring_engine").pool, Some(4));
    assert_eq!(recruit.child("scoring_engine").shutdown, Shutdown::BrutalKill);
    let refresh = recruit.child("pool_refresh");
    assert_eq!(refresh.interval, Some(Duration::from_millis(500)));
    assert_eq!(refresh.restart, Some(Restart::Transient));
    assert_eq!(refresh.shutdown, Shutdown::Timeout(Duration::from_secs(2)));
    assert_eq!(refresh.pool, None);
}

#[test]
fn a_collapsed_domain_is_quarantined_or_escalated_as_the_page_says() {
    let quarantined = format!("[domains]\nquarantine_ms = [10, 20]\n{DOMAINS}");
    let escalated = format!("[domains]\non_give_up = 'escalate'\n{DOMAINS}");

    let quarantined = parse(&quarantined).expect("the page is right").give_up();
    let escalated = parse(&escalated).expect("the page is right").give_up();

    let waits = QuarantineSchedule::milliseconds(&[10, 20]);
    assert_eq!(quarantined, GiveUp::Quarantine(waits));
    assert_eq!(escalated, GiveUp::Escalate);
}

#[test]
fn a_child_is_tuned_and_a_supervisor_waits_for_its_own_children() {
    struct Idle;
    impl crate::Process for Idle {
        async fn run(&mut self, _: &crate::RunContext) -> Result<(), crate::ExitReason> {
            Ok(())
        }
    }
    let text = format!(
        "[store]\nshutdown_ms = 70\n[store.child.sealer]\nshutdown_ms = 80\nrestart = \
         'temporary'\n{DOMAINS}"
    );
    let store = parse(&text).expect("the page is right").section("store");

    let sealer = store.tune(ChildSpec::process("sealer", || Idle));
    let partitions = store.tune(ChildSpec::process("partitions", || Idle));
    let below =
        store.tune(ChildSpec::supervisor("below", SupervisorSpec::new(Strategy::OneForAll)));

    assert_eq!(sealer.shutdown, Shutdown::Timeout(Duration::from_millis(80)));
    assert_eq!(sealer.restart, Restart::Temporary);
    assert_eq!(partitions.shutdown, Shutdown::Timeout(Duration::from_millis(70)));
    assert_eq!(partitions.restart, Restart::Permanent);
    assert_eq!(below.shutdown, Shutdown::Infinity);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    check(
        &format!("[store]\nmax_restart = 5 # too many\n{DOMAINS}"),
        &[
            "supervision.toml:2: unknown key `max_restart`; did you mean `max_restarts`?",
            "    max_restart = 5 # too many",
        ],
    );
}

#[test]
fn a_name_near_to_none_is_refused_with_all_of_them() {
    check(
        &format!("{DOMAINS}[domain.payroll.colour]\n"),
        &[
            "supervision.toml:3: unknown key `colour`; expected one of `in_flight_max`, \
             `max_restarts`, `max_seconds`, `memory_max_mb`, `placement`, `queue_global_limit`, \
             `queue_limit`, `queue_partition_by`, `queue_partition_limit`, \
             `queue_partition_rate_limit`, `queue_rate_limit`, `queue_rate_period_ms`, \
             `replace_after_ms`, `runtime`, `shutdown_ms`, `statement_timeout_ms`, `strategy`, \
             `threads`, `watchdog_ms`",
            "    [domain.payroll.colour]",
        ],
    );
}

#[test]
fn what_limits_a_queue_over_all_nodes_is_read_and_differs() {
    let text = "queue_global_limit = 50
queue_partition_by = \"args.client.id\"
queue_partition_limit = 5
queue_rate_limit = 100
queue_rate_period_ms = 10_000
";
    let before = parse(DOMAINS).expect("right");
    let after = parse(&format!("[domain.recruit]\n{text}[domain.payroll]\n")).expect("right");

    let queue = after.domain("recruit").queue;
    let told: Vec<String> = before
        .differences(&after, &known())
        .iter()
        .map(|found| format!("{} {} -> {}", found.key, found.before, found.after))
        .collect();

    assert_eq!((queue.global_limit, queue.partition_limit), (Some(50), Some(5)));
    assert_eq!(queue.partition_by.as_deref(), Some("args.client.id"));
    assert_eq!(queue.rate_period, Some(Duration::from_secs(10)));
    assert_eq!(after.domain("payroll").queue, QueueTuning::default());
    assert_eq!(
        told,
        [
            "queue_global_limit none -> 50",
            "queue_partition_by none -> args.client.id",
            "queue_partition_limit none -> 5",
            "queue_rate_limit none -> 100",
            "queue_rate_period_ms none -> 10000",
        ]
    );
}

#[test]
fn a_limit_that_says_nothing_or_nonsense_is_refused() {
    check(
        "[domain.recruit]
queue_global_limit = 0
queue_partition_by = 'organization'
queue_gobal_limit = 3
[domain.payroll]
queue_partition_limit = 3
",
        &[
            "supervision.toml:2: `queue_global_limit` must be an integer from 1 to 1000000, not 0",
            "    queue_global_limit = 0",
            "supervision.toml:3: `queue_partition_by` cannot be `organization`; did you mean \
             `organisation`?",
            "    queue_partition_by = 'organization'",
            "supervision.toml:4: unknown key `queue_gobal_limit`; did you mean \
             `queue_global_limit`?",
            "    queue_gobal_limit = 3",
            "supervision.toml:5: `queue_partition_limit` says nothing without \
             `queue_partition_by`; write that too, or leave it out",
            "    [domain.payroll]",
        ],
    );
}

#[test]
fn how_the_edge_empties_itself_is_read_and_differs() {
    let known = known().section("edge", [] as [&str; 0]);
    let read = |text: &str| {
        let text = format!("{text}{DOMAINS}");
        Tuning::parse(&text, "supervision.toml", &known).expect("the page is right")
    };
    let usual = read("[edge]\n");
    let gentle = read("[edge]\ndrain_batch = 500\ndrain_interval_ms = 1_000\n");

    assert_eq!(usual.draining(), DrainTuning::default());
    let expected = DrainTuning { batch: 500, interval: Duration::from_secs(1) };
    assert_eq!(gentle.draining(), expected);
    let changed = usual.differences(&gentle, &known);
    let changed: Vec<_> = changed.iter().map(|one| (one.key, one.after.as_str())).collect();
    assert_eq!(changed, [("drain_batch", "500"), ("drain_interval_ms", "1000")]);
}

#[test]
fn an_edge_that_would_never_be_empty_is_refused() {
    let known = known().section("edge", [] as [&str; 0]);

    check_with(
        &format!("[edge]\ndrain_batch = 99\ndrain_interval_ms = 3_001\n{DOMAINS}"),
        &known,
        &[
            "supervision.toml:2: `drain_batch` must be an integer from 100 to 20000, not 99",
            "    drain_batch = 99",
            "supervision.toml:3: `drain_interval_ms` must be an integer from 0 to 3000, not 3001",
            "    drain_interval_ms = 3_001",
        ],
    );
}

#[test]
fn an_unknown_table_domain_or_child_is_refused_with_the_nearest_one() {
    check(
        &format!(
            "[stroe]\n{DOMAINS}[domain.pay_roll]\n[domain.recruit.child.scoring]\npool = 1\n\
             [store.child.seeler]\n"
        ),
        &[
            "supervision.toml:1: unknown table `stroe`; did you mean `store`?",
            "    [stroe]",
            "supervision.toml:4: unknown domain `pay_roll`; did you mean `payroll`?",
            "    [domain.pay_roll]",
            "supervision.toml:5: unknown child `scoring`; did you mean `scoring_engine`?",
            "    [domain.recruit.child.scoring]",
            "supervision.toml:7: unknown child `seeler`; did you mean `sealer`?",
            "    [store.child.seeler]",
        ],
    );
}

#[test]
fn a_key_of_another_kind_of_table_is_refused() {
    check(
        &format!("[store]\npool = 2\n{DOMAINS}[domain.recruit.child.pool_refresh]\nstrategy = 1"),
        &[
            "supervision.toml:2: unknown key `pool`; expected one of `child`, `max_restarts`, \
             `max_seconds`, `shutdown_ms`, `strategy`",
            "    pool = 2",
            "supervision.toml:6: unknown key `strategy`; expected one of `interval_ms`, `pool`, \
             `restart`, `shutdown_ms`",
            "    strategy = 1",
        ],
    );
}

#[test]
fn a_missing_domain_is_refused() {
    check(
        "[store]\n\n[domain.recruit]\n",
        &["supervision.toml:3: domain `payroll` is missing; add a table `[domain.payroll]`, \
           empty if the defaults suit it"],
    );
}

#[test]
fn a_value_of_the_wrong_type_or_range_is_refused_with_what_was_found() {
    check(
        &format!(
            "[defaults]\nmax_restarts = 'three'\nqueue_limit = 0\nmax_seconds = 1.5\n\
             shutdown_ms = -1\nstrategy = true\n{DOMAINS}"
        ),
        &[
            "supervision.toml:2: `max_restarts` must be an integer from 0 to 1000, not the text \
             \"three\"",
            "    max_restarts = 'three'",
            "supervision.toml:3: `queue_limit` must be an integer from 1 to 1000, not 0",
            "    queue_limit = 0",
            "supervision.toml:4: `max_seconds` must be an integer from 1 to 86400, not the \
             number 1.5",
            "    max_seconds = 1.5",
            "supervision.toml:5: `shutdown_ms` must be an integer from 0 to 600000, not -1",
            "    shutdown_ms = -1",
            "supervision.toml:6: `strategy` must be one of \"one_for_one\", \"rest_for_one\", \
             \"one_for_all\", not true",
            "    strategy = true",
        ],
    );
}

#[test]
fn an_unknown_word_is_refused_with_the_nearest_one() {
    check(
        &format!("[domains]\nstrategy = 'one_for_al'\non_give_up = 'quarantin'\n{DOMAINS}"),
        &[
            "supervision.toml:2: `strategy` cannot be `one_for_al`; did you mean `one_for_all`?",
            "    strategy = 'one_for_al'",
            "supervision.toml:3: `on_give_up` cannot be `quarantin`; did you mean `quarantine`?",
            "    on_give_up = 'quarantin'",
        ],
    );
}

#[test]
fn a_schedule_that_shortens_is_refused() {
    check(
        &format!("[domains]\nquarantine_ms = [5, 1]\n{DOMAINS}"),
        &[
            "supervision.toml:2: `quarantine_ms` must be a list of 1 to 16 waits in milliseconds \
             from 1 to 86400000, none shorter than the one before, not [5, 1]",
            "    quarantine_ms = [5, 1]",
        ],
    );
}

#[test]
fn a_domain_may_be_placed_in_a_process_with_bounded_memory() {
    let page = "[domain.recruit]\n[domain.payroll]\nplacement = 'process'\nmemory_max_mb = 512\n";

    let tuning = Tuning::parse(page, "supervision.toml", &known()).expect("a valid page");

    let (recruit, payroll) = (tuning.domain("recruit"), tuning.domain("payroll"));
    assert_eq!((recruit.placement, recruit.memory_max), (Placement::Platform, None));
    assert_eq!((payroll.placement, payroll.memory_max), (Placement::Process, Some(512 << 20)));
}

#[test]
fn a_placement_that_cannot_be_is_refused() {
    check_with(
        "[domain.recruit]\nmemory_max_mb = 512\n[domain.payroll]\nplacement = 'process'\n",
        &known().at_home("payroll"),
        &[
            "supervision.toml:1: `memory_max_mb` bounds a process of the domain's own; write \
             `placement = \"process\"` too, or leave it out",
            "    [domain.recruit]",
            "supervision.toml:3: `payroll` works on the tree itself and cannot have `placement = \
             \"process\"`; leave it out",
            "    [domain.payroll]",
        ],
    );
}

#[test]
fn threads_without_a_runtime_of_their_own_are_refused() {
    check(
        "[domain.recruit]\nthreads = 4\n[domain.payroll]\nruntime = 'dedicted'\n",
        &[
            "supervision.toml:1: `threads` are a domain's own; write `runtime = \"dedicated\"` \
             too, or leave it out",
            "    [domain.recruit]",
            "supervision.toml:4: `runtime` cannot be `dedicted`; did you mean `dedicated`?",
            "    runtime = 'dedicted'",
        ],
    );
}

#[test]
fn a_domain_on_threads_of_its_own_is_watched_and_one_on_shared_ones_if_the_page_says_so() {
    let watch = |keys: &str| {
        let text = format!("[domain.recruit]\n{keys}\n[domain.payroll]\n");
        let recruit = parse(&text).expect("the page is right").domain("recruit");
        (recruit.threads, recruit.watchdog)
    };
    let ms = Duration::from_millis;

    assert_eq!(watch(""), (None, None));
    assert_eq!(watch("runtime = 'dedicated'"), (Some(2), Some(Watchdog::default())));
    let limits = "runtime = 'dedicated'\nthreads = 1\nwatchdog_ms = 20\nreplace_after_ms = 90";
    let strict = Watchdog::default().report_after(ms(20)).replace_after(ms(90));
    assert_eq!(watch(limits), (Some(1), Some(strict)));
    let lenient = "runtime = 'dedicated'\nreplace_after_ms = 0";
    assert_eq!(watch(lenient), (Some(2), Some(Watchdog::report_only())));
    let told = Watchdog::report_only().report_after(ms(70));
    assert_eq!(watch("watchdog_ms = 70"), (None, Some(told)));
}

#[test]
fn a_value_where_a_table_belongs_is_refused() {
    check(
        "store = 5\n[domain]\nrecruit = 'fine'\npayroll = {}\n",
        &[
            "supervision.toml:1: `store` must be a table, not 5",
            "    store = 5",
            "supervision.toml:3: `recruit` must be a table, not the text \"fine\"",
            "    recruit = 'fine'",
        ],
    );
}

#[test]
fn a_table_written_twice_and_broken_toml_are_refused_with_their_line() {
    let twice = parse(&format!("{DOMAINS}\n[domain.recruit]\n")).expect_err("written twice");
    let broken = parse("[defaults]\nmax_restarts = \n").expect_err("not TOML");

    assert_eq!((twice.0[0].line, twice.0[0].text.as_str()), (4, "[domain.recruit]"));
    assert!(twice.0[0].message.contains("duplicate key"), "{twice}");
    assert_eq!((broken.0[0].line, broken.0[0].text.as_str()), (2, "max_restarts ="));
}

#[test]
fn another_page_differs_in_what_it_says_and_in_what_its_defaults_say_for_it() {
    let before = format!("[defaults]\nmax_restarts = 3\n[store]\nmax_restarts = 9\n{DOMAINS}");
    let after = "
[defaults]
max_restarts = 4
[store]
max_restarts = 9
[store.child.sealer]
shutdown_ms = 70
[domains]
quarantine_ms = [10, 20]
[domain.recruit]
queue_limit = 11
[domain.recruit.child.scoring_engine]
pool = 8
[domain.payroll]
max_restarts = 3
";
    let (before, after) = (parse(&before).expect("right"), parse(after).expect("right"));

    let found = before.differences(&after, &known());
    let told: Vec<String> = found
        .iter()
        .map(|found| format!("{} {} {} -> {}", found.table, found.key, found.before, found.after))
        .collect();

    assert_eq!(
        told,
        [
            "domains max_restarts 3 -> 4",
            "domains quarantine_ms [1000, 5000, 30000, 300000] -> [10, 20]",
            "root max_restarts 3 -> 4",
            "store.child.sealer shutdown_ms as built -> 70",
            "domain.recruit max_restarts 3 -> 4",
            "domain.recruit queue_limit 10 -> 11",
            "domain.recruit.child.scoring_engine pool as built -> 8",
        ]
    );
    assert_eq!(before.differences(&before, &known()), []);
}

#[test]
fn a_part_of_the_runtime_stops_as_its_code_says_unless_its_own_tables_say_otherwise() {
    struct Idle;
    impl crate::Process for Idle {
        async fn run(&mut self, _: &crate::RunContext) -> Result<(), crate::ExitReason> {
            Ok(())
        }
    }
    let built = Shutdown::Timeout(Duration::from_secs(77));
    let child = |id: &'static str| ChildSpec::process(id, || Idle).shutdown(built);
    let silent = parse(&format!("[defaults]\nshutdown_ms = 1\n{DOMAINS}")).expect("right");
    let speaking =
        format!("[store]\nshutdown_ms = 2\n[store.child.sealer]\nshutdown_ms = 0\n{DOMAINS}");
    let speaking = parse(&speaking).expect("right").section("store");

    assert_eq!(silent.section("store").tune_part(child("sealer")).shutdown, built);
    let two = Shutdown::Timeout(Duration::from_millis(2));
    assert_eq!(speaking.tune_part(child("partitions")).shutdown, two);
    assert_eq!(speaking.tune_part(child("sealer")).shutdown, Shutdown::BrutalKill);
}

/// A page with something of every kind.
const PAGE: &str = "\
[defaults]
max_restarts = 3
[store]
strategy = \"rest_for_one\" # as they build upon each other
[store.child.sealer]
interval_ms = 500
[domains]
quarantine_ms = [1_000, 5_000]
[domain.recruit]
runtime = 'shared'
[domain.recruit.child]
scoring_engine = { pool = 4, shutdown_ms = 0 }
[domain.payroll]
";

/// What somebody in a hurry leaves behind.
const SLIPS: &[&str] = &[
    "[",
    "]",
    "[[",
    "=",
    ".",
    "\"",
    "'''",
    "{",
    "}",
    ",",
    "#",
    "\\",
    "\n",
    "\r",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "-1",
    "1e999",
    "nan",
    "9223372036854775808",
    "1979-05-27",
    "true",
    "child",
    "[domain.recruit]\n",
    "[domain.pay]\n",
    "max_restart = 1\n",
    "on_give_up = 'x'\n",
];

proptest::proptest! {
    #[test]
    fn a_page_with_slips_is_read_or_refused_with_its_lines(
        slips in proptest::collection::vec((0..PAGE.len(), 0_usize..4, 0..SLIPS.len()), 1..6),
    ) {
        let mut page = PAGE.to_owned();
        for (place, lost, slip) in slips {
            let place = page.floor_char_boundary(place.min(page.len()));
            let end = page.ceil_char_boundary((place + lost).min(page.len()));
            page.replace_range(place..end, SLIPS[slip]);
        }

        let errors = parse(&page).err().map(|errors| errors.0);

        for error in errors.iter().flatten() {
            let said = error.to_string();
            let place = format!("supervision.toml:{}: ", error.line);
            proptest::prop_assert!(said.starts_with(&place) && said.len() > place.len(), "{said}");
            proptest::prop_assert!(error.line <= page.split('\n').count(), "{said}");
        }
        proptest::prop_assert!(errors.is_none_or(|errors| !errors.is_empty()));
    }
}
