//! Processes that hold their thread: named, replaced, and harmless afterwards.

use std::sync::Mutex;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use otp::{
    Bulkhead, ChildSpec, Clock, ExitReason, Process, Root, RunContext, Shutdown, StartError,
    Strategy, SupervisionEventKind as Kind, Tree, Watchdog,
};
use tokio::sync::oneshot;

use crate::holding::{Holder, Released, Task, hold, holder, mortal};
use crate::stage::{Journal, SECOND, count, event, patient, restarted, start, worker};

const PATH: &str = "root/busy/one";

/// A supervisor called `busy` with `children`, behind a bulkhead of `threads`.
fn busy(threads: usize, children: impl IntoIterator<Item = ChildSpec>) -> ChildSpec {
    let spec = patient(Strategy::OneForOne).children(children);
    ChildSpec::supervisor("busy", spec).bulkhead(Bulkhead::new("busy", threads))
}

fn is_overstay(kind: &Kind) -> bool {
    matches!(kind, Kind::Overstayed { .. })
}

fn is_not_replaced(kind: &Kind) -> bool {
    matches!(kind, Kind::NotReplaced { .. })
}

async fn thread_of(tree: &Tree, path: &str) -> String {
    tree.whereis::<Task>(path).unwrap().call(Task::Thread, SECOND).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_overstays_is_named_with_what_it_is_at_and_where_it_comes_from() {
    let line = line!() + 1;
    let child = holder("one");
    let root = start(patient(Strategy::OneForOne).child(busy(1, [child]))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    let released = hold(&tree, PATH, Holder::spin()).await;
    let event = event(&mut events, PATH, is_overstay).await;
    drop(released);

    let Kind::Overstayed { message, for_ms, spawned_at, ancestors } = event.kind.clone() else {
        unreachable!();
    };
    assert_eq!(message, "hold");
    assert!((50..70).contains(&for_ms), "{for_ms} ms");
    let place = format!("{}:{line}:", file!());
    assert!(spawned_at.as_ref().unwrap().starts_with(&place), "{spawned_at:?} is not {place}");
    assert_eq!(ancestors, ["root", "root/busy"]);
    root.stop().await;
}

/// Every place with what an exit would change.
fn picture(tree: &Tree) -> Vec<String> {
    let line = |node: &otp::Node| {
        format!("{} {:?} {} {:?}", node.path, node.status, node.incarnation, node.last_exit_at)
    };
    tree.snapshot().walk().into_iter().map(line).collect()
}

/// Whatever it holds its thread with.
async fn who_overstays_is_replaced(by: (Holder, Released), threads: usize) {
    let (ended, has_ended) = mpsc::channel();
    let child = busy(threads, [mortal("one", ended), holder("two")]);
    let spec = patient(Strategy::OneForOne).child(child).child(worker(&Journal::default(), "free"));
    let root = start(spec).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let stuck = tree.pid(PATH).unwrap();

    let released = hold(&tree, PATH, by).await;
    let restart = restarted(&mut events, "root/busy").await;

    let reason = stuck.gone().await.to_string();
    assert!(reason.starts_with("error:abandoned: root/busy/one overstayed "), "{reason}");
    assert!(restart.touched.is_empty());
    assert_eq!(thread_of(&tree, PATH).await.rsplit_once('-').unwrap().0, "busy");
    assert_eq!(count(&tree, "root/free").await, 1);
    let before = (picture(&tree), tree.history().len());
    drop(released);
    tokio::task::spawn_blocking(move || has_ended.recv()).await.unwrap().unwrap();
    assert!(tree.pid(PATH).unwrap().is_alive());
    assert_eq!((picture(&tree), tree.history().len()), before);
    assert_eq!(tree.find(PATH).unwrap().incarnation, 2);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_spins_is_replaced_on_new_threads_and_changes_nothing_when_it_wakes() {
    who_overstays_is_replaced(Holder::spin(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_is_replaced_on_new_threads_and_changes_nothing_when_it_wakes() {
    who_overstays_is_replaced(Holder::block(), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_that_only_reports_replaces_nothing() {
    let watchdog = Watchdog::report_only().report_after(Duration::from_millis(20));
    let root =
        start(patient(Strategy::OneForOne).child(busy(2, [holder("one")]).watchdog(watchdog)))
            .await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    let released = hold(&tree, PATH, Holder::spin()).await;
    event(&mut events, PATH, is_overstay).await;
    drop(released);
    let thread = thread_of(&tree, PATH).await;
    let released = hold(&tree, PATH, Holder::spin()).await;
    event(&mut events, PATH, is_overstay).await;
    drop(released);

    assert!(thread.starts_with("busy-"));
    assert_eq!(tree.find(PATH).unwrap().incarnation, 1);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_threads_are_left_behind_than_allowed() {
    let limits = Watchdog::default().replace_after(Duration::from_millis(60)).abandoned_max(1);
    let root =
        start(patient(Strategy::OneForOne).child(busy(1, [holder("one")]).watchdog(limits))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    let first = hold(&tree, PATH, Holder::spin()).await;
    restarted(&mut events, "root/busy").await;
    let second = hold(&tree, PATH, Holder::block()).await;
    let left = event(&mut events, PATH, is_not_replaced).await;
    drop(first);
    restarted(&mut events, "root/busy").await;
    drop(second);

    let why = "1 threads were left behind before and 1 would be; the limit is 1".to_owned();
    assert_eq!(left.kind, Kind::NotReplaced { why });
    assert_eq!(thread_of(&tree, PATH).await, "busy-0");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_with_threads_left_behind_or_held_still_stops() {
    let limits = Watchdog::default().replace_after(Duration::from_millis(60)).abandoned_max(1);
    let one = holder("one").shutdown(Shutdown::BrutalKill);
    let root = start(patient(Strategy::OneForOne).child(busy(1, [one]).watchdog(limits))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    let left_behind = hold(&tree, PATH, Holder::spin()).await;
    restarted(&mut events, "root/busy").await;
    let held = hold(&tree, PATH, Holder::spin()).await;
    let reason = root.stop().await;
    drop((left_behind, held));

    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!(tree.pid(PATH), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_without_a_bulkhead_is_replaced_alone() {
    let (ended, has_ended) = mpsc::channel();
    let watched = mortal("one", ended).watchdog(Watchdog::default());
    let root = start(
        patient(Strategy::OneForAll).child(watched).child(worker(&Journal::default(), "other")),
    )
    .await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let stuck = tree.pid("root/one").unwrap();

    let released = hold(&tree, "root/one", Holder::spin()).await;
    restarted(&mut events, "root/one").await;
    let successor = tree.pid("root/one").unwrap();
    let touched = tree.find("root/other").unwrap().incarnation;
    drop(released);
    tokio::task::spawn_blocking(move || has_ended.recv()).await.unwrap().unwrap();

    assert!(stuck.exit_reason().unwrap().to_string().starts_with("error:abandoned: root/one"));
    assert_eq!((successor.incarnation(), touched), (2, 2));
    assert_eq!(tree.pid("root/one"), Some(successor));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_spins_behind_a_bulkhead_fails_instead_of_hanging() {
    let (holder, released) = Holder::spin();
    let holder = Arc::new(Mutex::new(Some(holder)));
    let spinning = ChildSpec::process("spinning", move || Spinning(holder.lock().unwrap().take()));
    let spec = patient(Strategy::OneForOne).child(busy(1, [spinning]));

    let error = Root::start(spec, Clock::system()).await.err().unwrap().to_string();
    drop(released);

    let said = "child \"busy\" failed to start: abandoned: root/busy/spinning overstayed ";
    assert!(error.starts_with(said), "{error}");
    assert!(error.ends_with(" ms in init"), "{error}");
}

/// Spins while it starts, the first time.
struct Spinning(Option<Holder>);

impl Process for Spinning {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if let Some(holder) = self.0.take() {
            holder.hold();
        }
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_awaits_is_never_late() {
    let root = start(
        patient(Strategy::OneForOne)
            .child(busy(1, [worker(&Journal::default(), "waiting"), holder("one")])),
    )
    .await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let (entered, was_entered) = oneshot::channel();
    let (done, is_done) = oneshot::channel();

    let waiting = crate::stage::actor(&tree, "root/busy/waiting");
    waiting.cast(crate::stage::Ask::Busy(entered, is_done)).unwrap();
    was_entered.await.unwrap();
    let released = hold(&tree, PATH, Holder::spin()).await;
    event(&mut events, PATH, is_overstay).await;
    drop((done, released));

    let late = |path: &str| {
        tree.history().iter().filter(|event| event.path == path && is_overstay(&event.kind)).count()
    };
    assert_eq!((late("root/busy/waiting"), late(PATH)), (0, 1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulkhead_within_a_bulkhead_is_given_up_with_it() {
    let inner = ChildSpec::worker("inner", || Held).bulkhead(Bulkhead::new("inner", 1));
    let root = start(patient(Strategy::OneForOne).child(busy(1, [holder("one"), inner]))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let before = tree.pid("root/busy/inner").unwrap();

    let released = hold(&tree, PATH, Holder::spin()).await;
    restarted(&mut events, "root/busy").await;
    drop(released);

    let reason = before.gone().await.to_string();
    let after = tree.pid("root/busy/inner").unwrap();
    assert!(reason.starts_with("error:abandoned: root/busy/one"), "{reason}");
    assert_eq!((after.incarnation(), after.is_alive()), (2, true));
    root.stop().await;
}

struct Held;

impl otp::Actor for Held {
    type Message = ();

    async fn handle(&mut self, (): (), _: &otp::Context<()>) -> Result<(), ExitReason> {
        Ok(())
    }
}
