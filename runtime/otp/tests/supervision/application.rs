//! Parts of a program that start, stop and fail as a whole.

use otp::{
    Application, ApplicationError, ApplicationStatus, Applications, Clock, Ended, Environment,
    ExitReason, Intensity, StartError, StartType, Strategy, SupervisorSpec,
};

use super::stage::{Ask, Journal, SECOND, actor, patient, worker};

/// An application of one worker that is called like it, and tells its hooks.
pub fn application(journal: &Journal, name: &'static str) -> Application {
    let notes = journal.clone();
    let tree = move |_: &Environment| Ok(patient(Strategy::OneForOne).child(worker(&notes, name)));
    telling(journal, name, Application::new(name, tree))
}

fn telling(journal: &Journal, name: &'static str, application: Application) -> Application {
    let hook = |word: &'static str| {
        let journal = journal.clone();
        move |_: Environment| {
            let journal = journal.clone();
            async move { journal.note(format!("{word} {name}")) }
        }
    };
    application.prep_stop(hook("prep_stop")).stop(hook("stopped"))
}

fn unable(name: &'static str) -> Application {
    Application::new(name, |_| Err(StartError::failed("no luck")))
}

pub fn controller(applications: impl IntoIterator<Item = Application>) -> Applications {
    let controller = Applications::new(Clock::system());
    for application in applications {
        controller.add(application).unwrap();
    }
    controller
}

pub fn running(applications: &Applications) -> Vec<String> {
    applications.which().into_iter().map(|entry| entry.name).collect()
}

/// What hooks and workers tell when an application is stopped.
pub fn farewell(name: &str, reason: &str) -> [String; 3] {
    [format!("prep_stop {name}"), format!("stop {name} {reason}"), format!("stopped {name}")]
}

#[tokio::test]
async fn an_application_starts_only_when_what_it_needs_is_running() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "web").depends_on(["store", "log"]),
        application(&journal, "store"),
        application(&journal, "log"),
    ]);

    applications.start("store").await.unwrap();
    let early = applications.start("web").await;
    applications.start("log").await.unwrap();
    applications.start("web").await.unwrap();
    let twice = applications.start("web").await;

    let not_started = ApplicationError::NotStarted {
        application: "web".to_owned(),
        dependency: "log".to_owned(),
    };
    assert_eq!(early, Err(not_started));
    assert_eq!(twice, Err(ApplicationError::AlreadyStarted { name: "web".to_owned() }));
    assert_eq!(running(&applications), ["store", "log", "web"]);
    assert!(applications.tree().pid("root/web/web").is_some());
}

#[tokio::test]
async fn what_one_needs_is_started_first_and_all_are_stopped_in_reverse() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "web").depends_on(["store", "log"]).optionally(["cache", "ghost"]),
        application(&journal, "store").depends_on(["log"]),
        application(&journal, "log"),
        application(&journal, "cache"),
        application(&journal, "other"),
    ]);
    applications.start("log").await.unwrap();

    let started = applications.ensure_all_started("web").await.unwrap();
    let again = applications.ensure_all_started("web").await.unwrap();
    let rest = applications.start_all().await.unwrap();
    journal.take();
    let ended = applications.stop_all().await;

    assert_eq!(started, ["store", "cache", "web"]);
    assert_eq!((again, rest), (Vec::new(), vec!["other".to_owned()]));
    let order = ["other", "web", "cache", "store", "log"];
    assert_eq!(journal.take(), order.map(|name| farewell(name, "shutdown")).concat());
    assert_eq!(ended, Ended { application: None, reason: ExitReason::Shutdown });
    assert_eq!(applications.start("log").await, Err(ApplicationError::Ended));
}

#[tokio::test]
async fn when_the_third_of_four_does_not_start_the_two_before_it_are_stopped_in_reverse() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "one"),
        application(&journal, "two").depends_on(["one"]),
        unable("three"),
        application(&journal, "four").depends_on(["three"]),
    ]);

    let error = applications.start_all().await.unwrap_err();

    let text = "application `three` did not start: no luck; stopped again: `two`, `one`";
    assert_eq!(error.to_string(), text);
    let mut story = vec!["start one".to_owned(), "start two".to_owned()];
    story.extend(["two", "one"].map(|name| farewell(name, "shutdown")).concat());
    assert_eq!(journal.take(), story);
    assert_eq!(running(&applications), [""; 0]);
    // It was temporary, so another attempt may be made.
    applications.start("two").await.unwrap_err();
    applications.ensure_all_started("two").await.unwrap();
}

#[tokio::test]
async fn a_failed_start_leaves_alone_what_was_running_before() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "one"),
        application(&journal, "two"),
        unable("three").depends_on(["one", "two"]),
    ]);
    applications.start("two").await.unwrap();

    let error = applications.ensure_all_started("three").await.unwrap_err();

    let stopped = vec!["one".to_owned()];
    let error_is = |name: &str, error| ApplicationError::StartFailed {
        name: name.to_owned(),
        error,
        stopped: stopped.clone(),
    };
    assert_eq!(error, error_is("three", StartError::failed("no luck")));
    assert_eq!(running(&applications), ["two"]);
}

#[tokio::test]
async fn nothing_is_started_of_what_cannot_be_started_in_any_order() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "fine"),
        application(&journal, "a").depends_on(["fine", "b"]),
        application(&journal, "b").depends_on(["a"]),
        application(&journal, "c").depends_on(["fien"]),
    ]);

    let circle = applications.ensure_all_started("a").await.unwrap_err();
    let unknown = applications.ensure_all_started("c").await.unwrap_err();
    let all = applications.start_all().await.unwrap_err();
    let wanted = applications.ensure_all_started("d").await.unwrap_err();
    let twin = applications.add(application(&journal, "a")).unwrap_err();
    let name = applications.add(Application::new("a/b", |_| unreachable!())).unwrap_err();

    assert_eq!(circle.to_string(), "applications depend on each other in a circle: a -> b -> a");
    let text = "application `c` depends on `fien`, which there is not, did you mean `fine`?";
    assert_eq!(unknown.to_string(), text);
    assert_eq!(all, circle);
    assert!(matches!(wanted, ApplicationError::Unknown { .. }));
    assert_eq!(twin.to_string(), "two applications are called `a`");
    assert_eq!(name, ApplicationError::InvalidName { name: "a/b".to_owned() });
    assert_eq!(journal.take(), [""; 0]);
}

#[tokio::test]
async fn stopping_one_by_hand_minds_neither_its_dependents_nor_its_start_type() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "store").start_type(StartType::Permanent),
        application(&journal, "web").depends_on(["store"]),
    ]);
    applications.start_all().await.unwrap();
    journal.take();

    applications.stop("store").await.unwrap();
    let twice = applications.stop("store").await;

    assert_eq!(journal.take(), farewell("store", "shutdown"));
    assert_eq!(twice, Err(ApplicationError::NotRunning { name: "store".to_owned() }));
    assert_eq!(running(&applications), ["web"]);
    applications.start("store").await.unwrap();
    assert_eq!(running(&applications), ["web", "store"]);
}

/// An application whose tree tolerates no failure at all.
fn fragile(journal: &Journal, name: &'static str) -> Application {
    let notes = journal.clone();
    let tree = move |_: &Environment| {
        let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(Intensity::new(0, SECOND));
        Ok(spec.child(worker(&notes, name)))
    };
    telling(journal, name, Application::new(name, tree))
}

#[tokio::test]
async fn a_permanent_application_that_gives_up_takes_all_others_down_in_reverse() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "one"),
        fragile(&journal, "two").start_type(StartType::Permanent),
        application(&journal, "three"),
    ]);
    applications.start_all().await.unwrap();
    journal.take();

    actor(&applications.tree(), "root/two/two").cast(Ask::Panic("out of luck")).unwrap();
    let ended = applications.ended().await;

    let reason = ExitReason::Shutdown;
    assert_eq!(ended, Ended { application: Some("two".to_owned()), reason });
    assert_eq!(ended.to_string(), "application `two` ended: shutdown");
    let mut story = vec!["stop two error:out of luck".to_owned()];
    story.extend(["prep_stop two".to_owned(), "stopped two".to_owned()]);
    story.extend(["three", "one"].map(|name| farewell(name, "shutdown")).concat());
    assert_eq!(journal.take(), story);
    assert_eq!(applications.stop_all().await, ended, "it has been told already");
}

#[tokio::test]
async fn the_end_of_each_start_type_means_what_it_says() {
    for (start_type, ends_all) in
        [(StartType::Permanent, true), (StartType::Transient, true), (StartType::Temporary, false)]
    {
        let journal = Journal::default();
        let applications = controller([
            application(&journal, "one"),
            application(&journal, "two").start_type(start_type),
        ]);
        applications.start_all().await.unwrap();

        applications.tree().kill("root/two").unwrap();
        if ends_all {
            let ended = applications.ended().await;
            let reason = ExitReason::Killed;
            assert_eq!(ended, Ended { application: Some("two".to_owned()), reason });
            assert_eq!(running(&applications), [""; 0]);
        } else {
            while journal.take().last().is_none_or(|note| note != "stopped two") {
                tokio::task::yield_now().await;
            }
            let two = applications.loaded().pop().unwrap();
            assert_eq!(two.last_exit, Some(ExitReason::Killed));
            assert_eq!(two.status, ApplicationStatus::Stopped);
            assert_eq!(running(&applications), ["one"]);
        }
    }
}

#[tokio::test]
async fn a_permanent_application_that_does_not_start_is_the_end_of_all() {
    let journal = Journal::default();
    let applications =
        controller([application(&journal, "one"), unable("two").start_type(StartType::Permanent)]);
    applications.start("one").await.unwrap();

    let error = applications.start("two").await.unwrap_err();
    let ended = applications.ended().await;

    assert_eq!(error.to_string(), "application `two` did not start: no luck");
    assert_eq!(ended.to_string(), "application `two` ended: error:failed to start: no luck");
    assert_eq!(journal.take()[1..], farewell("one", "shutdown"));
}

#[tokio::test]
async fn a_transient_application_may_decline_to_start_and_a_permanent_one_may_not() {
    let decline = |name| Application::new(name, |_| Err(StartError::Ignore));
    let applications = controller([
        decline("transient").start_type(StartType::Transient),
        decline("permanent").start_type(StartType::Permanent),
    ]);

    let first = applications.start("transient").await.unwrap_err();
    let still_there = applications.start("transient").await.unwrap_err();
    applications.start("permanent").await.unwrap_err();
    let ended = applications.ended().await;

    assert_eq!(first.to_string(), "application `transient` did not start: not wanted");
    assert_eq!(still_there, first);
    assert_eq!(ended.application.as_deref(), Some("permanent"));
}

#[tokio::test]
async fn a_panic_in_a_hook_or_in_the_start_is_reported_and_harms_nobody() {
    let journal = Journal::default();
    let panics = |what: &'static str| {
        move |_: Environment| async move { std::panic::resume_unwind(Box::new(what)) }
    };
    let applications = controller([
        application(&journal, "one"),
        application(&journal, "two").prep_stop(panics("prep")).stop(panics("stop")),
        Application::new("three", |_| std::panic::resume_unwind(Box::new("start"))),
    ]);
    applications.ensure_all_started("one").await.unwrap();
    applications.ensure_all_started("two").await.unwrap();
    let three = applications.start("three").await.unwrap_err();
    journal.take();

    applications.stop_all().await;

    assert_eq!(three.to_string(), "application `three` did not start: panicked: start");
    let story = [vec!["stop two shutdown".to_owned()], farewell("one", "shutdown").to_vec()];
    assert_eq!(journal.take(), story.concat());
}

#[tokio::test]
async fn when_the_root_is_killed_the_hooks_run_and_no_application_is_blamed() {
    let journal = Journal::default();
    let applications = controller([
        application(&journal, "one").start_type(StartType::Permanent),
        application(&journal, "two").start_type(StartType::Permanent),
    ]);
    applications.start_all().await.unwrap();
    journal.take();

    applications.tree().kill("root").unwrap();
    let ended = applications.ended().await;

    assert_eq!(ended, Ended { application: None, reason: ExitReason::Killed });
    let mut hooks = journal.take();
    hooks.retain(|note| !note.starts_with("stop "));
    assert_eq!(hooks, ["prep_stop two", "stopped two", "prep_stop one", "stopped one"]);
}
