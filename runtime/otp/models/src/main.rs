//! Models of what the supervision crate shares between threads without a lock.
//!
//! The files of the crate itself are compiled here against loom's primitives, and loom runs every
//! model in each order of events that the memory model allows. A workspace of its own, so that
//! nothing of it reaches what we ship. `make models` runs it.

// A binary has no outside, and what the models do not use is used there.
#![allow(dead_code)]

mod sync;

#[path = "../../src/signal.rs"]
mod signal;
#[path = "../../src/watch.rs"]
mod watch;

/// As much of an exit as the files need.
mod exit {
    /// Why a process ended.
    pub(crate) enum ExitReason {
        Killed,
    }

    pub(crate) fn panic_message(_: &(dyn std::any::Any + Send)) -> String {
        "a panic".to_owned()
    }
}

use std::future::Future;
use std::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use exit::ExitReason;
use signal::Signals;
use watch::{Act, Watches};

fn main() {
    let models: [(&str, fn()); 7] = [
        ("a_wait_ends_whenever_the_signal_is_raised", wait_ends),
        ("two_waits_end_with_one_signal", two_waits_end),
        ("a_wait_outlasts_the_other_signal", wait_outlasts_the_other),
        ("what_was_written_before_a_signal_is_seen_after_it", signal_publishes),
        ("a_wait_that_is_given_up_disturbs_no_other", wait_is_given_up),
        ("a_watch_acts_once_or_is_given_back", watch_acts_or_is_given_back),
        ("a_watch_taken_back_during_the_end_does_not_act_as_well", watch_is_taken_back),
    ];
    for (name, model) in models {
        let mut builder = loom::model::Builder::new();
        // What goes wrong does so with few preemptions; without a limit this takes hours.
        builder.preemption_bound = Some(2);
        builder.check(model);
        eprintln!("holds: {name}");
    }
    eprintln!("{} passed, 0 failed", models.len());
}

fn raiser(signal: &Arc<Signals>) -> thread::JoinHandle<()> {
    let signal = signal.clone();
    thread::spawn(move || signal.gone().raise())
}

fn wait_ends() {
    let signal = Arc::new(Signals::default());
    let raiser = raiser(&signal);

    // Loom says so if this never ends.
    block_on(signal.gone().raised());

    assert!(signal.gone().is_raised());
    raiser.join().expect("a raise does not panic");
}

fn two_waits_end() {
    let signal = Arc::new(Signals::default());
    let raiser = raiser(&signal);
    let other = signal.clone();
    let waiter = thread::spawn(move || block_on(other.gone().raised()));

    block_on(signal.gone().raised());

    waiter.join().expect("a wait does not panic");
    raiser.join().expect("a raise does not panic");
}

fn wait_outlasts_the_other() {
    let signal = Arc::new(Signals::default());
    let both = signal.clone();
    let raiser = thread::spawn(move || {
        both.stopping().raise();
        both.gone().raise();
    });

    block_on(signal.gone().raised());

    assert!(signal.gone().is_raised());
    assert!(signal.stopping().is_raised());
    raiser.join().expect("a raise does not panic");
}

fn signal_publishes() {
    let (signal, written) = (Arc::new(Signals::default()), Arc::new(AtomicUsize::new(0)));
    let (raised, writer) = (signal.clone(), written.clone());
    let raiser = thread::spawn(move || {
        writer.store(7, Ordering::Relaxed);
        raised.gone().raise();
    });

    block_on(signal.gone().raised());

    assert_eq!(written.load(Ordering::Relaxed), 7);
    raiser.join().expect("a raise does not panic");
}

fn wait_is_given_up() {
    let signal = Arc::new(Signals::default());
    let raiser = raiser(&signal);
    let given_up = signal.clone();
    block_on(async move {
        let mut wait = Box::pin(given_up.gone().raised());
        // Looked at once, and dropped.
        std::future::poll_fn(|context| {
            let _ = wait.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    });

    block_on(signal.gone().raised());

    raiser.join().expect("a raise does not panic");
}

fn ender(watches: &Arc<Watches>) -> thread::JoinHandle<()> {
    let watches = watches.clone();
    thread::spawn(move || watches.end(&ExitReason::Killed))
}

fn counting(count: &Arc<AtomicUsize>) -> Act {
    let count = count.clone();
    Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    })
}

fn watch_acts_or_is_given_back() {
    let (watches, acted) = (Arc::new(Watches::default()), Arc::new(AtomicUsize::new(0)));
    let ender = ender(&watches);

    let given_back = watches.add(counting(&acted), || false).is_err();

    ender.join().expect("an end does not panic");
    assert_eq!(acted.load(Ordering::Relaxed) + usize::from(given_back), 1);
}

fn watch_is_taken_back() {
    let (watches, acted) = (Arc::new(Watches::default()), Arc::new(AtomicUsize::new(0)));
    let watch = watches.add(counting(&acted), || false);
    let Ok(watch) = watch else { panic!("nothing has ended") };
    let ender = ender(&watches);

    let taken_back = watches.remove(watch);

    ender.join().expect("an end does not panic");
    assert_eq!(acted.load(Ordering::Relaxed) + usize::from(taken_back), 1);
}
