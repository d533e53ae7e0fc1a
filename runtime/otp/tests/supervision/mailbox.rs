//! Bounded mailboxes.

use std::num::NonZeroUsize;
use std::time::Duration;

use otp::{
    ActorRef, CallError, CastError, ExitReason, Mailbox, MailboxReport, Overflow, Root, Strategy,
};
use tokio::time::{Instant, sleep};

use super::stage::{Ask, Journal, SECOND, actor, count, occupy, patient, restarted, start, worker};

/// A tree with a worker that has room for two messages beside the one it handles.
async fn bounded(journal: &Journal, overflow: Overflow) -> Root {
    let mailbox = Mailbox::bounded(NonZeroUsize::new(2).unwrap()).overflow(overflow);
    let root = start(patient(Strategy::OneForOne).child(worker(journal, "a").mailbox(mailbox)));
    let root = root.await;
    journal.take();
    root
}

/// Sends a busy worker more than fits, and says what the sender was told and what arrived.
async fn overfill(overflow: Overflow) -> (Result<(), CastError>, Vec<String>) {
    let journal = Journal::default();
    let root = bounded(&journal, overflow).await;
    let busy = actor(&root.tree(), "root/a");
    let hold = occupy(&busy).await;
    busy.cast(Ask::Note(1)).unwrap();
    busy.cast(Ask::Note(2)).unwrap();

    let told = busy.cast(Ask::Note(3));
    let report = busy.mailbox();
    drop(hold);
    emptied(&busy).await;

    assert_eq!((report.length, report.capacity, report.lost), (3, Some(2), 1));
    (told, journal.take())
}

async fn emptied(actor: &ActorRef<Ask>) {
    while actor.mailbox_len() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_mailbox_refuses_a_message_and_says_so() {
    let (told, arrived) = overfill(Overflow::Refuse).await;

    assert_eq!(told, Err(CastError::Full { capacity: 2 }));
    assert_eq!(arrived, ["1", "2"]);
}

#[tokio::test]
async fn a_full_mailbox_may_drop_the_newest_or_the_oldest() {
    let newest = overfill(Overflow::DropNewest).await;
    let oldest = overfill(Overflow::DropOldest).await;

    assert_eq!(newest, (Ok(()), vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(oldest, (Ok(()), vec!["2".to_owned(), "3".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_message_is_lost_ends_at_once() {
    let before = Instant::now();
    for (overflow, expected) in [
        (Overflow::Refuse, CallError::Full { capacity: 2 }),
        (Overflow::DropNewest, CallError::Dropped),
        (Overflow::DropOldest, CallError::Dropped),
    ] {
        let root = bounded(&Journal::default(), overflow).await;
        let busy = actor(&root.tree(), "root/a");
        let _hold = occupy(&busy).await;
        let calls = [1, 2, 3].map(|_| busy.call(Ask::Count, SECOND));

        let first_lost = futures_util::future::select_all(calls.map(Box::pin)).await;

        let lost = if overflow == Overflow::DropOldest { 0 } else { 2 };
        assert_eq!((first_lost.0, first_lost.1), (Err(expected), lost));
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_million_casts_at_a_sleeping_actor_leave_what_fits() {
    let journal = Journal::default();
    let root = bounded(&journal, Overflow::DropOldest).await;
    let busy = actor(&root.tree(), "root/a");
    let hold = occupy(&busy).await;

    for number in 1..=1_000_000 {
        busy.cast(Ask::Note(number)).unwrap();
    }
    let report = busy.pid().mailbox();
    drop(hold);
    emptied(&busy).await;
    let handled = count(&root.tree(), "root/a").await;

    assert_eq!((report.length, report.lost), (3, 999_998));
    assert_eq!(journal.take(), ["999999", "1000000"]);
    assert_eq!(handled, 4);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_message_is_known() {
    let root = bounded(&Journal::default(), Overflow::Refuse).await;
    let busy = actor(&root.tree(), "root/a");
    let idle = busy.mailbox();
    let _hold = occupy(&busy).await;
    sleep(SECOND).await;
    busy.cast(Ask::Note(1)).unwrap();
    sleep(SECOND).await;

    let report = busy.mailbox();

    assert_eq!(idle, MailboxReport { capacity: Some(2), ..MailboxReport::default() });
    assert_eq!((report.length, report.oldest), (2, Some(SECOND)));
}

#[tokio::test]
async fn a_stop_and_a_kill_reach_an_actor_whose_mailbox_is_full() {
    let root = bounded(&Journal::default(), Overflow::Refuse).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let fill = async || {
        let busy = actor(&tree, "root/a");
        let hold = occupy(&busy).await;
        while busy.cast(Ask::Note(1)).is_ok() {}
        (busy, hold)
    };

    let (first, _hold) = fill().await;
    tree.kill("root/a").unwrap();
    restarted(&mut events, "root/a").await;
    let (second, hold) = fill().await;
    drop(hold);
    let reason = root.stop().await;

    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!(first.pid().exit_reason(), Some(ExitReason::Killed));
    assert_eq!(second.pid().exit_reason(), Some(ExitReason::Shutdown));
    assert_eq!(second.cast(Ask::Note(2)), Err(CastError::NoProc));
}

#[tokio::test]
async fn a_caller_that_waits_in_a_full_mailbox_learns_why_the_callee_died() {
    let root = bounded(&Journal::default(), Overflow::Refuse).await;
    let tree = root.tree();
    let busy = actor(&tree, "root/a");
    let _hold = occupy(&busy).await;
    let call = busy.call(Ask::Count, SECOND);
    tokio::pin!(call);
    assert!(futures_util::poll!(&mut call).is_pending());

    tree.kill("root/a").unwrap();

    assert_eq!(call.await, Err(CallError::Exited(ExitReason::Killed)));
}
