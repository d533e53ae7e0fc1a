//! Casts, calls and timers.

use std::time::Duration;

use otp::{Actor, CallError, Context, ExitReason, Reply, StartError, Strategy, Timer};
use tokio::sync::oneshot;

use super::stage::{Ask, Journal, SECOND, actor, count, patient, restarted, start, worker};

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
async fn a_question_that_is_dropped_is_a_timeout_while_the_actor_lives() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;

    let answer = actor(&root.tree(), "root/a").call(Ask::Forget, SECOND).await;

    assert_eq!(answer, Err(CallError::Timeout { ms: 1_000 }));
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

#[tokio::test(start_paused = true)]
async fn a_timer_fires_unless_it_is_dropped() {
    let root =
        start(patient(Strategy::OneForOne).child(otp::ChildSpec::worker("a", Alarm::default)))
            .await;
    let alarm = root.tree().whereis::<AlarmMessage>("root/a").unwrap();

    tokio::time::sleep(SECOND).await;
    let rung = alarm.call(AlarmMessage::Rung, SECOND).await;

    assert_eq!(rung, Ok(vec!["kept"]));
}

#[derive(Default)]
struct Alarm {
    timer: Option<Timer>,
    rung: Vec<&'static str>,
}

enum AlarmMessage {
    Ring(&'static str),
    Rung(Reply<Vec<&'static str>>),
}

impl Actor for Alarm {
    type Message = AlarmMessage;

    async fn init(&mut self, context: &Context<AlarmMessage>) -> Result<(), StartError> {
        let half = SECOND / 2;
        drop(context.send_after(half, AlarmMessage::Ring("dropped")));
        self.timer = Some(context.send_after(half, AlarmMessage::Ring("kept")));
        Ok(())
    }

    async fn handle(
        &mut self,
        message: AlarmMessage,
        _: &Context<AlarmMessage>,
    ) -> Result<(), ExitReason> {
        match message {
            AlarmMessage::Ring(name) => self.rung.push(name),
            AlarmMessage::Rung(reply) => reply.send(self.rung.clone()),
        }
        Ok(())
    }
}
