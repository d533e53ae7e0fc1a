//! A subtree that collapses is left down for a while; nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otp::{
    ChildSpec, ExitReason, Intensity, Process, QuarantineSchedule, Root, RunContext, Status,
    Strategy, SupervisionEventKind as Kind, SupervisorSpec, TreeError,
};

use super::stage::{Journal, SECOND, count, event, patient, restarted, start, worker};

/// Fails for as long as the world is bad.
struct Fragile(Arc<AtomicBool>);

impl Process for Fragile {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        if self.0.load(Ordering::Relaxed) {
            return Err(ExitReason::failed("bad world"));
        }
        context.stopping().await;
        Ok(())
    }
}

/// A fragile domain beside a sound one, under a supervisor that tolerates no restart itself.
async fn world(schedule_ms: &[u64]) -> (Root, Arc<AtomicBool>) {
    let is_bad = Arc::new(AtomicBool::new(false));
    let seen = is_bad.clone();
    let fragile = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(2, SECOND))
        .child(ChildSpec::process("engine", move || Fragile(seen.clone())));
    let sound = patient(Strategy::OneForOne).child(worker(&Journal::default(), "engine"));
    let domains = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(0, SECOND))
        .quarantine(QuarantineSchedule::milliseconds(schedule_ms))
        .child(ChildSpec::supervisor("fragile", fragile))
        .child(ChildSpec::supervisor("sound", sound));
    let root = start(
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(0, SECOND))
            .child(ChildSpec::supervisor("domains", domains)),
    )
    .await;
    (root, is_bad)
}

const FRAGILE: &str = "root/domains/fragile";

const fn is_quarantined(kind: &Kind) -> bool {
    matches!(kind, Kind::Quarantined { .. })
}

#[tokio::test(start_paused = true)]
async fn a_collapse_is_tried_again_on_a_lengthening_schedule_and_touches_nobody() {
    let (root, is_bad) = world(&[100, 1_000]).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let before = tokio::time::Instant::now();
    let sound = count(&tree, "root/domains/sound/engine").await;

    is_bad.store(true, Ordering::Relaxed);
    tree.kill("root/domains/fragile/engine").unwrap();
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let event = event(&mut events, FRAGILE, is_quarantined).await;
        let Kind::Quarantined { round, .. } = event.kind else { unreachable!() };
        rounds.push((round, before.elapsed().as_millis()));
    }
    is_bad.store(false, Ordering::Relaxed);
    let healed = restarted(&mut events, FRAGILE).await;

    assert_eq!(rounds, [(1, 0), (2, 100), (3, 1_100), (4, 2_100)]);
    assert_eq!(before.elapsed().as_millis(), 3_100);
    assert!(healed.touched.is_empty() && healed.cause.is_some());
    assert_eq!(count(&tree, "root/domains/sound/engine").await, sound + 1);
    assert_eq!(tree.find("root/domains").unwrap().incarnation, 1);
}

#[tokio::test(start_paused = true)]
async fn what_stayed_up_for_as_long_as_the_longest_wait_begins_with_the_shortest_again() {
    let (root, is_bad) = world(&[100, 1_000]).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let collapse = || {
        is_bad.store(true, Ordering::Relaxed);
        tree.kill("root/domains/fragile/engine").unwrap();
    };

    let mut rounds = Vec::new();
    for pause in [Duration::ZERO, Duration::from_millis(900), SECOND] {
        tokio::time::sleep(pause).await;
        collapse();
        let event = event(&mut events, FRAGILE, is_quarantined).await;
        is_bad.store(false, Ordering::Relaxed);
        restarted(&mut events, FRAGILE).await;
        let Kind::Quarantined { round, .. } = event.kind else { unreachable!() };
        rounds.push(round);
    }

    assert_eq!(rounds, [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_lifts_the_quarantine_need_not_wait() {
    let (root, is_bad) = world(&[60_000]).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let before = tokio::time::Instant::now();
    is_bad.store(true, Ordering::Relaxed);
    tree.kill("root/domains/fragile/engine").unwrap();
    event(&mut events, FRAGILE, is_quarantined).await;
    let down = tree.find(FRAGILE).unwrap();

    is_bad.store(false, Ordering::Relaxed);
    tree.lift_quarantine(FRAGILE).unwrap();
    restarted(&mut events, FRAGILE).await;

    let up = tree.find(FRAGILE).unwrap();
    assert_eq!((down.status, down.quarantined_until.is_some()), (Status::Quarantined, true));
    assert_eq!((up.status, up.quarantined_until), (Status::Running, None));
    assert!(before.elapsed() < SECOND);
    let again = tree.lift_quarantine(FRAGILE);
    assert_eq!(again, Err(TreeError::NotQuarantined { path: FRAGILE.to_owned() }));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_killed_too_often_is_quarantined_instead_of_taking_its_supervisor_along() {
    let (root, _) = world(&[100]).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    tree.kill(FRAGILE).unwrap();
    event(&mut events, FRAGILE, is_quarantined).await;
    restarted(&mut events, FRAGILE).await;

    assert_eq!(tree.find("root/domains").unwrap().incarnation, 1);
    assert_eq!(tree.find("root/domains/sound").unwrap().incarnation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_takes_all_others_along_leaves_what_is_in_quarantine_there() {
    let journal = Journal::default();
    let fragile = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(0, SECOND))
        .child(worker(&journal, "engine"));
    let spec = patient(Strategy::OneForAll)
        .quarantine(QuarantineSchedule::milliseconds(&[10_000]))
        .child(worker(&journal, "sound"))
        .child(ChildSpec::supervisor("fragile", fragile));
    let tree = start(spec).await.tree();
    let mut events = tree.subscribe();
    tree.kill("root/fragile/engine").unwrap();
    event(&mut events, "root/fragile", |kind| matches!(kind, Kind::Quarantined { .. })).await;

    tree.kill("root/sound").unwrap();
    restarted(&mut events, "root/sound").await;
    let meanwhile = tree.find("root/fragile").unwrap().status;
    restarted(&mut events, "root/fragile").await;

    assert_eq!(meanwhile, Status::Quarantined);
    assert_eq!(tree.find("root/fragile").unwrap().status, Status::Running);
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_without_an_end_can_still_be_lifted() {
    let fragile = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(0, SECOND))
        .child(worker(&Journal::default(), "engine"));
    let spec = patient(Strategy::OneForOne)
        .quarantine(QuarantineSchedule::new([Duration::MAX]))
        .child(ChildSpec::supervisor("fragile", fragile));
    let tree = start(spec).await.tree();
    let mut events = tree.subscribe();
    tree.kill("root/fragile/engine").unwrap();
    event(&mut events, "root/fragile", |kind| matches!(kind, Kind::Quarantined { .. })).await;

    tree.lift_quarantine("root/fragile").unwrap();

    restarted(&mut events, "root/fragile").await;
}
