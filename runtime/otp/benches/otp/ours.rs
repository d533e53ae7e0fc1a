//! The work of `bench.erl` on this crate, as its users write it: same sizes, same order, same
//! method. One run is one round; it prints a figure a line, as `name value`.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use otp::{
    Actor, ActorRef, BoxFuture, CALL_TIMEOUT, ChildSpec, Clock, Context, ExitReason, Intensity,
    Reply, Root, StartError, Strategy, SupervisorRef, SupervisorSpec,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

const IDLE: u32 = 20_000;
const CHURNS: u32 = 10_000;
const CALLS: u32 = 50_000;
const CASTS: u32 = 200_000;
const NESTS: u32 = 100;
const KILLS: u32 = 3_000;
const TREE: u32 = 10_000;

/// One round on a runtime with so many worker threads; of `only` one part of it, for a profiler.
///
/// # Panics
/// When a measured operation does not do what it is measured for.
pub(crate) fn round(threads: usize, only: Option<&str>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    // As tasks, because the thread that blocks on the runtime is none of its workers.
    for (name, part) in parts() {
        if only.is_none_or(|only| only == name) {
            runtime.block_on(runtime.spawn(part)).expect("a round goes through");
        }
    }
}

fn parts() -> [(&'static str, BoxFuture<'static, ()>); 6] {
    [
        ("spawn", Box::pin(spawn_and_memory())),
        ("churn", Box::pin(churn())),
        ("calls", Box::pin(calls())),
        ("casts", Box::pin(casts())),
        ("restarts", Box::pin(restarts())),
        ("trees", Box::pin(trees())),
    ]
}

type Announce = UnboundedSender<ActorRef<Ask>>;

struct Worker {
    announce: Option<Announce>,
    notes: u64,
}

enum Ask {
    Ping(Reply<()>),
    Note,
}

impl Actor for Worker {
    type Message = Ask;

    async fn init(&mut self, context: &Context<Ask>) -> Result<(), StartError> {
        if let Some(announce) = &self.announce {
            announce.send(context.myself()).map_err(StartError::failed)?;
        }
        Ok(())
    }

    async fn handle(&mut self, message: Ask, _: &Context<Ask>) -> Result<(), ExitReason> {
        match message {
            Ask::Ping(reply) => reply.send(()),
            Ask::Note => self.notes += 1,
        }
        Ok(())
    }
}

fn worker(id: u32, announce: Option<Announce>) -> ChildSpec {
    ChildSpec::worker(id.to_string(), move || Worker { announce: announce.clone(), notes: 0 })
}

fn spec(strategy: Strategy, children: Vec<ChildSpec>) -> SupervisorSpec {
    let intensity = Intensity::new(1_000_000, Duration::from_secs(1));
    SupervisorSpec::new(strategy).intensity(intensity).children(children)
}

async fn start(spec: SupervisorSpec) -> Root {
    Root::start(spec, Clock::system()).await.expect("the tree starts")
}

async fn one_worker() -> (Root, ActorRef<Ask>) {
    let root = start(spec(Strategy::OneForOne, vec![worker(1, None)])).await;
    let worker = root.tree().whereis("root/1").expect("the worker is up");
    (root, worker)
}

async fn instances() -> (Root, SupervisorRef) {
    let root = start(spec(Strategy::SimpleOneForOne, vec![worker(1, None)])).await;
    let supervisor = root.supervisor().expect("the supervisor is up");
    (root, supervisor)
}

async fn stop(root: Root) {
    assert_eq!(root.stop().await, ExitReason::Shutdown);
}

async fn spawn_and_memory() {
    let (root, supervisor) = instances().await;
    let resident = resident_bytes();
    let began = Instant::now();
    for _ in 0..IDLE {
        supervisor.start_instance("idle").await.expect("an instance starts");
    }
    figure("spawn", us(began.elapsed()) / f64::from(IDLE));
    figure("resident", (resident_bytes() - resident) / f64::from(IDLE));
    stop(root).await;
}

async fn churn() {
    let (root, supervisor) = instances().await;
    for _ in 0..CHURNS / 10 {
        turn(&supervisor).await;
    }
    let began = Instant::now();
    for _ in 0..CHURNS {
        turn(&supervisor).await;
    }
    figure("churn", us(began.elapsed()) / f64::from(CHURNS));
    stop(root).await;
}

async fn turn(supervisor: &SupervisorRef) {
    let child = supervisor.start_instance("idle").await.expect("an instance starts");
    let child = child.expect("it does not ignore its start");
    supervisor.terminate_child(child).await.expect("it is a child");
}

async fn calls() {
    let (root, worker) = one_worker().await;
    for _ in 0..CALLS / 10 {
        ping(&worker, CALL_TIMEOUT).await;
    }
    let mut samples = Vec::with_capacity(CALLS as usize);
    for _ in 0..CALLS {
        let began = Instant::now();
        ping(&worker, CALL_TIMEOUT).await;
        samples.push(began.elapsed());
    }
    percentiles("call", samples, 1.0);
    let began = Instant::now();
    for _ in 0..CALLS {
        ping(&worker, CALL_TIMEOUT).await;
    }
    figure("call_rate", f64::from(CALLS) / began.elapsed().as_secs_f64() / 1_000.0);
    stop(root).await;
}

async fn ping(worker: &ActorRef<Ask>, within: Duration) {
    worker.call(Ask::Ping, within).await.expect("the worker answers");
}

async fn casts() {
    let (root, worker) = one_worker().await;
    send(worker.clone(), CASTS / 10).await;
    let began = Instant::now();
    send(worker.clone(), CASTS).await;
    figure("cast", f64::from(CASTS) / us(began.elapsed()));
    let mut senders = JoinSet::new();
    let began = Instant::now();
    for _ in 0..2 {
        senders.spawn(send(worker.clone(), CASTS / 2));
    }
    while let Some(sender) = senders.join_next().await {
        sender.expect("a sender sends");
    }
    figure("cast2", f64::from(CASTS) / us(began.elapsed()));
    stop(root).await;
}

async fn send(worker: ActorRef<Ask>, count: u32) {
    for _ in 0..count {
        worker.cast(Ask::Note).expect("the worker is up");
    }
    // Behind all casts of this sender, so its answer says that they were handled.
    ping(&worker, Duration::MAX).await;
}

async fn restarts() {
    restarts_under("restart", 1).await;
    // Spread out, because on Erlang one supervisor also walks through the list of its past
    // restarts.
    restarts_under("spread", NESTS).await;
}

async fn restarts_under(name: &str, nests: u32) {
    let (announce, mut up) = unbounded_channel();
    let nest = |id: u32| {
        let children = vec![worker(1, Some(announce.clone()))];
        ChildSpec::supervisor(id.to_string(), spec(Strategy::OneForOne, children))
    };
    let root = start(spec(Strategy::OneForOne, (1..=nests).map(nest).collect())).await;
    let mut workers = VecDeque::new();
    for _ in 0..nests {
        workers.push_back(successor(&mut up).await);
    }
    let mut samples = Vec::with_capacity(KILLS as usize);
    for _ in 0..KILLS {
        let worker = workers.pop_front().expect("every victim has a successor");
        let began = Instant::now();
        worker.pid().kill();
        let successor = successor(&mut up).await;
        ping(&successor, CALL_TIMEOUT).await;
        samples.push(began.elapsed());
        workers.push_back(successor);
    }
    percentiles(name, samples, 1_000.0);
    stop(root).await;
}

async fn successor(up: &mut UnboundedReceiver<ActorRef<Ask>>) -> ActorRef<Ask> {
    up.recv().await.expect("a worker announces itself")
}

async fn trees() {
    let workers = |count: u32| (1..=count).map(|id| worker(id, None)).collect::<Vec<_>>();
    let small = spec(Strategy::OneForOne, workers(TREE / NESTS));
    let nests = (1..=NESTS).map(|id| ChildSpec::supervisor(id.to_string(), small.clone()));
    tree("tree", nests.collect()).await;
    tree("flat", workers(TREE)).await;
}

async fn tree(name: &str, children: Vec<ChildSpec>) {
    let spec = spec(Strategy::OneForOne, children);
    let began = Instant::now();
    let root = start(spec).await;
    figure(&format!("{name}_start"), us(began.elapsed()) / 1_000.0);
    let stopping = Instant::now();
    stop(root).await;
    figure(&format!("{name}_stop"), us(stopping.elapsed()) / 1_000.0);
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1.0e6
}

fn percentiles(name: &str, mut samples: Vec<Duration>, unit: f64) {
    samples.sort_unstable();
    let nth = |percent: usize| {
        let nanoseconds = us(samples[(samples.len() * percent).div_ceil(100) - 1]) * 1_000.0;
        nanoseconds / unit
    };
    figure(&format!("{name}_p50"), nth(50));
    figure(&format!("{name}_p99"), nth(99));
}

#[expect(clippy::print_stdout, reason = "the driver reads the figures of a round from here")]
fn figure(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

/// What the kernel holds for this process.
fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kibibytes.expect("Linux tells it") * 1_024.0
}
