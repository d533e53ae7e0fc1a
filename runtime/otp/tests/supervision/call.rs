//! Casts and calls.

use std::sync::Mutex;
use std::time::Duration;

use otp::{
    CALL_TIMEOUT, CallError, ChildSpec, Clock, ExitReason, Process, Root, RunContext, StartError,
    Strategy,
};
use tokio::sync::oneshot;

use super::stage::{
    Ask, Journal, SECOND, actor, count, occupy, patient, restarted, slow_worker, start, worker,
};

#[tokio::test(start_paused = true)]
async fn a_call_to_an_actor_that_dies_ends_at_once_with_its_reason() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let dying = actor(&tree, "root/a");
    let before = tokio::time::Instant::now();

    let (entered, was_entered) = oneshot::channel();
    let (_hold, done) = oneshot::channel();
    dying.cast(Ask::Busy(entered, done)).unwrap();
    was_entered.await.unwrap();
    let call = dying.call(Ask::Count, SECOND);
    tokio::pin!(call);
    assert!(futures_util::poll!(&mut call).is_pending());
    tree.kill("root/a").unwrap();
    let answer = call.await;

    assert_eq!(answer, Err(CallError::Exited(ExitReason::Killed)));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(dying.call(Ask::Count, SECOND).await, Err(CallError::NoProc));
    assert!(!dying.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_let_go_of_ends_at_once_while_the_actor_lives() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let before = tokio::time::Instant::now();

    let answer = actor(&root.tree(), "root/a").call(Ask::Forget, SECOND).await;

    assert_eq!(answer, Err(CallError::NoReply));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_told_how_long_to_wait_waits_five_seconds() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let busy = actor(&root.tree(), "root/a");
    let _hold = occupy(&busy).await;
    let before = tokio::time::Instant::now();

    let answer = busy.request(Ask::Count).await;

    assert_eq!(answer, Err(CallError::Timeout { ms: 5_000 }));
    assert_eq!(before.elapsed(), CALL_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_an_actor_that_fails_over_it_ends_with_the_failure() {
    let journal = Journal::default();
    let slow = slow_worker(&journal, "a", SECOND / 2);
    let root = start(patient(Strategy::OneForOne).child(slow)).await;
    let dying = actor(&root.tree(), "root/a");
    let hold = occupy(&dying).await;
    let call = dying.call(|reply| Ask::Delegate(reply, oneshot::channel().0), SECOND);
    tokio::pin!(call);
    assert!(futures_util::poll!(&mut call).is_pending());

    drop(hold);
    let answer = call.await;

    let Err(CallError::Exited(ExitReason::Failed(_))) = answer else {
        panic!("it failed over the question: {answer:?}");
    };
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_given_later_and_by_somebody_else() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let (other, handed_on) = oneshot::channel();
    let busy = actor(&tree, "root/a");
    let call = busy.call(|reply| Ask::Delegate(reply, other), SECOND);
    let late = async {
        let reply = handed_on.await.unwrap();
        let meanwhile = count(&tree, "root/a").await;
        reply.send(meanwhile * 10);
    };

    let (answer, ()) = tokio::join!(call, late);

    assert_eq!(answer, Ok(20));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_is_dropped() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let (other, handed_on) = oneshot::channel();

    let answer = actor(&tree, "root/a").call(|reply| Ask::Delegate(reply, other), SECOND).await;
    let reply = handed_on.await.unwrap();

    assert_eq!(answer, Err(CallError::Timeout { ms: 1_000 }));
    assert!(reply.is_abandoned());
    reply.send(7);
    assert_eq!(count(&tree, "root/a").await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_death_of_the_callee_ends_a_call_that_somebody_else_was_to_answer() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let (other, handed_on) = oneshot::channel();
    let callee = actor(&tree, "root/a");
    let call = callee.call(|reply| Ask::Delegate(reply, other), SECOND);

    let (answer, _reply) = tokio::join!(call, async {
        let reply = handed_on.await.unwrap();
        tree.kill("root/a").unwrap();
        reply
    });

    assert_eq!(answer, Err(CallError::Exited(ExitReason::Killed)));
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_calls_itself_is_told_so_at_once() {
    let journal = Journal::default();
    let children = [worker(&journal, "a"), worker(&journal, "b")];
    let root = start(patient(Strategy::OneForOne).children(children)).await;
    let [a, b] = ["root/a", "root/b"].map(|path| actor(&root.tree(), path));

    let itself = a.request(|reply| Ask::Pass(a.clone(), reply)).await;
    let other = a.request(|reply| Ask::Pass(b.clone(), reply)).await;

    assert_eq!(itself, Ok(Err(CallError::CallingSelf)));
    assert_eq!(other, Ok(Ok(1)));
}

#[tokio::test]
async fn a_child_cannot_wait_for_the_supervisors_that_are_starting_it() {
    let answers = Journal::default();
    let seen = answers.clone();
    let curious = ChildSpec::process("curious", move || Curious(seen.clone()));
    let inner = ChildSpec::supervisor("inner", patient(Strategy::OneForOne).child(curious));
    let root = start(patient(Strategy::OneForOne).child(inner)).await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    tree.kill("root/inner/curious").unwrap();
    restarted(&mut events, "root/inner/curious").await;
    tree.kill("root/inner").unwrap();
    restarted(&mut events, "root/inner").await;

    let (starting, running) = ("a supervisor cannot wait for itself", "1 children");
    let story = [
        [starting, starting], // Everything starts.
        [running, starting],  // Its supervisor restarts it.
        [starting, starting], // The root restarts both.
    ];
    assert_eq!(answers.take(), story.concat());
}

/// Asks both supervisors above it while it starts.
struct Curious(Journal);

impl Process for Curious {
    async fn init(&mut self, context: &RunContext) -> Result<(), StartError> {
        for path in ["root", "root/inner"] {
            let supervisor = context.tree().supervisor(path).unwrap();
            self.0.note(match supervisor.count_children().await {
                Ok(counts) => format!("{} children", counts.specs),
                Err(error) => error.to_string(),
            });
        }
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test]
async fn the_mailbox_shows_what_waits_and_is_empty_after_a_restart() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let busy = actor(&tree, "root/a");

    let (entered, was_entered) = oneshot::channel();
    let (_hold, done) = oneshot::channel();
    busy.cast(Ask::Busy(entered, done)).unwrap();
    was_entered.await.unwrap();
    busy.cast(Ask::Panic("never handled")).unwrap();
    busy.cast(Ask::Panic("never handled")).unwrap();
    let depth = tree.find("root/a").unwrap().mailbox;
    tree.kill("root/a").unwrap();
    restarted(&mut events, "root/a").await;

    assert_eq!((depth, busy.mailbox_len()), (3, 3));
    assert_eq!(count(&tree, "root/a").await, 1);
    assert_eq!(tree.find("root/a").unwrap().mailbox, 0);
}

/// Says that its start has begun, and goes on when it may.
struct Held(Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>);

impl Process for Held {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        let (entered, may_go_on) = self.0.take().ok_or(StartError::Ignore)?;
        entered.send(()).unwrap();
        may_go_on.await.map_err(StartError::failed)
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[test]
fn who_asks_outside_of_all_tasks_is_not_taken_for_another_thread_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (entered, was_entered) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    let gate = Mutex::new(Some((entered, may_go_on)));
    let child = ChildSpec::process("a", move || Held(gate.lock().unwrap().take()));
    let tree = Root::prepare(Clock::system());
    let starting = Root::start_in(tree.clone(), patient(Strategy::OneForOne).child(child));

    let count = std::thread::scope(|threads| {
        let starter = threads.spawn(|| runtime.block_on(starting).unwrap());
        let count = runtime.block_on(async {
            was_entered.await.unwrap();
            let supervisor = tree.supervisor("root").unwrap();
            let count = supervisor.count_children();
            tokio::pin!(count);
            assert!(futures_util::poll!(&mut count).is_pending());
            go_on.send(()).unwrap();
            count.await
        });
        runtime.block_on(starter.join().unwrap().stop());
        count
    });

    assert_eq!(count.map(|count| count.active), Ok(1));
}
