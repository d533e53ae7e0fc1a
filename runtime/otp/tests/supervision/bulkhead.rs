//! Subtrees on threads of their own: what is divided, and what is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use otp::{
    Actor, Bulkhead, BulkheadError, ChildSpec, Clock, Context, ExitReason, Process, Reply,
    RequestError, Root, RunContext, RuntimeKind, StartError, Strategy,
    SupervisionEventKind as Kind, SupervisorSpec, Tree, Watchdog,
};
use tokio::sync::oneshot;

use crate::holding::{Holder, Task, hold, holder};
use crate::stage::{Journal, SECOND, count, event, patient, restarted, start, worker};

/// A supervisor called `busy` behind `bulkhead`, with `children`.
fn busy(bulkhead: &Bulkhead, children: impl IntoIterator<Item = ChildSpec>) -> ChildSpec {
    let spec = patient(Strategy::OneForOne).children(children);
    ChildSpec::supervisor("busy", spec).bulkhead(bulkhead.clone())
}

async fn thread_of(tree: &Tree, path: &str) -> String {
    tree.whereis::<Task>(path).unwrap().call(Task::Thread, SECOND).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_spin_on_all_threads_of_a_bulkhead_do_not_delay_the_neighbours() {
    let bulkhead = Bulkhead::new("busy", 2);
    let spinners = ["one", "two"].map(holder);
    let root = start(
        patient(Strategy::OneForOne)
            .child(busy(&bulkhead, spinners).watchdog(Watchdog::report_only()))
            .child(worker(&Journal::default(), "innocent")),
    )
    .await;
    let tree = root.tree();
    let mut holds = Vec::new();

    for path in ["root/busy/one", "root/busy/two"] {
        holds.push(hold(&tree, path, Holder::spin()).await);
    }
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(count(&tree, "root/innocent").await);
    }
    drop(holds);

    assert_eq!(answers, (1..=100).collect::<Vec<u64>>());
    assert_eq!(thread_of(&tree, "root/busy/one").await.rsplit_once('-').unwrap().0, "busy");
    root.stop().await;
}

#[tokio::test]
async fn everything_below_a_bulkhead_runs_on_its_threads_and_the_tree_shows_it() {
    let bulkhead = Bulkhead::new("busy", 1);
    let inner = ChildSpec::supervisor("inner", SupervisorSpec::default().child(holder("deep")));
    let spec = patient(Strategy::OneForOne).child(busy(&bulkhead, [inner])).child(holder("free"));
    let root = start(spec).await;
    let tree = root.tree();

    let threads =
        [thread_of(&tree, "root/busy/inner/deep").await, thread_of(&tree, "root/free").await];

    let node = tree.find("root/busy").unwrap();
    assert_eq!(threads[0], "busy-0");
    assert_ne!(threads[1], "busy-0");
    assert_eq!((node.runtime, node.threads), (Some(RuntimeKind::Dedicated), Some(1)));
    assert_eq!(tree.find("root/free").unwrap().runtime, None);
    assert!(bulkhead.is_open());
    root.stop().await;
    assert!(!bulkhead.is_open());
}

#[tokio::test]
async fn stops_kills_and_panics_cross_a_bulkhead_in_the_usual_order() {
    let journal = Journal::default();
    let bulkhead = Bulkhead::new("busy", 1);
    let below = [worker(&journal, "b"), worker(&journal, "c")];
    let spec = patient(Strategy::OneForOne)
        .child(worker(&journal, "a"))
        .child(busy(&bulkhead, below))
        .child(worker(&journal, "d"));
    let root = start(spec).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    tree.kill("root/busy").unwrap();
    let event = restarted(&mut events, "root/busy").await;
    tree.kill("root/busy/b").unwrap();
    restarted(&mut events, "root/busy/b").await;
    let reason = root.stop().await;

    assert!(event.touched.is_empty());
    assert_eq!(reason, ExitReason::Shutdown);
    let begun = ["start a", "start b", "start c", "start d", "start b", "start c", "start b"];
    let ended = ["stop d shutdown", "stop c shutdown", "stop b shutdown", "stop a shutdown"];
    let story: Vec<_> = begun.into_iter().chain(ended).map(str::to_owned).collect();
    assert_eq!(journal.take(), story);
}

#[tokio::test]
async fn a_child_that_cannot_start_behind_a_bulkhead_says_why_as_any_other() {
    let failing = ChildSpec::process("failing", || Failing("no luck"));
    let panicking = ChildSpec::process("panicking", || Failing("panic"));

    let mut errors = Vec::new();
    for child in [failing, panicking] {
        let spec = SupervisorSpec::default().child(child.bulkhead(Bulkhead::new("busy", 1)));
        let error = otp::Root::start(spec, otp::Clock::system()).await.err().unwrap();
        errors.push(error.to_string());
    }

    let reasons = [
        "child \"failing\" failed to start: no luck",
        "child \"panicking\" failed to start: panicked: out of luck",
    ];
    assert_eq!(errors, reasons);
}

struct Failing(&'static str);

impl Process for Failing {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if self.0 == "panic" {
            std::panic::resume_unwind(Box::new("out of luck"));
        }
        Err(StartError::failed(self.0))
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test]
async fn work_from_outside_runs_on_the_threads_of_the_bulkhead() {
    let bulkhead = Bulkhead::new("busy", 1);
    let before = bulkhead.run("ask", async {}).await;
    let root = start(patient(Strategy::OneForOne).child(busy(&bulkhead, []))).await;

    let name = bulkhead.run("ask", async { thread::current().name().map(str::to_owned) }).await;
    root.stop().await;
    let after = bulkhead.run("ask", async {}).await;

    let closed = BulkheadError::Closed { name: "busy".to_owned() };
    assert_eq!(before, Err(closed.clone()));
    assert_eq!(name, Ok(Some("busy-0".to_owned())));
    assert_eq!(after, Err(closed));
}

#[tokio::test]
async fn work_from_outside_ends_with_its_caller_and_outlives_the_child() {
    let bulkhead = Bulkhead::new("busy", 1);
    let root = start(patient(Strategy::OneForOne).child(busy(&bulkhead, []))).await;
    let (abandoned, was_abandoned) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let (finish, may_finish) = oneshot::channel();

    let endless = async {
        let _abandoned = abandoned;
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        _ = bulkhead.run("wait", endless) => panic!("it never ends"),
        begun = has_begun => begun.unwrap(),
    }
    let dropped = was_abandoned.await;
    let (begun, has_begun) = oneshot::channel();
    let patient = bulkhead.clone();
    let work = async move {
        begun.send(()).unwrap();
        may_finish.await.unwrap()
    };
    let outliving =
        tokio::task::JoinSet::from_iter([async move { patient.run("stay", work).await }]);
    has_begun.await.unwrap();
    root.stop().await;
    finish.send("done").unwrap();

    assert!(dropped.is_err());
    assert_eq!(outliving.join_all().await, [Ok("done")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_from_outside_that_overstays_takes_its_bulkhead_along_and_its_caller_is_told() {
    let bulkhead = Bulkhead::new("busy", 1);
    let root = start(patient(Strategy::OneForOne).child(busy(&bulkhead, [holder("one")]))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let (spin, released) = Holder::spin();

    let outcome = bulkhead.run("score", async move { spin.hold() }).await;
    let named = event(&mut events, "root/busy", |kind| matches!(kind, Kind::Overstayed { .. }));
    let Kind::Overstayed { message, .. } = named.await.kind.clone() else { unreachable!() };
    restarted(&mut events, "root/busy").await;
    let thread = thread_of(&tree, "root/busy/one").await;
    drop(released);

    let BulkheadError::Abandoned { name, reason } = outcome.unwrap_err() else {
        panic!("it was open");
    };
    assert_eq!((name.as_str(), message.as_str(), thread.as_str()), ("busy", "score", "busy-0"));
    assert!(reason.starts_with("abandoned: root/busy overstayed "), "{reason}");
    root.stop().await;
}

#[tokio::test]
async fn each_start_makes_new_threads() {
    let starts = Arc::new(AtomicU64::new(0));
    let counted = starts.clone();
    let threads =
        ChildSpec::worker("one", move || Ids(counted.clone())).bulkhead(Bulkhead::new("busy", 1));
    let root = start(patient(Strategy::OneForOne).child(threads)).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let id = async |tree: &Tree| {
        tree.whereis::<Reply<thread::ThreadId>>("root/one")
            .unwrap()
            .call(|reply| reply, SECOND)
            .await
            .unwrap()
    };

    let before = id(&tree).await;
    tree.kill("root/one").unwrap();
    restarted(&mut events, "root/one").await;
    let after = id(&tree).await;

    assert_ne!(before, after);
    assert_eq!(starts.load(Ordering::Relaxed), 2);
    root.stop().await;
}

struct Ids(Arc<AtomicU64>);

impl Actor for Ids {
    type Message = Reply<thread::ThreadId>;

    async fn init(&mut self, _: &Context<Self::Message>) -> Result<(), StartError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn handle(
        &mut self,
        reply: Self::Message,
        _: &Context<Self::Message>,
    ) -> Result<(), ExitReason> {
        reply.send(thread::current().id());
        Ok(())
    }
}

/// Says that its start has begun, and holds its thread until it may go on.
struct Late(Option<(oneshot::Sender<()>, Holder)>);

impl Process for Late {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        let (entered, holder) = self.0.take().ok_or(StartError::Ignore)?;
        entered.send(()).unwrap();
        holder.hold();
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test]
async fn what_comes_up_behind_a_bulkhead_after_its_time_is_brought_down() {
    let root = start(patient(Strategy::OneForOne)).await;
    let supervisor = root.supervisor().unwrap();
    let (holder, released) = Holder::block();
    let (entered, was_entered) = oneshot::channel();
    let inside = Mutex::new(Some((entered, holder)));
    let late = ChildSpec::process("late", move || Late(inside.lock().unwrap().take()))
        .bulkhead(Bulkhead::new("late", 1))
        .watchdog(Watchdog::report_only())
        .start_within(SECOND * 60);
    let request = supervisor.start_child(late);
    tokio::pin!(request);
    tokio::select! {
        answer = &mut request => panic!("{answer:?}"),
        entered = was_entered => entered.unwrap(),
    }

    tokio::time::pause();
    let early = tokio::time::timeout(SECOND * 120, &mut request).await;
    drop(released);
    let answer = request.await;

    assert!(early.is_err(), "it is waited for, although its time is over: {early:?}");
    let error = StartError::TimedOut { milliseconds: 60_000 };
    assert_eq!(answer, Err(RequestError::StartFailed(error)));
    assert_eq!(root.stop().await, ExitReason::Shutdown);
}

#[tokio::test]
async fn a_start_that_is_given_up_before_its_first_step_leaves_no_threads_behind() {
    for _ in 0..20 {
        let bulkhead = Bulkhead::new("brief", 1);
        let child = ChildSpec::process("brief", || Forever).bulkhead(bulkhead.clone());
        let spec = patient(Strategy::OneForOne).child(child);

        let mut starting = Box::pin(Root::start(spec, Clock::system()));
        assert!(futures_util::poll!(&mut starting).is_pending());
        drop(starting);

        while bulkhead.is_open() {
            tokio::task::yield_now().await;
        }
    }
}

/// Never comes up.
struct Forever;

impl Process for Forever {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        std::future::pending().await
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}
