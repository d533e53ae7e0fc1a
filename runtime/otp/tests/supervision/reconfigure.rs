//! A supervisor that is given another specification while it runs.
//!
//! The cases are those of `supervisor_SUITE` (`code_change*`, `significant_upgrade_*`), with the
//! outcomes of OTP 25. The last one asks a real Erlang, where there is one.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otp::{
    AutoShutdown, ChildSpec, ChildState, DynamicSupervisor, ExitReason, Intensity, Node, Process,
    QuarantineSchedule, RequestError, Restart, Root, RunContext, Shutdown, SpecError, StartError,
    Status, Strategy, SupervisionEventKind as Kind, SupervisorRef, SupervisorSpec,
};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::stage::{
    Ask, Journal, SECOND, actor, event, patient, restarted, slow_worker, start, worker,
};

fn supervisor(root: &Root) -> SupervisorRef {
    root.supervisor().unwrap()
}

fn workers(journal: &Journal, names: &[&'static str]) -> Vec<ChildSpec> {
    names.iter().map(|name| worker(journal, name)).collect()
}

async fn ids(supervisor: &SupervisorRef) -> Vec<(String, bool)> {
    let children = supervisor.which_children().await.unwrap();
    let is_up = |state: &ChildState| matches!(state, ChildState::Running(_));
    children.into_iter().rev().map(|child| (child.id, is_up(&child.state))).collect()
}

fn incarnations(node: &Node) -> Vec<(String, u64)> {
    node.children.iter().map(|child| (child.id.clone(), child.incarnation)).collect()
}

#[tokio::test]
async fn known_children_keep_their_processes_and_new_ones_are_listed_in_their_place_not_started() {
    let journal = Journal::default();
    let spec = patient(Strategy::RestForOne).children(workers(&journal, &["a", "b", "c"]));
    let root = start(spec).await;
    journal.take();

    let next = patient(Strategy::RestForOne).children(workers(&journal, &["d", "c", "x", "a"]));
    let changes = supervisor(&root).reconfigure(next).await.unwrap();

    let listed = [("d", false), ("c", true), ("x", false), ("a", true), ("b", true)];
    assert_eq!(ids(&supervisor(&root)).await, listed.map(|(id, up)| (id.to_owned(), up)));
    let drawn = [("d", 0), ("c", 1), ("x", 0), ("a", 1), ("b", 1)];
    assert_eq!(incarnations(&root.tree().snapshot()), drawn.map(|(id, n)| (id.to_owned(), n)));
    assert_eq!(root.tree().find("root/d").unwrap().status, Status::Stopped);
    assert_eq!((changes.added, changes.kept), (vec!["d".into(), "x".into()], vec!["b".into()]));
    assert_eq!(
        changes.replaced.iter().map(|child| &*child.after.id).collect::<Vec<_>>(),
        ["c", "a"]
    );
    assert_eq!(journal.take(), [""; 0]);
}

#[tokio::test]
async fn the_new_order_decides_who_builds_on_whom() {
    let journal = Journal::default();
    let spec = patient(Strategy::RestForOne).children(workers(&journal, &["a", "b", "c"]));
    let root = start(spec).await;
    let mut events = root.tree().subscribe();

    let next = patient(Strategy::RestForOne).children(workers(&journal, &["c", "n", "a"]));
    supervisor(&root).reconfigure(next).await.unwrap();
    journal.take();
    root.tree().kill("root/c").unwrap();
    restarted(&mut events, "root/b").await;

    let starts: Vec<_> =
        journal.take().into_iter().filter(|note| note.starts_with("start")).collect();
    assert_eq!(starts, ["start c", "start n", "start a", "start b"]);
}

#[tokio::test]
async fn the_flags_hold_from_the_next_exit_on() {
    let journal = Journal::default();
    let children = || workers(&journal, &["a", "b"]);
    let root = start(patient(Strategy::OneForOne).children(children())).await;
    let mut events = root.tree().subscribe();

    let next = patient(Strategy::OneForAll).children(children());
    let changes = supervisor(&root).reconfigure(next).await.unwrap();
    root.tree().kill("root/b").unwrap();
    restarted(&mut events, "root/a").await;

    assert_eq!(changes.before.strategy, Strategy::OneForOne);
    assert_eq!(changes.after.strategy, Strategy::OneForAll);
    assert_eq!(root.tree().snapshot().strategy, Some(Strategy::OneForAll));
}

#[tokio::test(start_paused = true)]
async fn restarts_counted_before_count_against_the_new_intensity() {
    let journal = Journal::default();
    let page = |max_restarts| {
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(max_restarts, SECOND))
            .child(worker(&journal, "a"))
    };
    let root = start(page(5)).await;
    let mut events = root.tree().subscribe();
    for _ in 0..3 {
        root.tree().kill("root/a").unwrap();
        restarted(&mut events, "root/a").await;
    }

    supervisor(&root).reconfigure(page(3)).await.unwrap();
    let shown = root.tree().snapshot();
    root.tree().kill("root/a").unwrap();

    assert_eq!(root.exited().await, ExitReason::Shutdown);
    assert_eq!((shown.max_restarts, shown.restarts_in_window), (Some(3), Some(3)));
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_and_changes_nothing() {
    let journal = Journal::default();
    let generous = patient(Strategy::OneForAll);
    let root = start(patient(Strategy::OneForOne).children(workers(&journal, &["a", "b"]))).await;
    let significant = worker(&journal, "a").restart(Restart::Transient).significant(true);
    let (listed, drawn) = (ids(&supervisor(&root)).await, root.tree().snapshot());
    let wrong = [
        generous.clone().children(workers(&journal, &["c", "a", "a"])),
        generous.clone().intensity(Intensity::new(1, Duration::ZERO)),
        generous.child(significant),
        SupervisorSpec::new(Strategy::SimpleOneForOne).child(worker(&journal, "a")),
        SupervisorSpec::dynamic(),
    ];

    let mut refused = Vec::new();
    for spec in wrong {
        refused.push(match supervisor(&root).reconfigure(spec).await {
            Err(RequestError::Refused(error)) => error,
            other => panic!("{other:?}"),
        });
    }

    let id = || "a".to_owned();
    assert_eq!(
        refused,
        [
            SpecError::DuplicateId { id: id() },
            SpecError::InvalidPeriod,
            SpecError::BadCombination { id: id() },
            SpecError::OtherKindOfSupervisor,
            SpecError::OtherKindOfSupervisor,
        ]
    );
    assert_eq!(ids(&supervisor(&root)).await, listed);
    assert_eq!(root.tree().snapshot(), drawn);
}

#[tokio::test]
async fn a_simple_supervisor_must_have_one_specification_and_restarts_instances_by_the_new_one() {
    let journal = Journal::default();
    let template = |restart| worker(&journal, "a").restart(restart);
    let simple = || patient(Strategy::SimpleOneForOne);
    let root = start(simple().child(template(Restart::Transient))).await;
    let mut events = root.tree().subscribe();
    let instance = supervisor(&root).start_instance("x").await.unwrap().unwrap();
    let path = instance.path().to_owned();

    let none = supervisor(&root).reconfigure(simple()).await;
    let two = simple().child(template(Restart::Permanent)).child(worker(&journal, "b"));
    let two = supervisor(&root).reconfigure(two).await;
    let changes =
        supervisor(&root).reconfigure(simple().child(template(Restart::Permanent))).await.unwrap();
    let still = instance.is_alive();
    actor(&root.tree(), &path).cast(Ask::End(ExitReason::Normal)).unwrap();
    restarted(&mut events, &path).await;

    let bad = |children| Err(RequestError::Refused(SpecError::BadStartSpec { children }));
    assert_eq!((none, two), (bad(0), bad(2)));
    assert!(still);
    assert_eq!(changes.replaced[0].before.restart, Restart::Transient);
    assert_eq!(changes.replaced[0].after.restart, Restart::Permanent);
}

#[tokio::test]
async fn a_dynamic_supervisor_keeps_its_children_and_takes_the_new_limit() {
    let journal = Journal::default();
    let pool = DynamicSupervisor::child("pool", Some(1));
    let root = start(patient(Strategy::OneForOne).child(pool)).await;
    let pool = root.tree().supervisor("root/pool").unwrap();
    let first = pool.start_child(worker(&journal, "a")).await.unwrap().unwrap();

    let changes = pool.reconfigure(SupervisorSpec::dynamic().max_children(2)).await.unwrap();
    pool.start_child(worker(&journal, "b")).await.unwrap();
    let third = pool.start_child(worker(&journal, "c")).await;

    assert!(first.is_alive());
    assert_eq!((changes.before.max_children, changes.after.max_children), (Some(1), Some(2)));
    assert_eq!(third, Err(RequestError::MaxChildren { limit: 2 }));
}

/// Ends one significant child and then the other; tells whether the supervisor was alive then.
async fn ends(from: AutoShutdown, to: AutoShutdown) -> [bool; 2] {
    let journal = Journal::default();
    let page = |mode| {
        let child = |name| {
            let significant = mode != AutoShutdown::Never;
            worker(&journal, name).restart(Restart::Transient).significant(significant)
        };
        SupervisorSpec::new(Strategy::OneForOne)
            .auto_shutdown(mode)
            .child(child("a"))
            .child(child("b"))
    };
    let root = start(page(from)).await;
    supervisor(&root).reconfigure(page(to)).await.unwrap();
    let mut alive = [false; 2];
    for (alive, path) in alive.iter_mut().zip(["root/a", "root/b"]) {
        let Some(pid) = root.tree().pid(path) else {
            break;
        };
        actor(&root.tree(), path).cast(Ask::End(ExitReason::Normal)).unwrap();
        pid.gone().await;
        // The supervisor answers behind the exit, or has ended because of it.
        *alive = match root.supervisor() {
            Some(supervisor) => supervisor.count_children().await.is_ok(),
            None => false,
        };
        if !*alive {
            assert_eq!(root.exited().await, ExitReason::Shutdown);
            break;
        }
    }
    alive
}

#[tokio::test]
async fn the_new_auto_shutdown_decides_about_later_exits() {
    use AutoShutdown::{AllSignificant, AnySignificant, Never};

    // significant_upgrade_any_never, all_never, never_any, all_any, never_all, any_all
    assert_eq!(ends(AnySignificant, Never).await, [true, true]);
    assert_eq!(ends(AllSignificant, Never).await, [true, true]);
    assert_eq!(ends(Never, AnySignificant).await, [false, false]);
    assert_eq!(ends(AllSignificant, AnySignificant).await, [false, false]);
    assert_eq!(ends(Never, AllSignificant).await, [true, false]);
    assert_eq!(ends(AnySignificant, AllSignificant).await, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_running_child_is_stopped_by_its_new_rule() {
    let journal = Journal::default();
    let page = |rule| {
        let farewell = Duration::from_hours(1);
        patient(Strategy::OneForOne).child(slow_worker(&journal, "a", farewell).shutdown(rule))
    };
    let root = start(page(Shutdown::Infinity)).await;

    supervisor(&root).reconfigure(page(Shutdown::Timeout(SECOND))).await.unwrap();
    let before = tokio::time::Instant::now();
    let shown = root.tree().find("root/a").unwrap().shutdown;
    root.stop().await;

    assert_eq!((before.elapsed(), shown), (SECOND, Shutdown::Timeout(SECOND)));
}

/// A process that cannot be started while somebody forbids it.
struct Moody(Arc<AtomicBool>);

impl Process for Moody {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if self.0.load(Ordering::Relaxed) { Err(StartError::failed("no")) } else { Ok(()) }
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

fn moody(id: &str, mood: &Arc<AtomicBool>) -> ChildSpec {
    let mood = Arc::clone(mood);
    ChildSpec::process(id, move || Moody(Arc::clone(&mood)))
}

#[tokio::test]
async fn a_restart_that_is_being_repeated_goes_on_under_the_new_order() {
    let (journal, mood) = (Journal::default(), Arc::new(AtomicBool::new(false)));
    let tireless =
        || SupervisorSpec::new(Strategy::OneForOne).intensity(Intensity::new(u32::MAX, SECOND));
    let root = start(tireless().child(moody("a", &mood)).child(worker(&journal, "b"))).await;
    let mut events = root.tree().subscribe();
    mood.store(true, Ordering::Relaxed);
    root.tree().kill("root/a").unwrap();
    event(&mut events, "root/a", |kind| matches!(kind, Kind::StartFailed { .. })).await;

    let next = tireless().child(worker(&journal, "b")).child(moody("a", &mood));
    supervisor(&root).reconfigure(next).await.unwrap();
    mood.store(false, Ordering::Relaxed);

    restarted(&mut events, "root/a").await;
    assert_eq!(root.tree().find("root/a").unwrap().incarnation, 2);
}

#[tokio::test(start_paused = true)]
async fn the_quarantine_follows_the_new_schedule_and_ends_where_there_is_none_any_more() {
    let mood = Arc::new(AtomicBool::new(false));
    let below = {
        let mood = Arc::clone(&mood);
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(0, SECOND))
            .child(moody("a", &mood))
    };
    let tireless = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(u32::MAX, SECOND))
        .child(ChildSpec::supervisor("below", below));
    let page = |waits| tireless.clone().quarantine(QuarantineSchedule::milliseconds(waits));
    let root = start(page(&[10_000])).await;
    let mut events = root.tree().subscribe();
    let quarantined = |kind: &Kind| matches!(kind, Kind::Quarantined { .. });

    let changes = supervisor(&root).reconfigure(page(&[70])).await.unwrap();
    mood.store(true, Ordering::Relaxed);
    let before = tokio::time::Instant::now();
    root.tree().kill("root/below/a").unwrap();
    event(&mut events, "root/below", quarantined).await;
    event(&mut events, "root/below", quarantined).await;
    let waited = before.elapsed();
    let dropped = supervisor(&root).reconfigure(tireless).await.unwrap();
    let failed = |kind: &Kind| matches!(kind, Kind::StartFailed { .. });
    event(&mut events, "root/below", failed).await;
    mood.store(false, Ordering::Relaxed);
    restarted(&mut events, "root/below").await;

    let wait = |wait| Some(QuarantineSchedule::milliseconds(&[wait]));
    assert_eq!((changes.before.quarantine, changes.after.quarantine), (wait(10_000), wait(70)));
    assert!((70..200).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(dropped.after.quarantine, None);
}

#[tokio::test]
async fn the_same_specification_again_changes_nothing_that_can_be_seen() {
    let journal = Journal::default();
    let page = || patient(Strategy::OneForOne).children(workers(&journal, &["a", "b"]));
    let root = start(page()).await;
    let drawn = root.tree().snapshot();

    let changes = supervisor(&root).reconfigure(page()).await.unwrap();

    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(root.tree().snapshot(), drawn);
}

const STRATEGIES: [(&str, Strategy); 4] = [
    ("one_for_one", Strategy::OneForOne),
    ("one_for_all", Strategy::OneForAll),
    ("rest_for_one", Strategy::RestForOne),
    ("simple_one_for_one", Strategy::SimpleOneForOne),
];
const RESTARTS: [(&str, Restart); 3] = [
    ("permanent", Restart::Permanent),
    ("transient", Restart::Transient),
    ("temporary", Restart::Temporary),
];

/// A page as both sides understand it: strategy, period in seconds, children with restart types.
#[derive(Clone, Debug)]
struct Page {
    strategy: usize,
    period: u64,
    children: Vec<(char, usize)>,
}

impl Page {
    fn text(&self) -> String {
        let children: Vec<String> = self
            .children
            .iter()
            .map(|(id, restart)| format!(" {id}:{}", RESTARTS[*restart].0))
            .collect();
        format!("{} {}{}", STRATEGIES[self.strategy].0, self.period, children.concat())
    }

    fn spec(&self) -> SupervisorSpec {
        let child = |(id, restart): &(char, usize)| {
            moody(&id.to_string(), &Arc::default()).restart(RESTARTS[*restart].1)
        };
        SupervisorSpec::new(STRATEGIES[self.strategy].1)
            .intensity(Intensity::new(3, Duration::from_secs(self.period)))
            .children(self.children.iter().map(child))
    }
}

/// What this crate says where the script says what Erlang does.
async fn ours(before: &Page, after: &Page) -> String {
    let root = start(before.spec()).await;
    let supervisor = supervisor(&root);
    if STRATEGIES[before.strategy].1 == Strategy::SimpleOneForOne {
        supervisor.start_instance("x").await.unwrap();
    }
    let outcome = supervisor.reconfigure(after.spec()).await;
    let mut words = vec![if outcome.is_ok() { "ok" } else { "error" }.to_owned()];
    for child in supervisor.which_children().await.unwrap() {
        let (state, name) = match child.state {
            ChildState::Running(pid) if child.id.contains('#') => ("up", pid.into()),
            ChildState::Running(_) => ("up", (&*child.id).into()),
            _ => ("down", (&*child.id).into()),
        };
        let name: otp::ChildName = name;
        let spec = supervisor.get_childspec(name).await.unwrap();
        let restart = RESTARTS.iter().find(|(_, restart)| *restart == spec.restart).unwrap().0;
        words.push(format!("{}:{restart}:{state}", spec.id));
    }
    root.stop().await;
    words.join(" ")
}

fn pages(count: usize) -> Vec<(Page, Page)> {
    let children = || proptest::collection::vec((0_u8..6, 0_usize..3), 0..6);
    let named = |children: Vec<(u8, usize)>| -> Vec<(char, usize)> {
        children.into_iter().map(|(id, restart)| (char::from(b'a' + id), restart)).collect()
    };
    let pair = (0_usize..4, 0_usize..3, 0_u64..12, children(), children()).prop_map(
        move |(first, second, period, before, after)| {
            let (mut before, after) = (named(before), named(after));
            before.sort_by_key(|(id, _)| u32::from(*id) * 7 % 5);
            let mut seen = std::collections::HashSet::new();
            before.retain(|(id, _)| seen.insert(*id));
            let is_simple = STRATEGIES[first].1 == Strategy::SimpleOneForOne;
            if is_simple {
                before = vec![('a', 0)];
            }
            let second = if is_simple { first } else { second };
            let before = Page { strategy: first, period: 5, children: before };
            (before, Page { strategy: second, period, children: after })
        },
    );
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| pair.new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test]
async fn a_real_erlang_lists_the_same_after_the_same_change() {
    const SCRIPT: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/supervision/code_change.escript");
    let spawned =
        Command::new("escript").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut erlang = match spawned {
        Ok(erlang) => erlang,
        Err(error) => {
            eprintln!("no Erlang to compare with: {error}");
            return;
        }
    };
    let pages = pages(400);
    let lines: Vec<String> = pages
        .iter()
        .map(|(before, after)| format!("{}|{}\n", before.text(), after.text()))
        .collect();
    erlang.stdin.take().unwrap().write_all(lines.concat().as_bytes()).unwrap();
    let output = erlang.wait_with_output().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<&str> = theirs.lines().collect();

    assert_eq!(theirs.len(), pages.len(), "the script ended early");
    assert!(theirs.iter().filter(|line| line.starts_with("ok")).count() > 100, "too few changes");
    for ((before, after), theirs) in pages.iter().zip(theirs) {
        assert_eq!(ours(before, after).await, theirs, "{} | {}", before.text(), after.text());
    }
}
