//! Copies of one child, addressed by key.

use std::num::NonZeroUsize;

use otp::{
    CallError, CastError, ChildSpec, Clock, DynamicSupervisor, Intensity, PartitionKey,
    PartitionSupervisor, Partitions, RequestError, Root, Strategy,
};

use super::stage::{Ask, Journal, SECOND, patient, restarted, start, worker};

const NAMES: [&str; 4] = ["zero", "one", "two", "three"];

fn copies(journal: &Journal) -> PartitionSupervisor {
    let journal = journal.clone();
    PartitionSupervisor::with_arguments(move |number| worker(&journal, NAMES[number]))
        .partitions(NonZeroUsize::new(4).unwrap())
        .intensity(Intensity::new(1_000, SECOND))
}

async fn up(copies: &PartitionSupervisor) -> (Root, Partitions) {
    let root = start(patient(Strategy::OneForOne).child(copies.child("copies"))).await;
    let copies = copies.at(root.tree(), "root/copies");
    (root, copies)
}

#[tokio::test]
async fn each_copy_knows_its_number_and_is_called_by_it() {
    let journal = Journal::default();

    let (root, copies) = up(&copies(&journal)).await;

    assert_eq!(journal.take(), ["start zero", "start one", "start two", "start three"]);
    let places: Vec<_> = root.tree().find("root/copies").unwrap().children;
    assert_eq!(places.iter().map(|copy| &*copy.id).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!((copies.count(), copies.which().iter().flatten().count()), (4, 4));
}

#[tokio::test]
async fn a_key_always_leads_to_the_same_copy_and_integers_to_their_remainder() {
    let (_root, copies) = up(&copies(&Journal::default())).await;

    for key in [-9_i64, -5, -1, 1, 5, 9] {
        assert_eq!(copies.pid_for(key).unwrap().path(), "root/copies/1", "{key}");
        copies.call(key, Ask::Count, SECOND).await.unwrap();
    }
    let uuid = PartitionKey::of([7_u8; 16]);
    let (text, again) = (copies.pid_for("ada"), copies.pid_for("ada".to_owned()));

    assert_eq!(copies.call(1_u8, Ask::Count, SECOND).await, Ok(7));
    assert_eq!(text, again);
    assert_eq!(copies.pid_for(uuid), copies.pid_for(PartitionKey::of([7_u8; 16])));
}

#[tokio::test]
async fn a_handle_follows_a_copy_through_its_restart_and_the_others_notice_nothing() {
    let journal = Journal::default();
    let (root, copies) = up(&copies(&journal)).await;
    let mut events = root.tree().subscribe();
    let first = copies.pid_for(2).unwrap();
    copies.call(3, Ask::Count, SECOND).await.unwrap();

    copies.cast(2, Ask::Panic("out of luck")).unwrap();
    restarted(&mut events, "root/copies/2").await;

    assert_ne!(copies.pid_for(2), Some(first));
    assert_eq!(copies.call(2, Ask::Count, SECOND).await, Ok(1));
    assert_eq!(copies.call(3, Ask::Count, SECOND).await, Ok(2));
}

#[tokio::test]
async fn another_strategy_lets_the_copies_share_a_fate() {
    let (root, copies) = up(&copies(&Journal::default()).strategy(Strategy::OneForAll)).await;
    let mut events = root.tree().subscribe();

    copies.pid_for(2).unwrap().kill();
    restarted(&mut events, "root/copies/2").await;

    let lives: Vec<_> =
        copies.which().into_iter().map(|copy| copy.unwrap().incarnation()).collect();
    assert_eq!(lives, [2, 2, 2, 2]);
}

#[tokio::test]
async fn a_copy_that_is_down_is_no_process_while_the_others_answer() {
    let (root, copies) = up(&copies(&Journal::default())).await;
    root.tree().supervisor("root/copies").unwrap().terminate_child("1").await.unwrap();

    assert_eq!(copies.pid_for(1), None);
    assert_eq!(copies.cast(1, Ask::Panic("nobody hears")), Err(CastError::NoProc));
    assert_eq!(copies.call(1, Ask::Count, SECOND).await, Err(CallError::NoProc));
    assert_eq!(copies.call(0, Ask::Count, SECOND).await, Ok(1));
    assert_eq!(copies.which()[1], None);
}

#[tokio::test]
async fn there_are_as_many_copies_as_threads_and_they_may_be_supervisors() {
    let pools = PartitionSupervisor::new(DynamicSupervisor::child("pool", Some(1)));
    let (root, copies) = up(&pools).await;

    let threads = std::thread::available_parallelism().unwrap().get();
    assert_eq!((copies.count(), copies.which().iter().flatten().count()), (threads, threads));
    let one = copies.pid_for("ada").unwrap();
    let pool = DynamicSupervisor::at(root.tree(), one.path());
    pool.start_child(worker(&Journal::default(), "a")).await.unwrap();
    let second = pool.start_child(worker(&Journal::default(), "b")).await;
    assert_eq!(second, Err(RequestError::MaxChildren { limit: 1 }));
}

#[tokio::test]
async fn copies_cannot_be_instances_of_one_specification() {
    let wrong = copies(&Journal::default()).strategy(Strategy::SimpleOneForOne).child("copies");
    let spec = patient(Strategy::OneForOne).child(wrong);

    let error = Root::start(spec, Clock::system()).await.unwrap_err();

    let text = "child \"copies\" failed to start: 4 child specifications where the strategy allows \
                exactly one kind of child";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn copies_that_cannot_start_stop_those_before_them() {
    let journal = Journal::default();
    let notes = journal.clone();
    let broken = PartitionSupervisor::with_arguments(move |number| match number {
        0 | 1 => worker(&notes, NAMES[number]),
        _ => ChildSpec::supervisor_from("broken", || Err(otp::StartError::failed("no luck"))),
    });
    let broken = broken.partitions(NonZeroUsize::new(3).unwrap()).child("copies");

    let error = Root::start(patient(Strategy::OneForOne).child(broken), Clock::system()).await;

    let text = "child \"copies\" failed to start: child \"2\" failed to start: no luck";
    assert_eq!(error.unwrap_err().to_string(), text);
    let story = ["start zero", "start one", "stop one shutdown", "stop zero shutdown"];
    assert_eq!(journal.take(), story);
}
