//! Real processes that exit, die, hang and refuse.

use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{Clock, Root, Strategy, SupervisorSpec};

const SOON: Duration = Duration::from_secs(10);

/// A shell script, and what it prints.
fn script(text: &str) -> (OsProcessSpec, UnboundedReceiver<String>) {
    let (said, heard) = unbounded_channel();
    let spec = OsProcessSpec::new("/bin/sh").args(["-c", text]).on_line(move |_, line| {
        // A test that has heard enough hangs up.
        drop(said.send(line.to_owned()));
    });
    (spec, heard)
}

/// A script that prints its process id first; the number tells that it is up.
async fn started(text: &str, patience: Duration) -> (Running, u32) {
    let (spec, mut heard) = script(text);
    let mut running = Running::start(&spec.patience(patience)).await.expect("a shell starts");
    let id = tokio::select! {
        ended = running.ended() => panic!("ended early: {ended:?}"),
        line = heard.recv() => line.expect("the script prints a number"),
    };
    (running, id.parse().expect("what it prints is a process id"))
}

/// Whether a process exists and is more than an entry that its parent has not read yet.
fn is_alive(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn exists(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, holds).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// A folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("otp-process-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn the_way_a_process_ends_is_its_exit_reason() {
    let cases = [
        ("exit 0", "normal"),
        ("exit 3", "exit:3"),
        ("kill -9 $$", "signal:SIGKILL"),
        ("kill -SEGV $$", "signal:SIGSEGV"),
        ("kill -ABRT $$", "signal:SIGABRT"),
    ];

    for (text, expected) in cases {
        let (spec, _heard) = script(&format!("ulimit -c 0; {text}"));
        let mut running = Running::start(&spec).await.expect("a shell starts");

        assert_eq!(reason_of(running.ended().await), expected, "{text}");
    }
}

fn reason_of(ended: Result<(), ExitReason>) -> String {
    ended.err().unwrap_or(ExitReason::Normal).to_string()
}

/// The name of the variable that makes a test of this binary the program of another, and says which
/// bad end it is to come to.
const BAD_END: &str = "OTP_TEST_BAD_END";

fn come_to(end: &str) {
    match end {
        "abort" => std::process::abort(),
        "parent" => parent_of_a_stubborn_process(),
        "stack" => drop(deeper(1)),
        "memory" => drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 30))),
        other => panic!("{other:?} is no bad end"),
    }
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deeper(depth: u64) -> [u64; 64] {
    let below = std::hint::black_box(deeper(std::hint::black_box(depth + 1)));
    std::hint::black_box([below[0] + depth; 64])
}

/// Starts a process that ignores every request, says its number, and is killed itself.
fn parent_of_a_stubborn_process() {
    let life = async {
        let text = "trap '' TERM INT QUIT; echo $$; while :; do sleep 1000; done";
        let (spec, mut heard) = script(text);
        let mut running = Running::start(&spec.killed_with_us()).await.expect("a shell starts");
        tokio::select! {
            _ = running.ended() => {}
            id = heard.recv() => eprintln!("child {}", id.expect("it says its number")),
        }
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("it is alive");
        std::future::pending::<()>().await;
    };
    // The runtime of the test that this was is busy with this very call.
    let thread = std::thread::spawn(|| {
        tokio::runtime::Runtime::new().expect("a runtime starts").block_on(life);
    });
    thread.join().expect("it ends with all of us");
}

/// Runs the test below as a program to its end; its reason and what it said last.
async fn bad_end(which: &str, memory_max: Option<u64>) -> (String, String) {
    let program = std::env::current_exe().expect("a test has a program");
    let (said, mut heard) = unbounded_channel();
    let mut spec = OsProcessSpec::new(program)
        .args(["--exact", "process::tests::an_abort_is_an_ordinary_exit", "--nocapture"])
        .env(BAD_END, which)
        .on_line(move |stream, line| {
            if stream == Stream::Err {
                drop(said.send(line.to_owned()));
            }
        });
    if let Some(bytes) = memory_max {
        spec = spec.memory_max(bytes);
    }
    let mut running = Running::start(&spec).await.expect("it starts");
    let reason = reason_of(running.ended().await);
    let mut words = String::new();
    while let Ok(line) = heard.try_recv() {
        words.push_str(&line);
    }
    (reason, words)
}

#[tokio::test]
async fn an_abort_is_an_ordinary_exit() {
    if let Ok(end) = std::env::var(BAD_END) {
        return come_to(&end);
    }
    let (reason, _) = bad_end("abort", None).await;

    assert_eq!(reason, "signal:SIGABRT");
}

#[tokio::test]
async fn a_stack_overflow_is_an_ordinary_exit_that_says_what_it_was() {
    let (reason, words) = bad_end("stack", None).await;

    assert_eq!(reason, "signal:SIGABRT");
    assert!(words.contains("overflowed its stack"), "{words}");
}

#[tokio::test]
async fn memory_beyond_the_bound_is_an_ordinary_exit_that_says_what_it_was() {
    let (unbounded, _) = bad_end("memory", None).await;
    let (reason, words) = bad_end("memory", Some(256 << 20)).await;

    assert_eq!(unbounded, "normal", "there is enough without a bound");
    assert_eq!(reason, "signal:SIGABRT");
    assert!(words.contains("memory allocation of 1073741824 bytes failed"), "{words}");
}

#[tokio::test]
async fn a_stubborn_process_does_not_outlive_a_platform_that_was_killed() {
    let (reason, words) = bad_end("parent", None).await;

    assert_eq!(reason, "signal:SIGKILL");
    let id = words.split("child ").nth(1).expect("it told of its child");
    let id: u32 = id.parse().expect("a number");
    until("the child is gone", || !is_alive(id)).await;
}

#[tokio::test]
async fn a_process_hears_us_on_its_standard_input_and_ends_with_us() {
    let (given, mut taken) = unbounded_channel();
    let (spec, mut heard) = script("while read line; do echo \"heard $line\"; done; echo alone");
    let spec = spec.socket(move |ours| drop(given.send(ours)));
    let mut running = Running::start(&spec).await.expect("a shell starts");
    let mut ours = taken.recv().await.expect("a start gives a socket");

    ours.write_all(b"one\ntwo\n").await.expect("it listens");
    drop(ours);
    let reason = reason_of(running.ended().await);

    assert_eq!(reason, "normal");
    let lines = [heard.recv().await, heard.recv().await, heard.recv().await].map(Option::unwrap);
    assert_eq!(lines, ["heard one", "heard two", "alone"]);
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_open_delays_nothing() {
    let text = "setsid sleep 1000 & echo $!; exit 4";
    let (spec, mut heard) = script(text);
    let mut running = Running::start(&spec).await.expect("a shell starts");

    let ended = timeout(SOON, running.ended()).await.expect("the end is not waited for in vain");

    assert_eq!(reason_of(ended), "exit:4");
    let runaway: i32 = heard.recv().await.unwrap().parse().expect("it printed a number");
    let pid = rustix::process::Pid::from_raw(runaway).expect("not zero");
    // It left the group by a session of its own, so nobody but this test ends it.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it was alive");
}

#[tokio::test]
async fn a_stopped_process_is_reaped() {
    let (mut running, id) = started("echo $$; exec sleep 1000", SOON).await;
    let asked = Instant::now();

    running.stop(StopSignal::Terminate, SOON).await;

    assert!(!exists(id), "neither alive nor a zombie");
    assert!(asked.elapsed() < SOON, "it did not have to be killed");
}

#[tokio::test]
async fn a_stubborn_process_is_killed_when_the_patience_is_over() {
    let patience = Duration::from_millis(150);
    let text = "trap '' TERM; echo $$; while :; do sleep 1000; done";
    let (mut running, id) = started(text, patience).await;
    let asked = Instant::now();

    running.stop(StopSignal::Terminate, patience).await;

    assert!(asked.elapsed() >= patience);
    assert!(!exists(id), "neither alive nor a zombie");
}

#[tokio::test]
async fn nothing_of_its_group_outlives_a_process() {
    let (mut running, grandchild) = started("sleep 1000 & echo $!; wait", SOON).await;

    running.stop(StopSignal::Quit, SOON).await;

    until("the grandchild is gone", || !is_alive(grandchild)).await;
}

#[tokio::test]
async fn a_process_that_is_let_go_of_is_killed_and_reaped() {
    let (running, id) = started("trap '' TERM; echo $$; while :; do sleep 1000; done", SOON).await;

    drop(running);

    until("the process is reaped", || !exists(id)).await;
}

#[tokio::test]
async fn a_process_has_started_when_its_probe_says_so() {
    let folder = Folder::new("ready");
    let ready = folder.file("ready");
    let (spec, _heard) = script(&format!("touch {}; exec sleep 1000", ready.display()));
    let probed = ready.clone();
    let spec = spec.ready(SOON, move |_| {
        let there = probed.exists();
        async move { Ok(there) }
    });

    let mut running = Running::start(&spec).await.expect("it becomes ready");

    assert!(ready.exists());
    running.stop(StopSignal::Terminate, SOON).await;
}

#[tokio::test]
async fn a_process_that_is_never_ready_is_stopped_and_quoted() {
    let (spec, mut heard) = script("echo $$; echo waiting for the moon >&2; exec sleep 1000");
    let spec = spec.ready(Duration::from_millis(300), |_| async { Ok(false) });

    let error = Running::start(&spec).await.err().expect("it is never ready").to_string();

    let said = "/bin/sh was not ready within 300 ms; it said: waiting for the moon";
    assert_eq!(error, said);
    // Its two outputs are read side by side, so either line may come first.
    let lines = [heard.recv().await, heard.recv().await];
    let id = lines.into_iter().flatten().find_map(|line| line.parse().ok());
    assert!(!exists(id.expect("it printed its id")));
}

#[tokio::test]
async fn a_process_that_ends_before_it_is_ready_is_quoted() {
    let (spec, _heard) = script("echo the lock is taken >&2; exit 7");
    let spec = spec.ready(SOON, |_| async { Ok(false) });

    let error = Running::start(&spec).await.err().expect("it ends").to_string();

    let said = "/bin/sh ended before it was ready: exit:7; it said: the lock is taken";
    assert_eq!(error, said);
}

#[tokio::test]
async fn a_probe_that_knows_better_ends_the_start() {
    let (spec, _heard) = script("exec sleep 1000");
    let spec = spec.ready(SOON, |_| async { Err("the door is painted on".to_owned()) });

    let error = Running::start(&spec).await.err().expect("the probe refuses").to_string();

    assert_eq!(error, "/bin/sh cannot become ready: the door is painted on");
}

#[tokio::test]
async fn a_process_that_meets_leftovers_is_started_again() {
    let folder = Folder::new("retry");
    let (leftover, ready) = (folder.file("leftover"), folder.file("ready"));
    std::fs::write(&leftover, "").expect("the folder is writable");
    let (leftover, probed) = (leftover.display(), ready.clone());
    let (spec, _heard) = script(&format!(
        "if rm {leftover} 2>/dev/null; then exit 1; fi; touch {}; exec sleep 1000",
        ready.display()
    ));
    let spec = spec.retry_within(SOON).ready(SOON, move |_| {
        let there = probed.exists();
        async move { Ok(there) }
    });

    let mut running = Running::start(&spec).await.expect("the second start succeeds");

    assert!(ready.exists());
    running.stop(StopSignal::Terminate, SOON).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let spec = OsProcessSpec::new("/nowhere/at-all").ready(SOON, |_| async { Ok(false) });

    let error = Running::start(&spec).await.err().expect("nothing to run").to_string();

    assert!(error.contains("/nowhere/at-all"), "{error}");
}

#[tokio::test]
async fn root_can_run_a_process_as_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return; // Nobody else can, and then there is nothing to see.
    }
    let (spec, mut heard) = script("id -u; id -g");
    let spec = spec.user(OsUser { uid: 65_534, gid: 65_534 });

    let mut running = Running::start(&spec).await.expect("root may do that");
    let ended = running.ended().await;

    assert_eq!(ended, Ok(()));
    assert_eq!(heard.recv().await.as_deref(), Some("65534"));
    assert_eq!(heard.recv().await.as_deref(), Some("65534"));
}

/// A supervisor with one process, and the place of that process in its tree.
async fn supervised(spec: OsProcessSpec) -> Root {
    let top = SupervisorSpec::new(Strategy::OneForOne).child(spec.child("server"));
    Root::start(top, Clock::system()).await.expect("the process starts")
}

fn server(root: &Root) -> crate::Node {
    let node = root.tree().snapshot();
    node.children.into_iter().next().expect("the tree has one child")
}

#[tokio::test]
async fn a_killed_process_is_healed_by_its_supervisor() {
    let (spec, mut heard) = script("echo $$; exec sleep 1000");
    let root = supervised(spec).await;
    let first: u32 = heard.recv().await.expect("it printed its id").parse().expect("a number");

    let pid = rustix::process::Pid::from_raw(i32::try_from(first).expect("ids are small"));
    rustix::process::kill_process(pid.expect("not zero"), rustix::process::Signal::KILL)
        .expect("it was alive");

    let second: u32 = heard.recv().await.expect("another one started").parse().expect("a number");
    assert_ne!(first, second);
    let node = server(&root);
    assert_eq!(node.last_exit, Some(ExitReason::Os(OsExit::Signal(9))));
    assert_eq!(node.restarts, 1);
    assert_eq!(node.label, format!("/bin/sh, pid {second}"), "an operator finds it by its id");
    assert!(!exists(first), "neither alive nor a zombie");
    root.stop().await;
    assert!(!exists(second), "neither alive nor a zombie");
}

#[tokio::test]
async fn a_supervisor_waits_for_a_stubborn_process_and_leaves_nothing_of_it() {
    let (spec, mut heard) = script("trap '' TERM; echo $$; while :; do sleep 1000; done");
    let root = supervised(spec.patience(Duration::from_millis(100))).await;
    let id: u32 = heard.recv().await.expect("it printed its id").parse().expect("a number");

    root.stop().await;

    assert!(!exists(id), "neither alive nor a zombie");
}

#[tokio::test]
async fn an_actor_that_is_killed_takes_its_process_along() {
    let (spec, mut heard) = script("echo $$; exec sleep 1000");
    let root = supervised(spec).await;
    let first: u32 = heard.recv().await.expect("it printed its id").parse().expect("a number");

    root.tree().kill("root/server").expect("it is in the tree");

    until("the process is reaped", || !exists(first)).await;
    let second: u32 = heard.recv().await.expect("another one started").parse().expect("a number");
    assert!(is_alive(second));
    root.stop().await;
}

#[test]
fn a_runtime_that_cannot_watch_over_a_process_keeps_no_other_from_starting_one() {
    let start = |builder: &mut tokio::runtime::Builder| {
        let spec = OsProcessSpec::new("/bin/true");
        builder
            .build()
            .expect("a runtime")
            .block_on(async { Running::start(&spec).await.map(drop) })
    };

    let refused = start(tokio::runtime::Builder::new_current_thread().enable_time());
    let started = start(tokio::runtime::Builder::new_current_thread().enable_all());

    let error = refused.expect_err("it has no sockets").to_string();
    assert!(error.contains("enable_io"), "{error}");
    assert!(started.is_ok());
}
