//! Looking inside running processes.

use std::borrow::Cow;
use std::time::Duration;

use otp::sys::{self, SysError, SystemEvent, SystemEventKind, Trace};
use otp::{
    Actor, ActorRef, CALL_TIMEOUT, ChildSpec, Context, ExitReason, Pid, Process, Reply, Root,
    RunContext, Strategy, Tree,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stage::{Ask, Journal, SECOND, actor, occupy, patient, restarted, start, worker};

/// Adds up, and sends what it has on to others.
struct Till {
    cents: u64,
}

enum Message {
    Pay(u64),
    Wait(Duration),
    Sum(Reply<u64>),
    SendTo(ActorRef<Message>),
    LookAtItself(Reply<Result<Value, SysError>>),
    Break,
}

impl Actor for Till {
    type Message = Message;

    async fn handle(
        &mut self,
        message: Message,
        context: &Context<Message>,
    ) -> Result<(), ExitReason> {
        match message {
            Message::Pay(cents) => self.cents += cents,
            Message::Wait(time) => sleep(time).await,
            Message::Sum(reply) => reply.send(self.cents),
            Message::SendTo(other) => {
                other.cast(Message::Pay(self.cents)).unwrap();
                let _ = other.request(Message::Sum).await;
            }
            Message::LookAtItself(reply) => reply.send(sys::get_state(&context.pid()).await),
            Message::Break => self.cents = u64::MAX,
        }
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        if self.cents == u64::MAX {
            std::panic::resume_unwind(Box::new("nobody can count that"));
        }
        Some(json!({ "cents": self.cents }))
    }

    fn describe(message: &Message) -> Cow<'static, str> {
        match message {
            Message::Pay(cents) => format!("pay {cents}").into(),
            Message::Wait(_) => "wait".into(),
            Message::Sum(_) => "sum".into(),
            Message::SendTo(_) => "send".into(),
            Message::LookAtItself(_) => "look".into(),
            Message::Break => "break".into(),
        }
    }
}

struct Shop {
    root: Root,
    tree: Tree,
    till: ActorRef<Message>,
    pid: Pid,
}

/// Two tills, an actor that shows nothing, and two processes without mailboxes.
async fn shop() -> Shop {
    let till = |id: &'static str| ChildSpec::worker(id, || Till { cents: 0 });
    let root = start(
        patient(Strategy::OneForOne)
            .child(till("till"))
            .child(till("other"))
            .child(worker(&Journal::default(), "closed"))
            .child(ChildSpec::process("open", || Loop(Some(json!("open all day")))))
            .child(ChildSpec::process("mute", || Loop(None))),
    )
    .await;
    let tree = root.tree();
    let till = tree.whereis("root/till").unwrap();
    let pid = tree.pid("root/till").unwrap();
    Shop { root, tree, till, pid }
}

struct Loop(Option<Value>);

impl Process for Loop {
    async fn init(&mut self, context: &RunContext) -> Result<(), otp::StartError> {
        if let Some(state) = self.0.take() {
            context.publish_state(state);
        }
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test]
async fn the_state_of_an_actor_is_what_it_offers_after_the_messages_before() {
    let shop = shop().await;
    let before = sys::get_state(&shop.pid).await;
    shop.till.cast(Message::Pay(7)).unwrap();

    let after = sys::get_state(&shop.pid).await;

    assert_eq!(before, Ok(json!({ "cents": 0 })));
    assert_eq!(after, Ok(json!({ "cents": 7 })));
}

#[tokio::test]
async fn who_offers_no_state_is_no_riddle() {
    let shop = shop().await;
    let state = async |path: &str| sys::get_state(&shop.tree.pid(path).unwrap()).await;
    let none = Err(SysError::Unsupported { why: "it offers no state" });

    let states = [state("root/closed").await, state("root/open").await, state("root/mute").await];
    let pid = shop.pid.clone();
    shop.root.stop().await;

    assert_eq!(states, [none.clone(), Ok(json!("open all day")), none]);
    assert_eq!(sys::get_state(&pid).await, Err(SysError::NoProc));
    assert_eq!(sys::suspend(&pid).await, Err(SysError::NoProc));
    assert_eq!(sys::statistics(&pid), Err(SysError::NoProc));
}

#[tokio::test]
async fn a_state_that_cannot_be_described_does_not_end_the_actor() {
    let shop = shop().await;
    shop.till.cast(Message::Break).unwrap();

    let state = sys::get_state(&shop.pid).await;

    assert_eq!(state, Err(SysError::StateFailed("nobody can count that".to_owned())));
    assert_eq!(shop.till.request(Message::Sum).await, Ok(u64::MAX));
}

#[tokio::test]
async fn the_state_of_a_supervisor_is_its_table_of_children() {
    let shop = shop().await;
    let root = shop.root.pid();
    shop.root.supervisor().unwrap().terminate_child("mute").await.unwrap();

    let state = sys::get_state(&root).await.unwrap();

    let line = |child: &Value| format!("{} {} {}", child["id"], child["state"], child["pid"]);
    let children: Vec<_> = state["children"].as_array().unwrap().iter().map(line).collect();
    let expected = [
        r#""till" "running" "<root/till#1>""#,
        r#""other" "running" "<root/other#1>""#,
        r#""closed" "running" "<root/closed#1>""#,
        r#""open" "running" "<root/open#1>""#,
        r#""mute" "stopped" null"#,
    ];
    assert_eq!(state["strategy"], "one_for_one");
    assert_eq!(state["within_ms"], 1_000);
    assert_eq!(children, expected);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_is_suspended_handles_nothing_until_it_is_resumed() {
    let shop = shop().await;
    sys::suspend(&shop.pid).await.unwrap();
    sys::suspend(&shop.pid).await.unwrap();
    shop.till.cast(Message::Pay(7)).unwrap();
    sleep(SECOND).await;

    let meanwhile = sys::get_state(&shop.pid).await;
    let is_suspended = sys::statistics(&shop.pid).unwrap().is_suspended;
    let waiting = shop.till.mailbox_len();
    sys::resume(&shop.pid).await.unwrap();
    let afterwards = shop.till.request(Message::Sum).await;

    assert_eq!(meanwhile, Ok(json!({ "cents": 0 })));
    assert_eq!((is_suspended, waiting), (true, 1));
    assert_eq!(afterwards, Ok(7));
    assert!(!sys::statistics(&shop.pid).unwrap().is_suspended);
}

#[tokio::test]
async fn an_actor_that_is_suspended_obeys_its_supervisor_and_a_kill() {
    let journal = Journal::default();
    let children = [worker(&journal, "a"), worker(&journal, "b")];
    let root = start(patient(Strategy::OneForOne).children(children)).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    for path in ["root/a", "root/b"] {
        sys::suspend(&tree.pid(path).unwrap()).await.unwrap();
        actor(&tree, path).cast(Ask::Note(1)).unwrap();
    }
    journal.take();

    tree.kill("root/a").unwrap();
    restarted(&mut events, "root/a").await;
    root.supervisor().unwrap().terminate_child("b").await.unwrap();

    assert_eq!(journal.take(), ["start a", "stop b shutdown"]);
    let fresh = sys::statistics(&tree.pid("root/a").unwrap()).unwrap();
    assert_eq!((fresh.is_suspended, fresh.restarts), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn a_suspension_that_was_given_up_does_not_happen_later() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let busy = actor(&root.tree(), "root/a");
    let hold = occupy(&busy).await;
    let before = Instant::now();

    let suspended = sys::suspend(&busy.pid()).await;
    drop(hold);

    assert_eq!(suspended, Err(SysError::Timeout { ms: 5_000 }));
    assert_eq!(before.elapsed(), CALL_TIMEOUT);
    assert_eq!(busy.request(Ask::Count).await, Ok(2));
}

#[tokio::test]
async fn an_actor_that_looks_at_itself_is_told_so_at_once() {
    let shop = shop().await;

    let answer = shop.till.request(Message::LookAtItself).await;

    assert_eq!(answer, Ok(Err(SysError::CallingSelf)));
}

#[tokio::test]
async fn a_process_without_a_mailbox_cannot_be_suspended_or_observed() {
    let shop = shop().await;
    let open = shop.tree.pid("root/open").unwrap();
    let refused = Err(SysError::Unsupported { why: "it has no mailbox" });

    assert_eq!(sys::suspend(&open).await, refused);
    assert_eq!(sys::set_statistics(&open, true), refused);
    assert_eq!(sys::trace(&open, 1).map(drop), refused);
    assert_eq!(sys::statistics(&open).unwrap().counts, None);
}

#[tokio::test(start_paused = true)]
async fn statistics_count_what_comes_in_goes_out_and_takes_time() {
    let shop = shop().await;
    let other = shop.tree.whereis("root/other").unwrap();
    shop.till.cast(Message::Pay(7)).unwrap();
    let off = sys::get_state(&shop.pid).await.and(sys::statistics(&shop.pid));

    sys::set_statistics(&shop.pid, true).unwrap();
    shop.till.cast(Message::Pay(7)).unwrap();
    shop.till.cast(Message::Wait(SECOND)).unwrap();
    shop.till.cast(Message::SendTo(other)).unwrap();
    shop.till.request(Message::Sum).await.unwrap();
    let on = sys::get_state(&shop.pid).await.and(sys::statistics(&shop.pid));
    let counts = on.unwrap().counts.unwrap();
    sys::set_statistics(&shop.pid, false).unwrap();

    assert_eq!(off.unwrap().counts, None);
    // A cast and a call to the other till, and an answer.
    assert_eq!((counts.messages_in, counts.messages_out), (4, 3));
    assert_eq!(counts.longest, SECOND);
    assert!(counts.busy > Duration::ZERO && counts.busy < SECOND);
    assert_eq!(sys::statistics(&shop.pid).unwrap().counts, None);
}

#[tokio::test]
async fn statistics_are_known_while_the_actor_is_busy() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let busy = actor(&root.tree(), "root/a");
    let _hold = occupy(&busy).await;
    busy.cast(Ask::Note(1)).unwrap();

    let statistics = sys::statistics(&busy.pid()).unwrap();

    let node = root.tree().find("root/a").unwrap();
    assert_eq!(statistics.mailbox.length, 2);
    assert_eq!(Some(statistics.started_at), node.started_at);
}

/// What happened, in words, without times.
fn story(events: &[SystemEvent]) -> Vec<String> {
    let line = |event: &SystemEvent| match &event.kind {
        SystemEventKind::In { message } => format!("in {message}"),
        SystemEventKind::Handled { message, .. } => format!("handled {message}"),
        SystemEventKind::Out { message, to } => format!("out {message} to {to}"),
        SystemEventKind::Reply { message } => format!("reply {message}"),
    };
    events.iter().map(line).collect()
}

#[tokio::test]
async fn the_log_remembers_the_last_events_even_after_the_end() {
    let shop = shop().await;
    let other = shop.tree.whereis("root/other").unwrap();
    sys::set_log(&shop.pid, 6).unwrap();
    shop.till.cast(Message::Pay(7)).unwrap();
    shop.till.cast(Message::SendTo(other)).unwrap();
    shop.till.request(Message::Sum).await.unwrap();
    sys::get_state(&shop.pid).await.unwrap();
    let numbers: Vec<_> = sys::log(&shop.pid).unwrap().iter().map(|event| event.number).collect();

    shop.root.stop().await;
    let log = sys::log(&shop.pid).unwrap();

    let expected = [
        "out Message to root/other",
        "out Message to root/other",
        "handled send",
        "in sum",
        "reply u64",
        "handled sum",
    ];
    assert_eq!(story(&log), expected);
    assert_eq!(numbers, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn the_requests_of_a_supervisor_can_be_observed_like_messages() {
    let shop = shop().await;
    let root = shop.root.pid();
    let mut events = shop.tree.subscribe();
    sys::set_log(&root, 10).unwrap();

    shop.root.supervisor().unwrap().count_children().await.unwrap();
    shop.tree.kill("root/till").unwrap();
    restarted(&mut events, "root/till").await;
    sys::get_state(&root).await.unwrap();

    let expected = [
        "in count_children",
        "reply Result",
        "handled count_children",
        "in EXIT of root/till",
        "handled EXIT of root/till",
    ];
    assert_eq!(story(&sys::log(&root).unwrap()), expected);
}

async fn next(trace: &mut Trace) -> (String, u64) {
    let traced = trace.next().await.unwrap();
    (story(&[traced.event]).remove(0), traced.skipped)
}

#[tokio::test(start_paused = true)]
async fn a_trace_shows_what_happens_and_counts_what_is_too_much() {
    let shop = shop().await;
    let mut trace = sys::trace(&shop.pid, 4).unwrap();
    for cents in 1..=5 {
        shop.till.cast(Message::Pay(cents)).unwrap();
    }
    sys::get_state(&shop.pid).await.unwrap();
    sleep(SECOND).await;
    shop.till.cast(Message::Pay(6)).unwrap();

    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(next(&mut trace).await);
    }

    let expected = [
        ("in pay 1", 0),
        ("handled pay 1", 0),
        ("in pay 2", 0),
        ("handled pay 2", 0),
        ("in pay 6", 6),
        ("handled pay 6", 0),
    ];
    assert_eq!(seen, expected.map(|(event, skipped)| (event.to_owned(), skipped)));
}

#[tokio::test]
async fn a_trace_ends_with_its_process() {
    let shop = shop().await;
    let mut trace = sys::trace(&shop.pid, 10).unwrap();
    shop.till.cast(Message::Pay(1)).unwrap();
    sys::get_state(&shop.pid).await.unwrap();

    shop.root.stop().await;

    assert_eq!(next(&mut trace).await.0, "in pay 1");
    assert_eq!(next(&mut trace).await.0, "handled pay 1");
    assert_eq!(trace.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_suspended_restarts_nothing_until_it_is_resumed() {
    let shop = shop().await;
    let root = shop.root.pid();
    let mut events = shop.tree.subscribe();
    sys::suspend(&root).await.unwrap();
    shop.tree.kill("root/till").unwrap();
    shop.pid.gone().await;
    sleep(SECOND).await;

    let meanwhile = shop.tree.pid("root/till");
    let state = sys::get_state(&root).await.unwrap();
    sys::resume(&root).await.unwrap();
    restarted(&mut events, "root/till").await;

    assert_eq!(meanwhile, None);
    assert_eq!(state["children"][0]["state"], "running");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_suspended_stops_in_good_order_when_told() {
    let journal = Journal::default();
    let children = [worker(&journal, "a"), worker(&journal, "b")];
    let root = start(patient(Strategy::OneForOne).children(children)).await;
    sys::suspend(&root.pid()).await.unwrap();
    journal.take();

    let reason = root.stop().await;

    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!(journal.take(), ["stop b shutdown", "stop a shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn letting_go_of_a_supervisor_does_not_resume_what_was_suspended_meanwhile() {
    let shop = shop().await;
    let root = shop.root.pid();
    let supervisor = shop.root.supervisor().unwrap();
    let held = supervisor.suspend().await.unwrap();

    sys::suspend(&root).await.unwrap();
    drop(held);
    let request = supervisor.count_children();
    tokio::pin!(request);
    let in_time = tokio::time::timeout(SECOND, &mut request).await;
    sys::resume(&root).await.unwrap();

    assert!(in_time.is_err());
    assert_eq!(request.await.unwrap().active, 5);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_held_back_can_still_be_told_to_stop() {
    let root = start(patient(Strategy::OneForOne)).await;
    let held = root.supervisor().unwrap().suspend().await.unwrap();

    let stopped = tokio::time::timeout(SECOND, root.stop()).await;

    assert_eq!(stopped, Ok(ExitReason::Shutdown));
    drop(held);
}
