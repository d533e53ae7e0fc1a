//! Work beside its owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otp::{
    ExitReason, OnTimeout, RequestError, Root, Shutdown, Strategy, SupervisionEventKind as Kind,
    TaskError, TaskSupervisor,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::stage::{SECOND, patient, start};

async fn tasks(max_children: Option<usize>) -> (Root, TaskSupervisor) {
    let child = TaskSupervisor::child("tasks", max_children);
    let root = start(patient(Strategy::OneForOne).child(child)).await;
    let tasks = TaskSupervisor::at(root.tree(), "root/tasks");
    (root, tasks)
}

/// Waits until nothing is left of any task.
async fn nobody_left(root: &Root) {
    let tree = root.tree();
    let mut changes = tree.changes();
    let is_empty = |_: &u64| tree.find("root/tasks").unwrap().children.is_empty();
    changes.wait_for(is_empty).await.unwrap();
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_task_gives_its_result_and_is_gone() {
    let (root, tasks) = tasks(None).await;

    let first = tasks.run(async { 1 }).await.unwrap();
    let second = tasks.run(async { "two".to_owned() }).await.unwrap();

    assert_eq!(first.pid().path(), "root/tasks/task#1");
    assert_eq!((first.await, second.await), (Ok(1), Ok("two".to_owned())));
    nobody_left(&root).await;
    let failures = root.tree().history().len();
    assert_eq!(failures, 2, "the root and the supervisor have started, and nothing else is told");
}

#[tokio::test]
async fn a_panic_in_a_task_is_its_own_and_its_holder_learns_of_it_as_a_value() {
    let (root, tasks) = tasks(None).await;

    let broken = tasks.run::<u8>(async { std::panic::resume_unwind(Box::new("out of luck")) });
    let killed = tasks.run(std::future::pending::<()>()).await.unwrap();
    killed.pid().kill();

    let reason = ExitReason::failed("out of luck");
    assert_eq!(broken.await.unwrap().await, Err(TaskError::Exited(reason)));
    assert_eq!(killed.await, Err(TaskError::Exited(ExitReason::Killed)));
    assert!(root.tree().pid("root/tasks").unwrap().is_alive());
    assert_eq!(root.tree().find("root/tasks").unwrap().restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_takes_too_long_is_ended_and_five_seconds_are_too_long() {
    let (root, tasks) = tasks(None).await;
    let slow = tasks.run(sleep(seconds(6))).await.unwrap();
    let pid = slow.pid().clone();
    let before = Instant::now();

    let outcome = slow.await;

    assert_eq!(outcome, Err(TaskError::TimedOut { ms: 5_000 }));
    assert_eq!(before.elapsed(), seconds(5));
    assert_eq!(pid.gone().await, ExitReason::Shutdown);
    nobody_left(&root).await;
    assert_eq!(before.elapsed(), seconds(5));
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_task_that_is_not_done_leaves_it_running() {
    let (_root, tasks) = tasks(None).await;
    let mut slow = tasks
        .run(async {
            sleep(seconds(3)).await;
            "done"
        })
        .await
        .unwrap();

    let looks = [slow.yield_within(seconds(2)).await, slow.yield_within(seconds(2)).await];

    assert_eq!(looks, [None, Some(Ok("done"))]);
}

#[tokio::test]
async fn a_task_ends_when_its_holder_is_no_more() {
    let (root, tasks) = tasks(None).await;
    let task = tasks.run(std::future::pending::<()>()).await.unwrap();
    let pid = task.pid().clone();

    drop(task);

    assert_eq!(pid.gone().await, ExitReason::Shutdown);
    nobody_left(&root).await;
}

#[tokio::test]
async fn a_forgotten_task_does_its_work_and_nobody_waits_for_it() {
    let (root, tasks) = tasks(None).await;
    let (done, is_done) = oneshot::channel();

    let pid = tasks.start_child(async { done.send("work").unwrap() }).await.unwrap();

    assert_eq!(is_done.await.unwrap(), "work");
    assert_eq!(pid.gone().await, ExitReason::Normal);
    nobody_left(&root).await;
}

#[tokio::test(start_paused = true)]
async fn tasks_end_at_once_when_their_supervisor_is_stopped() {
    let (root, tasks) = tasks(None).await;
    let forgotten = tasks.start_child(std::future::pending()).await.unwrap();
    let task = tasks.run(std::future::pending::<()>()).await.unwrap();
    let before = Instant::now();

    root.stop().await;

    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(task.await, Err(TaskError::Exited(ExitReason::Shutdown)));
    assert_eq!(forgotten.gone().await, ExitReason::Shutdown);
    let late = tasks.run(async {}).await;
    assert_eq!(late.unwrap_err(), RequestError::NoProc);
}

#[tokio::test]
async fn a_task_more_than_there_may_be_is_refused_and_never_runs() {
    let (root, tasks) = tasks(Some(1)).await;
    let first = tasks.run(std::future::pending::<()>()).await.unwrap();

    let second = tasks.run(async { unreachable!("it is refused") as u8 }).await;
    drop(first);
    nobody_left(&root).await;
    let third = tasks.run(async { 3 }).await.unwrap().await;

    assert_eq!(second.unwrap_err(), RequestError::MaxChildren { limit: 1 });
    assert_eq!(third, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn shutting_a_task_down_says_what_it_ended_with() {
    let (_root, tasks) = tasks(None).await;
    let done = tasks.run(async { 1 }).await.unwrap();
    done.pid().gone().await;
    let asked = tasks.run(std::future::pending::<u8>()).await.unwrap();
    let killed = tasks.run(std::future::pending::<u8>()).await.unwrap();

    assert_eq!(done.shutdown(Shutdown::BrutalKill).await, Ok(1));
    assert_eq!(asked.shutdown(Shutdown::Timeout(SECOND)).await, Err(ExitReason::Shutdown));
    assert_eq!(killed.shutdown(Shutdown::BrutalKill).await, Err(ExitReason::Killed));
}

/// Counts how many run at once.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let outcome = work.await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

/// Items 1, 2, ... up to the last, counting those that were taken.
fn items(last: u64) -> (Arc<AtomicUsize>, impl Iterator<Item = u64> + Send + 'static) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let items = (1..=last).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (taken, items)
}

#[tokio::test(start_paused = true)]
async fn a_stream_gives_the_results_in_the_order_of_the_items_and_runs_so_many_at_once() {
    let (root, tasks) = tasks(None).await;
    let gauge = Gauge::default();
    let before = Instant::now();

    let during = gauge.clone();
    let mut stream = tasks.stream([3, 1, 2, 1]).max_concurrency(2).run(move |item| {
        during.clone().during(async move {
            sleep(seconds(item)).await;
            item
        })
    });
    let mut results = Vec::new();
    while let Some(result) = stream.next().await {
        results.push(result.unwrap());
    }

    assert_eq!(results, [3, 1, 2, 1]);
    assert_eq!((gauge.most(), before.elapsed()), (2, seconds(5)));
    nobody_left(&root).await;
}

#[tokio::test(start_paused = true)]
async fn an_unordered_stream_gives_each_result_when_it_is_ready() {
    let (_root, tasks) = tasks(None).await;

    let stream = tasks.stream([3, 1, 2]).max_concurrency(3).unordered();
    let mut stream = stream.run(|item| async move {
        sleep(seconds(item)).await;
        item
    });
    let mut results = Vec::new();
    while let Some(result) = stream.next().await {
        results.push(result.unwrap());
    }

    assert_eq!(results, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_takes_no_item_before_there_is_room_for_its_task() {
    let (root, tasks) = tasks(None).await;
    let (taken, items) = items(1_000_000);
    // The first takes long, and the results behind it wait: they count as well.
    let mut stream = tasks.stream(items).max_concurrency(4).run(|item| async move {
        sleep(seconds(if item == 1 { 4 } else { 1 })).await;
        item
    });
    let before_polling = taken.load(Ordering::Relaxed);

    let first = stream.next().await.unwrap();
    let after_one = taken.load(Ordering::Relaxed);
    drop(stream);

    assert_eq!((before_polling, first, after_one), (0, Ok(1), 4));
    nobody_left(&root).await;
    assert_eq!(taken.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_without_a_task_that_it_has_killed_for_its_slowness() {
    let (root, tasks) = tasks(None).await;

    let stream = tasks.stream([1, 9, 1, 2]).max_concurrency(2).timeout(seconds(3));
    let mut stream = stream.on_timeout(OnTimeout::KillTask).run(|item| async move {
        sleep(seconds(item)).await;
        item
    });
    let mut results = Vec::new();
    while let Some(result) = stream.next().await {
        results.push(result);
    }

    assert_eq!(results, [Ok(1), Err(TaskError::TimedOut { ms: 3_000 }), Ok(1), Ok(2)]);
    let history = root.tree().history();
    let killed = history.iter().filter(
        |event| matches!(&event.kind, Kind::Exited { reason } if *reason == ExitReason::Killed),
    );
    assert_eq!(killed.map(|event| &*event.path).collect::<Vec<_>>(), ["root/tasks/task#2"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_a_slow_task_unless_told_otherwise_and_takes_the_others_along() {
    let (root, tasks) = tasks(None).await;
    let (taken, items) = items(1_000);

    let stream = tasks.stream(items).max_concurrency(3).unordered().timeout(seconds(2));
    let mut stream = stream.run(|item| async move {
        sleep(seconds(if item == 1 { 9 } else { 1 })).await;
        item
    });
    let mut results = Vec::new();
    while let Some(result) = stream.next().await {
        results.push(result);
    }

    let (last, done) = results.split_last().unwrap();
    assert_eq!(last, &Err(TaskError::TimedOut { ms: 2_000 }));
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert!(taken.load(Ordering::Relaxed) < 10);
    nobody_left(&root).await;
}

#[tokio::test]
async fn a_panic_takes_one_place_in_a_stream_even_before_the_first_await() {
    let (_root, tasks) = tasks(None).await;

    let mut stream = tasks.stream(1..=3).run(|item| {
        if item == 2 {
            std::panic::resume_unwind(Box::new("two"));
        }
        async move { item }
    });

    assert_eq!(stream.next().await, Some(Ok(1)));
    let reason = ExitReason::failed("two");
    assert_eq!(stream.next().await, Some(Err(TaskError::Exited(reason))));
    assert_eq!(stream.next().await, Some(Ok(3)));
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn an_item_whose_task_is_refused_says_so() {
    let (_root, tasks) = tasks(Some(1)).await;
    let (finish, finished) = oneshot::channel::<()>();
    let keeps_the_only_place = tasks.run(finished).await.unwrap();

    let mut stream = tasks.stream([1]).run(|item| async move { item });
    let refused = stream.next().await;
    drop(finish);

    let limit = RequestError::MaxChildren { limit: 1 };
    assert_eq!(refused, Some(Err(TaskError::Refused(limit))));
    assert!(keeps_the_only_place.await.unwrap().is_err());
}

#[tokio::test]
async fn whoever_looks_again_at_a_task_that_gave_its_result_learns_that_it_has_ended() {
    let (_root, tasks) = tasks(None).await;
    let mut task = tasks.run(async { 7 }).await.unwrap();

    let looks = [task.yield_within(seconds(1)).await, task.yield_within(seconds(1)).await];

    let ended = Err(TaskError::Exited(ExitReason::Normal));
    assert_eq!(looks, [Some(Ok(7)), Some(ended.clone())]);
    assert_eq!(task.await, ended);
}
