//! Registries: names that live as long as their processes.

use std::collections::HashSet;
use std::sync::mpsc;

use otp::{
    Actor, ActorRef, Bulkhead, CallError, ChildSpec, Clock, Context, DynamicSupervisor, ExitReason,
    Intensity, LISTENER_BACKLOG, Pid, RegisterError, Registry, RegistryEvent, Reply, Root,
    StartError, Strategy, SupervisorSpec,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::holding::Holder;
use super::stage::{Journal, SECOND, patient, restarted, start, worker};

type Names = Registry<&'static str, ActorRef<Reply<u64>>>;

/// An actor that takes a name at its start and tells which life of it this is.
struct Named(Names, &'static str);

impl Actor for Named {
    type Message = Reply<u64>;

    async fn init(&mut self, context: &Context<Reply<u64>>) -> Result<(), StartError> {
        Ok(self.0.register_actor(context, self.1)?)
    }

    async fn handle(
        &mut self,
        reply: Reply<u64>,
        context: &Context<Reply<u64>>,
    ) -> Result<(), ExitReason> {
        reply.send(context.pid().incarnation());
        Ok(())
    }
}

fn named(names: &Names, id: &'static str, name: &'static str) -> ChildSpec {
    let names = names.clone();
    ChildSpec::worker(id, move || Named(names.clone(), name))
}

async fn two() -> (Root, Pid, Pid) {
    let journal = Journal::default();
    let spec = patient(Strategy::OneForOne);
    let root = start(spec.child(worker(&journal, "a")).child(worker(&journal, "b"))).await;
    let (a, b) = (root.tree().pid("root/a").unwrap(), root.tree().pid("root/b").unwrap());
    (root, a, b)
}

#[tokio::test(start_paused = true)]
async fn a_name_follows_its_actor_through_restarts_and_means_nobody_after_the_end() {
    let names = Names::unique();
    let root = start(patient(Strategy::OneForOne).child(named(&names, "a", "clerk"))).await;
    let mut events = root.tree().subscribe();
    let clerk = names.via("clerk");

    let first = clerk.call(|reply| reply, SECOND).await;
    root.tree().kill("root/a").unwrap();
    restarted(&mut events, "root/a").await;
    let second = clerk.call(|reply| reply, SECOND).await;
    root.stop().await;

    assert_eq!((first, second), (Ok(1), Ok(2)));
    assert_eq!(clerk.call(|reply| reply, SECOND).await, Err(CallError::NoProc));
    assert!(clerk.actor().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_restarted_a_thousand_times_finds_its_unique_name_free_each_time() {
    let names = Names::unique();
    // One start that found the name taken would be tried again, and exceed this.
    let intensity = Intensity::new(1_000, 3_600 * SECOND);
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(intensity);
    let root = start(spec.child(named(&names, "a", "clerk"))).await;
    let tree = root.tree();
    let mut changes = tree.changes();

    for life in 1..=1_000 {
        let pid = names.whereis(&"clerk").unwrap();
        assert_eq!(pid.incarnation(), life);
        pid.kill();
        changes.wait_for(|_| tree.pid("root/a").is_some_and(|it| it != pid)).await.unwrap();
    }

    assert_eq!(names.count(), 1);
    assert_eq!(names.whereis(&"clerk"), tree.pid("root/a"));
}

#[tokio::test(start_paused = true)]
async fn a_unique_name_that_is_taken_fails_the_start_of_the_next() {
    let names = Names::unique();
    let spec = patient(Strategy::OneForOne);
    let spec = spec.child(named(&names, "a", "clerk")).child(named(&names, "b", "clerk"));

    let error = Root::start(spec, Clock::system()).await.unwrap_err();

    let holder = "already registered by <root/a#1>";
    assert_eq!(error.to_string(), format!("child \"b\" failed to start: {holder}"));
    assert_eq!(names.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_actor_whose_start_fails_leaves_no_name_behind() {
    struct Failing(Names);
    impl Actor for Failing {
        type Message = Reply<u64>;
        async fn init(&mut self, context: &Context<Reply<u64>>) -> Result<(), StartError> {
            self.0.register_actor(context, "clerk")?;
            Err(StartError::failed("planned"))
        }
        async fn handle(
            &mut self,
            _: Reply<u64>,
            _: &Context<Reply<u64>>,
        ) -> Result<(), ExitReason> {
            Ok(())
        }
    }
    let names = Names::unique();
    let failing = names.clone();
    let spec = patient(Strategy::OneForOne);

    let spec = spec.child(ChildSpec::worker("a", move || Failing(failing.clone())));
    Root::start(spec, Clock::system()).await.unwrap_err();

    assert_eq!((names.count(), names.whereis(&"clerk")), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_unique_registry_has_one_holder_and_a_dead_process_gets_none() {
    let (_root, a, b) = two().await;
    let registry = Registry::unique();

    registry.register(&a, "key", 1).unwrap();
    let taken = RegisterError::AlreadyRegistered { pid: a.clone() };
    assert_eq!(registry.register(&b, "key", 2), Err(taken.clone()));
    assert_eq!(registry.register(&a, "key", 2), Err(taken));
    a.kill();
    a.gone().await;

    assert_eq!(registry.lookup(&"key"), []);
    assert_eq!(registry.register(&a, "key", 1), Err(RegisterError::NoProc));
    assert_eq!(registry.register(&b, "key", 2), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_key_is_dispatched_to_all_its_holders() {
    let (_root, a, b) = two().await;
    let registry = Registry::duplicate();
    registry.register(&a, "news", 1).unwrap();
    registry.register(&b, "news", 2).unwrap();
    registry.register(&a, "news", 3).unwrap();
    registry.register(&b, "sport", 4).unwrap();

    let mut told = Vec::new();
    let count = registry.dispatch(&"news", |entries| told.extend_from_slice(entries));
    let none = registry.dispatch(&"weather", |_| unreachable!("nobody to tell"));

    assert_eq!(told, [(a.clone(), 1), (b.clone(), 2), (a.clone(), 3)]);
    assert_eq!((count, none), (3, 0));
    assert_eq!(registry.keys(&b), ["news", "sport"]);
    assert_eq!(registry.unregister(&"news", &a), 2);
    assert_eq!(registry.lookup(&"news"), [(b, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_of_entries_that_come_go_and_vanish() {
    let (_root, a, b) = two().await;
    let registry = Registry::duplicate();
    registry.register(&a, "before", 0).unwrap();
    let mut changes = registry.listen();

    registry.register(&b, "key", 1).unwrap();
    registry.update_value(&"key", &b, |value| value + 1);
    registry.unregister(&"key", &b);
    a.kill();
    a.gone().await;
    drop(registry);

    let registered = |key, pid: &Pid, value| (true, key, pid.clone(), value);
    let unregistered = |key, pid: &Pid, value| (false, key, pid.clone(), value);
    let mut heard = Vec::new();
    while let Ok(event) = changes.recv().await {
        heard.push(match event {
            RegistryEvent::Registered { key, pid, value } => registered(key, &pid, value),
            RegistryEvent::Unregistered { key, pid, value } => unregistered(key, &pid, value),
        });
    }
    let expected =
        [registered("key", &b, 1), unregistered("key", &b, 2), unregistered("before", &a, 0)];
    assert_eq!(heard, expected);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_lags_is_told_how_much_it_missed() {
    let (_root, a, _) = two().await;
    let registry = Registry::duplicate();
    let mut changes = registry.listen();

    for number in 0..LISTENER_BACKLOG + 3 {
        registry.register(&a, number, ()).unwrap();
    }

    assert_eq!(changes.recv().await, Err(RecvError::Lagged(3)));
    let first = RegistryEvent::Registered { key: 3, pid: a, value: () };
    assert_eq!(changes.recv().await, Ok(first));
}

#[test]
fn a_registry_keeps_notes_about_itself() {
    let registry = Registry::<u8, u8>::unique();

    registry.put_meta("limit", 5_u32);
    registry.put_meta("limit", 6_u32);

    assert_eq!(registry.meta::<u32>("limit").as_deref(), Some(&6));
    assert_eq!(registry.meta::<String>("limit"), None);
    assert_eq!([registry.delete_meta("limit"), registry.delete_meta("limit")], [true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_cast_to_a_name_nobody_has_is_refused() {
    let registry = Registry::<&str, ActorRef<()>>::unique();

    assert_eq!(registry.via("nobody").cast(()), Err(otp::CastError::NoProc));
}

type Clerks = Registry<&'static str, ActorRef<(oneshot::Sender<()>, Holder)>>;

/// An actor with a name that holds its thread when told to, and wants another name after that.
struct Clerk {
    names: Clerks,
    wanted: mpsc::Sender<Result<(), RegisterError>>,
}

impl Actor for Clerk {
    type Message = (oneshot::Sender<()>, Holder);

    async fn init(&mut self, context: &Context<Self::Message>) -> Result<(), StartError> {
        Ok(self.names.register_actor(context, "clerk")?)
    }

    async fn handle(
        &mut self,
        (entered, holder): Self::Message,
        context: &Context<Self::Message>,
    ) -> Result<(), ExitReason> {
        entered.send(()).unwrap();
        holder.hold();
        self.wanted.send(self.names.register_actor(context, "late")).unwrap();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_was_given_up_loses_its_name_to_its_successor_and_gets_no_other() {
    let names = Clerks::unique();
    let (wanted, answer) = mpsc::channel();
    let for_clerk = names.clone();
    let clerk = ChildSpec::worker("one", move || {
        let (names, wanted) = (for_clerk.clone(), wanted.clone());
        Clerk { names, wanted }
    });
    let busy = ChildSpec::supervisor("busy", patient(Strategy::OneForOne).child(clerk));
    let busy = busy.bulkhead(Bulkhead::new("busy", 1));
    let root = start(patient(Strategy::OneForOne).child(busy)).await;
    let mut events = root.tree().subscribe();
    let stuck = names.whereis(&"clerk").unwrap();

    let (holder, released) = Holder::spin();
    let (entered, was_entered) = oneshot::channel();
    names.via("clerk").cast((entered, holder)).unwrap();
    was_entered.await.unwrap();
    restarted(&mut events, "root/busy").await;
    let successor = names.whereis(&"clerk").unwrap();
    drop(released);
    let answer = tokio::task::spawn_blocking(move || answer.recv()).await.unwrap();

    assert_eq!(answer, Ok(Err(RegisterError::NoProc)));
    assert!(successor != stuck && successor.is_alive());
    assert_eq!(names.select(|key, _, _| Some(*key)), ["clerk"]);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_taken_while_processes_die_are_free_when_all_are_dead() {
    let registry = Registry::<u64, u64>::duplicate();
    let unique = Registry::<u64, u64>::unique();
    let spec = SupervisorSpec::new(Strategy::OneForOne);
    let root = start(spec.child(DynamicSupervisor::child("crowd", None))).await;
    let crowd = DynamicSupervisor::at(root.tree(), "root/crowd");
    let mut pids = Vec::new();

    for number in 0..500 {
        let (own, one) = (registry.clone(), unique.clone());
        // Each takes names in its own time and then ends; others take names for it meanwhile.
        let task = ChildSpec::task(number.to_string(), move |context| async move {
            for key in 0..4 {
                let _ = own.register(&context.pid(), (number + key) % 7, number);
                let _ = one.register(&context.pid(), (number + key) % 7, number);
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        let pid = crowd.start_child(task).await.unwrap().unwrap();
        let _ = registry.register(&pid, number % 7, number);
        if number % 3 == 0 {
            pid.kill();
        }
        let _ = unique.register(&pid, number % 7, number);
        pids.push(pid);
    }
    for pid in &pids {
        pid.gone().await;
    }

    assert_eq!(pids.iter().map(Pid::path).collect::<HashSet<_>>().len(), 500);
    assert_eq!((registry.count(), unique.count()), (0, 0));
}
