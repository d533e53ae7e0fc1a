//! Timers and their owners.

use std::time::Duration;

use otp::{Actor, ActorRef, ChildSpec, Context, ExitReason, Reply, Root, Strategy, Timer};
use tokio::time::sleep;

use super::stage::{SECOND, patient, start};

const HALF: Duration = Duration::from_millis(500);

/// Rings when a timer of its own says so.
#[derive(Default)]
struct Alarm {
    timer: Option<Timer>,
    rung: Vec<&'static str>,
}

enum Message {
    Once(Duration),
    Every(Duration),
    DropTimer,
    Cancel(Reply<Option<Duration>>),
    Remaining(Reply<Option<Duration>>),
    Ring(&'static str),
    Rung(Reply<Vec<&'static str>>),
}

impl Actor for Alarm {
    type Message = Message;

    async fn handle(
        &mut self,
        message: Message,
        context: &Context<Message>,
    ) -> Result<(), ExitReason> {
        match message {
            Message::Once(delay) => {
                self.timer = Some(context.send_after(delay, Message::Ring("once")));
            }
            Message::Every(period) => {
                self.timer = Some(context.send_every(period, || Message::Ring("again")));
            }
            Message::DropTimer => self.timer = None,
            Message::Cancel(reply) => reply.send(self.timer.take().and_then(Timer::cancel)),
            Message::Remaining(reply) => {
                reply.send(self.timer.as_ref().and_then(Timer::remaining));
            }
            Message::Ring(name) => self.rung.push(name),
            Message::Rung(reply) => reply.send(self.rung.clone()),
        }
        Ok(())
    }
}

async fn alarm() -> (Root, ActorRef<Message>) {
    let child = ChildSpec::worker("a", Alarm::default);
    let root = start(patient(Strategy::OneForOne).child(child)).await;
    let alarm = root.tree().whereis("root/a").unwrap();
    (root, alarm)
}

async fn rung(alarm: &ActorRef<Message>) -> Vec<&'static str> {
    alarm.request(Message::Rung).await.unwrap()
}

/// Lets the timers that are due, and what they send, have their turn.
async fn pass(time: Duration) {
    sleep(time + Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_once_unless_it_is_dropped() {
    let (_root, alarm) = alarm().await;

    alarm.cast(Message::Once(HALF)).unwrap();
    alarm.cast(Message::DropTimer).unwrap();
    pass(SECOND).await;
    let after_drop = rung(&alarm).await;
    alarm.cast(Message::Once(HALF)).unwrap();
    pass(SECOND).await;

    assert_eq!(after_drop, [""; 0]);
    assert_eq!(rung(&alarm).await, ["once"]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_cancelled_says_how_much_time_was_left() {
    let (_root, alarm) = alarm().await;

    alarm.cast(Message::Once(SECOND)).unwrap();
    alarm.request(Message::Rung).await.unwrap();
    sleep(HALF).await;
    let remaining = alarm.request(Message::Remaining).await;
    let cancelled = alarm.request(Message::Cancel).await;
    pass(SECOND).await;

    assert_eq!(remaining, Ok(Some(HALF)));
    assert_eq!(cancelled, Ok(Some(HALF)));
    assert_eq!(rung(&alarm).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_has_fired_cannot_be_cancelled() {
    let (_root, alarm) = alarm().await;

    alarm.cast(Message::Once(HALF)).unwrap();
    pass(SECOND).await;

    assert_eq!(alarm.request(Message::Remaining).await, Ok(None));
    assert_eq!(alarm.request(Message::Cancel).await, Ok(None));
    assert_eq!(rung(&alarm).await, ["once"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_fires_at_every_period_until_it_is_cancelled() {
    let (_root, alarm) = alarm().await;

    alarm.cast(Message::Every(HALF)).unwrap();
    pass(HALF * 3).await;
    let remaining = alarm.request(Message::Remaining).await;
    let cancelled = alarm.request(Message::Cancel).await;
    pass(SECOND).await;

    assert_eq!(rung(&alarm).await, ["again"; 3]);
    assert_eq!(remaining, cancelled);
    assert!(remaining.unwrap().unwrap() < HALF);
}

#[tokio::test(start_paused = true)]
async fn timers_end_with_their_owner_and_leave_no_task_behind() {
    let (root, alarm) = alarm().await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    rung(&alarm).await;
    let before = alive();
    alarm.cast(Message::Every(HALF)).unwrap();
    pass(HALF).await;
    let with_timer = alive();

    root.supervisor().unwrap().terminate_child("a").await.unwrap();
    pass(Duration::ZERO).await;

    assert_eq!(with_timer, before + 1);
    assert_eq!(alive(), before - 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_too_far_away_to_be_told_is_as_good_as_never() {
    let (_root, alarm) = alarm().await;

    for message in [Message::Once, Message::Every] {
        alarm.cast(message(Duration::MAX)).unwrap();

        let left = alarm.request(Message::Remaining).await.unwrap().unwrap();
        assert!(left > Duration::from_hours(24 * 365));
    }
}
