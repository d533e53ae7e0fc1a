//! Stopping applications that would rather not stop, or have not come up yet.

use std::sync::Arc;
use std::time::Duration;

use otp::{
    Application, ApplicationError, Applications, ChildSpec, Clock, Ended, Environment, ExitReason,
    Process, RunContext, Shutdown, StartError, StartType, Strategy, SupervisorSpec,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::application::{application, controller, farewell, running};
use super::stage::{Journal, SECOND, patient, slow_worker};

#[tokio::test(start_paused = true)]
async fn an_application_has_all_the_time_it_needs_unless_told_otherwise() {
    let journal = Journal::default();
    let slow = |name: &'static str| {
        let notes = journal.clone();
        Application::new(name, move |_| {
            let slow = slow_worker(&notes, name, SECOND * 60).shutdown(Shutdown::Infinity);
            Ok(patient(Strategy::OneForOne).child(slow))
        })
    };
    let applications =
        controller([slow("hasty").shutdown(Shutdown::Timeout(SECOND)), slow("steady")]);
    applications.start_all().await.unwrap();
    journal.take();
    let before = Instant::now();

    applications.stop("steady").await.unwrap();
    let steady = before.elapsed();
    applications.stop("hasty").await.unwrap();

    assert_eq!((steady, before.elapsed()), (SECOND * 60, SECOND * 61));
    assert_eq!(journal.take(), ["stop steady shutdown"]);
}

/// Goes on when it is told to stop, and has to be killed.
struct Stubborn;

impl Process for Stubborn {
    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_stopping_everything_holds_for_each_application_with_its_hooks() {
    let journal = Journal::default();
    let stubborn = |name: &'static str| {
        Application::new(name, |_| {
            let child = ChildSpec::process("child", || Stubborn).shutdown(Shutdown::Infinity);
            let deeper = patient(Strategy::OneForOne).child(child);
            Ok(patient(Strategy::OneForOne).child(ChildSpec::supervisor("deeper", deeper)))
        })
    };
    let hanging = application(&journal, "hanging").prep_stop(|_| std::future::pending());
    let applications = Applications::new(Clock::system()).shutdown_timeout(Duration::from_secs(30));
    for one in [application(&journal, "fine"), stubborn("stubborn"), hanging] {
        applications.add(one).unwrap();
    }
    applications.start_all().await.unwrap();
    journal.take();
    let before = Instant::now();

    applications.stop_all().await;

    assert_eq!(before.elapsed(), SECOND * 60);
    assert_eq!(journal.take(), farewell("fine", "shutdown"));
    let exits: Vec<_> = applications.loaded().into_iter().map(|entry| entry.last_exit).collect();
    let [fine, killed] = [ExitReason::Shutdown, ExitReason::Killed].map(Some);
    assert_eq!(exits, [fine, killed.clone(), killed]);
}

/// An application that never comes up, and one that says when that has begun.
fn stuck(begun: &Arc<Notify>) -> Application {
    let begun = begun.clone();
    Application::new("stuck", move |_| {
        let begun = begun.clone();
        Ok(SupervisorSpec::default()
            .child(ChildSpec::process("child", move || Stuck(begun.clone()))))
    })
}

struct Stuck(Arc<Notify>);

impl Process for Stuck {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        self.0.notify_one();
        std::future::pending().await
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test]
async fn all_can_be_stopped_while_one_cannot_come_up() {
    let journal = Journal::default();
    let begun = Arc::default();
    let applications = controller([application(&journal, "one"), stuck(&begun)]);

    let (start, ended) = tokio::join!(applications.start_all(), async {
        begun.notified().await;
        applications.stop_all().await
    });

    assert_eq!(start, Err(ApplicationError::Ended));
    assert_eq!(ended, Ended { application: None, reason: ExitReason::Shutdown });
    assert_eq!(journal.take()[1..], farewell("one", "shutdown"));
}

#[tokio::test]
async fn an_end_that_ends_all_is_not_held_up_by_a_start_that_hangs() {
    let journal = Journal::default();
    let begun = Arc::default();
    let one = application(&journal, "one").start_type(StartType::Permanent);
    let applications = controller([one, stuck(&begun)]);

    let (start, ended) = tokio::join!(applications.start_all(), async {
        begun.notified().await;
        applications.tree().kill("root/one").unwrap();
        applications.ended().await
    });

    assert_eq!(start, Err(ApplicationError::Ended));
    assert_eq!(ended, Ended { application: Some("one".to_owned()), reason: ExitReason::Killed });
    assert_eq!(journal.take(), ["start one", "prep_stop one", "stopped one"]);
}

/// An application that comes up when `root/<other>` is gone, whose process it kills.
fn outliving(other: &'static str) -> Application {
    Application::new("outliving", move |_| {
        let child = ChildSpec::process("child", move || Outliving(other));
        Ok(SupervisorSpec::default().child(child))
    })
}

struct Outliving(&'static str);

impl Process for Outliving {
    async fn init(&mut self, context: &RunContext) -> Result<(), StartError> {
        let other = context.tree().pid(&format!("root/{}", self.0)).unwrap();
        other.kill();
        other.gone().await;
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test]
async fn what_one_needs_may_end_while_another_starts() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "one"),
        outliving("one"),
        application(&journal, "two").depends_on(["one"]),
    ]);

    let error = applications.start_all().await.unwrap_err();

    assert_eq!(error.to_string(), "application `two` needs `one`, which is not started");
    assert_eq!(journal.take(), ["start one", "prep_stop one", "stopped one"]);
    assert_eq!(running(&applications), [""; 0]);
}

#[tokio::test]
async fn a_request_that_is_given_up_is_carried_out_all_the_same() {
    let journal = Journal::default();
    let (entered, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hook = {
        let (entered, done) = (entered.clone(), done.clone());
        move |_: Environment| {
            let (entered, done) = (entered.clone(), done.clone());
            async move {
                entered.notify_one();
                done.notified().await;
            }
        }
    };
    let one = application(&journal, "one").start_type(StartType::Permanent).prep_stop(hook);
    let applications = controller([one, application(&journal, "two")]);
    applications.start_all().await.unwrap();

    tokio::select! {
        _ = applications.stop("one") => panic!("its hook waits"),
        () = entered.notified() => {}
    }
    done.notify_one();
    let again = applications.stop("one").await;

    assert_eq!(again, Err(ApplicationError::NotRunning { name: "one".to_owned() }));
    assert_eq!(running(&applications), ["two"]);
}
