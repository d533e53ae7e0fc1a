//! A worker as the test has it: a process to talk to, to stop in its tracks and to kill.

use std::process::Stdio;

use faults::order::{Order, Say};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cluster::signal;

/// The program, which cargo builds with these tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_faults-worker");

/// A node in a process of its own. Dropped, it is killed.
pub(crate) struct Worker {
    order: Order,
    running: Running,
}

struct Running {
    child: Child,
    says: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts it.
    pub(crate) fn start(order: Order) -> Self {
        let running = Running::start(&order);
        Self { order, running }
    }

    /// Kills it with -9, waits until it is gone and starts it again under its name.
    pub(crate) async fn kill_and_start_again(&mut self) {
        self.kill().await;
        self.running = Running::start(&self.order);
    }

    /// Kills it with -9 and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.running.child.kill().await.expect("it can be killed");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &[self.running.child.id().expect("it runs")]);
    }

    /// Tells it to do something, and hears its answer.
    pub(crate) async fn say(&mut self, say: &Say) -> u64 {
        let line = serde_json::to_string(say).expect("it can be said") + "\n";
        self.running.says.write_all(line.as_bytes()).await.expect("it listens");
        let answer = self.running.answers.next_line().await.expect("it answers");
        answer.and_then(|answer| answer.parse().ok()).expect("it answers with a number")
    }

    /// Has it stop in good order.
    pub(crate) async fn stop(self) {
        let Running { mut child, says, .. } = self.running;
        drop(says);
        let ended = child.wait().await.expect("it is our child");
        assert!(ended.success(), "{} did not stop in good order: {ended}", self.order.name);
    }
}

impl Running {
    fn start(order: &Order) -> Self {
        let order = serde_json::to_string(order).expect("an order is JSON");
        let mut command = Command::new(PROGRAM);
        command.arg(order).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("it was built with this test");
        let says = child.stdin.take().expect("it was asked for");
        let answers = child.stdout.take().expect("it was asked for");
        Self { child, says, answers: BufReader::new(answers).lines() }
    }
}
