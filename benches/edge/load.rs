//! Load: a process of clients, and what it says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

/// How long clients may say nothing before a benchmark has failed.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// Events that may be on their way to a subscriber: fewer than its queue holds.
const AHEAD_MAX: u64 = 48;

/// What the clients said last, by the word it began with.
type Said = HashMap<String, u64>;

/// Clients in a process of their own.
pub(crate) struct Load {
    child: Child,
    input: Option<ChildStdin>,
    said: watch::Receiver<Said>,
    _reading: tokio::task::JoinSet<()>,
}

impl Load {
    /// Starts clients; see `client.rs` for the modes.
    pub(crate) fn start(
        mode: &str,
        address: SocketAddr,
        token: &str,
        place: &str,
        (count, span): (usize, Duration),
    ) -> Self {
        let program = std::env::current_exe().expect("a program knows where it is");
        let mut child = Command::new(program)
            .args(["--client", mode, &address.to_string(), token, place])
            .args([count.to_string(), span.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started once more");
        let output = child.stdout.take().expect("it is piped");
        let (sender, said) = watch::channel(Said::new());
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((word, number)) = line.split_once(' ')
                    && let Ok(number) = number.parse()
                {
                    sender.send_modify(|said| _ = said.insert(word.to_owned(), number));
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, said, _reading: reading }
    }

    /// Waits for a word, and answers its number.
    pub(crate) async fn hear(&mut self, word: &str) -> u64 {
        let heard = self.said.wait_for(|said| said.contains_key(word));
        let heard = tokio::time::timeout(SILENCE_MAX, heard).await;
        heard.expect("the clients say something in time").expect("they live")[word]
    }

    /// What was said under a word, if anything.
    pub(crate) fn said(&self, word: &str) -> Option<u64> {
        self.said.borrow().get(word).copied()
    }

    /// Waits until so many pushes were received in all.
    async fn received(&mut self, count: u64) {
        let enough = |said: &Said| said.get("count").copied().unwrap_or_default() >= count;
        let received = tokio::time::timeout(SILENCE_MAX, self.said.wait_for(enough)).await;
        received.expect("all of it is received in time").expect("the clients live");
    }

    /// Publishes so many events as fast as all subscribers take them; answers deliveries a second.
    pub(crate) async fn fan_out(
        &mut self,
        subscribers: usize,
        events: u64,
        publish: impl AsyncFn(),
    ) -> f64 {
        let subscribers = subscribers as u64;
        let before = self.said("count").unwrap_or_default();
        let begun = Instant::now();
        for event in 0..events {
            let behind = event.saturating_sub(AHEAD_MAX);
            self.received(before + behind * subscribers).await;
            publish().await;
        }
        self.received(before + events * subscribers).await;
        (events * subscribers) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Lets the clients end.
    pub(crate) fn release(&mut self) {
        self.input = None;
    }

    /// Ends the clients.
    pub(crate) async fn stop(mut self) {
        self.release();
        let ended = tokio::time::timeout(SILENCE_MAX, self.child.wait()).await;
        let status = ended.expect("the clients end in time").expect("it is our child");
        assert!(status.success(), "the clients end well: {status}");
    }
}
