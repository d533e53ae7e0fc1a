//! A registry against a naive one, in any order of entries, changes and deaths.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::child::ChildKind;
use crate::clock::Clock;
use crate::incarnation::{ExitGuard, Incarnation, Surroundings};
use crate::tree::Tree;

/// A process that does nothing but end when it is dropped.
struct Idle {
    pid: Pid,
    _guard: ExitGuard,
}

impl Idle {
    fn new(path: &str) -> Self {
        let tree = Tree::new(Clock::system());
        let around = Surroundings::default();
        let incarnation =
            Incarnation::new(path.into(), ChildKind::Worker, None, tree, None, around);
        Self { pid: Pid(incarnation.clone()), _guard: ExitGuard::new(incarnation) }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(usize, u8, u8),
    Unregister(usize, u8),
    UnregisterOne(usize, u8),
    UnregisterEven(usize, u8),
    Update(usize, u8),
    /// The process ends and another takes its place.
    Die(usize),
}

const PROCESSES: usize = 3;
const KEYS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let (who, key) = (0..PROCESSES, 0..KEYS);
    prop_oneof![
        4 => (who.clone(), key.clone(), any::<u8>()).prop_map(|(p, k, v)| Step::Register(p, k, v)),
        1 => (who.clone(), key.clone()).prop_map(|(p, k)| Step::Unregister(p, k)),
        1 => (who.clone(), key.clone()).prop_map(|(p, k)| Step::UnregisterOne(p, k)),
        1 => (who.clone(), key.clone()).prop_map(|(p, k)| Step::UnregisterEven(p, k)),
        1 => (who.clone(), key).prop_map(|(p, k)| Step::Update(p, k)),
        2 => who.prop_map(Step::Die),
    ]
}

type Entry = (u8, Pid, u8);

/// The naive registry: entries in the order of their registration.
fn expect_step(model: &mut Vec<Entry>, step: &Step, pids: &[Pid], is_unique: bool) {
    match *step {
        Step::Register(who, key, value) => {
            if !is_unique || model.iter().all(|entry| entry.0 != key) {
                model.push((key, pids[who].clone(), value));
            }
        }
        Step::Unregister(who, key) => model.retain(|it| (it.0, &it.1) != (key, &pids[who])),
        Step::UnregisterOne(who, key) => {
            let at = model.iter().position(|it| (it.0, &it.1) == (key, &pids[who]));
            at.map(|at| model.remove(at));
        }
        Step::UnregisterEven(who, key) => {
            model.retain(|it| (it.0, &it.1) != (key, &pids[who]) || it.2 % 2 == 1);
        }
        Step::Update(who, key) => {
            for it in model.iter_mut().filter(|it| (it.0, &it.1) == (key, &pids[who])) {
                it.2 = it.2.wrapping_add(1);
            }
        }
        Step::Die(who) => model.retain(|it| it.1 != pids[who]),
    }
}

fn take_step(registry: &Registry<u8, u8>, step: &Step, processes: &mut [Idle]) {
    match *step {
        Step::Register(who, key, value) => {
            let holder = registry.whereis(&key);
            let outcome = registry.register(&processes[who].pid, key, value);
            if let Err(error) = outcome {
                assert_eq!(Some(error), holder.map(|pid| RegisterError::AlreadyRegistered { pid }));
            }
        }
        Step::Unregister(who, key) => drop(registry.unregister(&key, &processes[who].pid)),
        Step::UnregisterOne(who, key) => {
            let had_one = !registry.values(&key, &processes[who].pid).is_empty();
            assert_eq!(registry.unregister_one(&key, &processes[who].pid), had_one);
        }
        Step::UnregisterEven(who, key) => {
            registry.unregister_match(&key, &processes[who].pid, |value| value % 2 == 0);
        }
        Step::Update(who, key) => {
            registry.update_value(&key, &processes[who].pid, |value| value.wrapping_add(1));
        }
        Step::Die(who) => {
            let dead = std::mem::replace(&mut processes[who], Idle::new("successor")).pid;
            assert_eq!(registry.register(&dead, 0, 0), Err(refusal(registry, &dead)));
        }
    }
}

/// What is said to a dead process that wants the key 0.
fn refusal(registry: &Registry<u8, u8>, dead: &Pid) -> RegisterError {
    assert_ne!(registry.whereis(&0).as_ref(), Some(dead));
    match registry.whereis(&0).filter(|_| registry.0.is_unique) {
        Some(pid) => RegisterError::AlreadyRegistered { pid },
        None => RegisterError::NoProc,
    }
}

fn assert_same(registry: &Registry<u8, u8>, model: &[Entry], processes: &[Idle]) {
    let all = registry.select(|key, pid, value| Some((*key, pid.clone(), *value)));
    assert_eq!(all, model);
    assert_eq!(registry.count(), model.len());
    for key in 0..KEYS {
        let under: Vec<_> = model.iter().filter(|it| it.0 == key).collect();
        let found: Vec<_> = under.iter().map(|it| (it.1.clone(), it.2)).collect();
        assert_eq!(registry.lookup(&key), found);
        assert_eq!(registry.whereis(&key), found.first().map(|(pid, _)| pid.clone()));
        let odd = under.iter().filter(|it| it.2 % 2 == 1).count();
        assert_eq!(registry.count_match(&key, |_, value| value % 2 == 1), odd);
    }
    for Idle { pid, .. } in processes {
        let of = || model.iter().filter(|it| it.1 == *pid);
        assert_eq!(registry.keys(pid), of().map(|it| it.0).collect::<Vec<_>>());
        for key in 0..KEYS {
            let values: Vec<_> = of().filter(|it| it.0 == key).map(|it| it.2).collect();
            assert_eq!(registry.values(&key, pid), values);
        }
        assert_eq!(pid.0.watch_count(), usize::from(of().next().is_some()));
    }
}

/// What a listener that hears everything believes.
fn listen_to(
    believed: &mut Vec<(u8, Pid)>,
    changes: &mut broadcast::Receiver<RegistryEvent<u8, u8>>,
) {
    loop {
        match changes.try_recv() {
            Ok(RegistryEvent::Registered { key, pid, .. }) => believed.push((key, pid)),
            Ok(RegistryEvent::Unregistered { key, pid, .. }) => {
                let at = believed.iter().position(|it| *it == (key, pid.clone())).unwrap();
                believed.remove(at);
            }
            Err(TryRecvError::Empty) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn sorted(believed: &[(u8, Pid)]) -> Vec<String> {
    let mut words: Vec<_> =
        believed.iter().map(|(key, pid)| format!("{key} {:p}", Arc::as_ptr(&pid.0))).collect();
    words.sort_unstable();
    words
}

proptest! {
    #[test]
    fn a_registry_says_what_a_naive_one_does(
        is_unique: bool,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let registry = if is_unique { Registry::unique() } else { Registry::duplicate() };
        let mut changes = registry.listen();
        let mut processes = ["a", "b", "c"].map(Idle::new);
        let (mut model, mut believed) = (Vec::new(), Vec::new());

        for step in steps {
            let pids = processes.each_ref().map(|process| process.pid.clone());
            expect_step(&mut model, &step, &pids, is_unique);
            take_step(&registry, &step, &mut processes);

            assert_same(&registry, &model, &processes);
            listen_to(&mut believed, &mut changes);
            let held: Vec<_> = model.iter().map(|it| (it.0, it.1.clone())).collect();
            prop_assert_eq!(sorted(&believed), sorted(&held));
        }
    }
}

#[test]
fn a_registry_that_is_dropped_leaves_no_watch_behind() {
    let process = Idle::new("a");
    let registry = Registry::unique();
    registry.register(&process.pid, "key", ()).unwrap();
    assert_eq!(process.pid.0.watch_count(), 1);

    drop(registry);

    assert_eq!(process.pid.0.watch_count(), 0);
}

#[test]
fn a_panic_in_a_users_code_leaves_the_registry_usable() {
    let process = Idle::new("a");
    let registry = Registry::unique();
    registry.register(&process.pid, "key", 1).unwrap();

    let shared = std::panic::AssertUnwindSafe(&registry);
    let panics = |_: &u8| std::panic::resume_unwind(Box::new("planned"));
    let outcome = std::panic::catch_unwind(|| shared.update_value(&"key", &process.pid, panics));

    assert!(outcome.is_err());
    assert_eq!(registry.values(&"key", &process.pid), [1]);
}
