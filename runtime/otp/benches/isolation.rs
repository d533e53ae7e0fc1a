//! Isolation: what a call to an innocent actor costs while a neighbour holds threads.
//!
//! `cargo bench --locked -p otp --bench isolation -- --measure` prints it. Nothing is decided here.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use otp::{
    Actor, Bulkhead, ChildSpec, Clock, Context, ExitReason, Intensity, Reply, Root, Strategy,
    SupervisionEventKind as Kind, SupervisorSpec, Tree, Watchdog,
};
use tokio::runtime::{Builder, Runtime};

const CALLS: usize = 5_000;
const TRIALS: usize = 20;
const BULKHEADS: usize = 20;
/// How long a neighbour spins at most; nobody may be left who could tell it to stop.
const SPIN_MAX: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(10);

enum Ask {
    Answer(Reply<()>),
    /// Says that it is at it, and holds its thread.
    Spin(Reply<()>, Arc<AtomicBool>),
}

struct Worker;

impl Actor for Worker {
    type Message = Ask;

    async fn handle(&mut self, message: Ask, _: &Context<Ask>) -> Result<(), ExitReason> {
        match message {
            Ask::Answer(reply) => reply.send(()),
            Ask::Spin(reply, released) => {
                reply.send(());
                let begun = Instant::now();
                while !released.load(Ordering::Acquire) && begun.elapsed() < SPIN_MAX {
                    std::hint::spin_loop();
                }
            }
        }
        Ok(())
    }
}

fn main() {
    // `cargo test --benches` runs every benchmark once.
    if !std::env::args().any(|argument| argument == "--measure") {
        return;
    }
    println!("{:<44} {:>9} {:>9} {:>9}  of the healthy p50", "a call, µs", "p50", "p99", "max");
    let healthy = calls("healthy", None, 0, None);
    calls("one of two shared threads is held", None, 1, Some(healthy));
    calls("both shared threads are held", None, 2, Some(healthy));
    calls("both threads of a bulkhead are held", Some(2), 2, Some(healthy));
    println!(
        "measured before, elsewhere: 90 healthy, 112 one held, 68 (p99 14,640) on its own runtime"
    );
    watchdog();
    memory();
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime is made")
}

fn patient() -> SupervisorSpec {
    SupervisorSpec::new(Strategy::OneForOne).intensity(Intensity::new(1_000, PATIENCE))
}

/// An innocent worker, and a supervisor `busy` with `one` and `two`.
async fn start(bulkhead: Option<usize>, watchdog: Watchdog) -> Root {
    let [one, two] = ["one", "two"].map(|id| ChildSpec::worker(id, || Worker));
    let busy = ChildSpec::supervisor("busy", patient().child(one).child(two));
    let busy = match bulkhead {
        Some(threads) => busy.bulkhead(Bulkhead::new("busy", threads)).watchdog(watchdog),
        None => busy,
    };
    let innocent = ChildSpec::worker("innocent", || Worker);
    let spec = patient().child(busy).child(innocent);
    Root::start(spec, Clock::system()).await.expect("the tree starts")
}

async fn hold(tree: &Tree, path: &str, released: &Arc<AtomicBool>) {
    let actor = tree.whereis::<Ask>(path).expect("it is up");
    let released = released.clone();
    actor.call(|reply| Ask::Spin(reply, released), PATIENCE).await.expect("it answers");
}

/// Measures calls while so many threads are held, and gives the p50.
fn calls(what: &str, bulkhead: Option<usize>, held: usize, healthy: Option<f64>) -> f64 {
    let runtime = runtime();
    let mut times = runtime.block_on(async {
        let root = start(bulkhead, Watchdog::report_only()).await;
        let (tree, released) = (root.tree(), Arc::new(AtomicBool::new(false)));
        for path in ["root/busy/one", "root/busy/two"].into_iter().take(held) {
            hold(&tree, path, &released).await;
        }
        let actor = tree.whereis::<Ask>("root/innocent").expect("it is up");
        let (begun, mut times) = (Instant::now(), Vec::new());
        while times.len() < CALLS && begun.elapsed() < SPIN_MAX {
            let asked = Instant::now();
            actor.call(Ask::Answer, PATIENCE).await.expect("it answers");
            times.push(asked.elapsed());
        }
        released.store(true, Ordering::Release);
        root.stop().await;
        times
    });
    runtime.shutdown_background();
    times.sort();
    let [p50, p99, max] = [50, 99, 100].map(|share| micros(percentile(&times, share)));
    let ratio = healthy.map(|healthy| format!("{:.2}", p50 / healthy)).unwrap_or_default();
    println!("{what:<44} {p50:>9.1} {p99:>9.1} {max:>9.1}  {ratio}");
    p50
}

/// Measures how long it takes until a stall is named, and until its place is back.
fn watchdog() {
    let (mut named, mut back) = (Vec::new(), Vec::new());
    let runtime = runtime();
    runtime.block_on(async {
        let root = start(Some(2), Watchdog::default().abandoned_max(64)).await;
        let tree = root.tree();
        for _ in 0..TRIALS {
            let released = Arc::new(AtomicBool::new(false));
            let mut events = tree.subscribe();
            let begun = Instant::now();
            hold(&tree, "root/busy/one", &released).await;
            hold(&tree, "root/busy/two", &released).await;
            loop {
                let event = events.recv().await.expect("the tree lives");
                match event.kind {
                    Kind::Overstayed { .. } if event.path.ends_with("one") => {
                        named.push(begun.elapsed());
                    }
                    Kind::Restarted => break,
                    _ => {}
                }
            }
            back.push(begun.elapsed());
            released.store(true, Ordering::Release);
        }
        root.stop().await;
    });
    println!(
        "{:<44} {:>9} {:>9} {:>9}",
        "a stall on all threads of a bulkhead, ms", "p50", "p99", "max"
    );
    for (what, mut times) in [("named", named), ("back on new threads", back)] {
        times.sort();
        let [p50, p99, max] = [50, 99, 100].map(|share| micros(percentile(&times, share)) / 1e3);
        println!("{what:<44} {p50:>9.1} {p99:>9.1} {max:>9.1}");
    }
}

/// Measures what an idle bulkhead with two threads costs.
fn memory() {
    let runtime = runtime();
    runtime.block_on(async {
        let child = |number: usize, bulkhead: bool| {
            let id = format!("child-{number}");
            let child = ChildSpec::worker(id, || Worker);
            if bulkhead { child.bulkhead(Bulkhead::new("busy", 2)) } else { child }
        };
        let mut sizes = Vec::new();
        for is_dedicated in [false, true] {
            let before = resident_kib();
            let spec = patient().children((0..BULKHEADS).map(|number| child(number, is_dedicated)));
            let root = Root::start(spec, Clock::system()).await.expect("the tree starts");
            sizes.push(resident_kib().saturating_sub(before) / BULKHEADS);
            root.stop().await;
        }
        println!(
            "a worker takes {} KiB; behind a bulkhead of two threads {} KiB",
            sizes[0], sizes[1]
        );
    });
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    let place = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
