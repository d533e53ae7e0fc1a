//! Progress: what a long call tells before it ends. For that its response becomes a stream, which
//! ends with the answer; nothing of it outlives the request.

use platform::Progress;
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::{mpsc, oneshot};

/// The most that waits for a slow reader; what comes beyond is left out.
const WAITING_MAX: usize = 64;

/// Does `work`, and tells the caller under `token` what it says of its progress.
pub(crate) async fn telling<T>(
    peer: &Peer<RoleServer>,
    token: ProgressToken,
    work: impl AsyncFnOnce(mpsc::Sender<Progress>) -> T,
) -> T {
    let (says, mut hears) = mpsc::channel(WAITING_MAX);
    let (end, mut ended) = oneshot::channel::<()>();
    let working = async {
        let answer = work(says).await;
        drop(end);
        answer
    };
    let tell = async {
        let mut told = None;
        loop {
            // What was said before the end is told before it.
            tokio::select! {
                biased;
                said = hears.recv() => match said {
                    Some(progress) if told < Some(progress.done) => {
                        told = Some(progress.done);
                        // Whoever has gone is told nothing.
                        let _ = peer.notify_progress(notification(&token, progress)).await;
                    }
                    Some(_) => {}
                    None => break,
                },
                _ = &mut ended => break,
            }
        }
    };
    tokio::join!(working, tell).0
}

fn notification(token: &ProgressToken, progress: Progress) -> ProgressNotificationParam {
    // The protocol counts in floats; beyond four billion the exact step is no news.
    let steps = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let told = ProgressNotificationParam::new(token.clone(), steps(progress.done));
    match progress.total {
        Some(total) => told.with_total(steps(total)),
        None => told,
    }
}
