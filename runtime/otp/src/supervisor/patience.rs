//! One timer for many stops in a row.
//!
//! A supervisor that stops its children one after another has patience with each, and nearly all
//! are gone at once. Setting a timer for each and taking it back would cost more than the waiting,
//! so one timer stays set and is moved only when it goes off too early, or would too late.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Default)]
pub(super) struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Waits for `wanted`, at most for `limit`; says whether it came.
    pub(super) async fn wait(&mut self, limit: Duration, wanted: impl Future<Output = ()>) -> bool {
        let Some(end) = Instant::now().checked_add(limit) else {
            wanted.await;
            return true;
        };
        tokio::pin!(wanted);
        // Whoever is told to stop mostly runs next on this thread, so its turn comes first.
        if soon(wanted.as_mut()).await {
            return true;
        }
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            tokio::select! {
                biased;
                () = &mut wanted => return true,
                () = &mut *timer => {
                    if Instant::now() >= end {
                        return false;
                    }
                    timer.as_mut().reset(end);
                }
            }
        }
    }
}

/// Waits for `wanted` until it is the turn of this task again; says whether it came.
async fn soon(mut wanted: Pin<&mut impl Future<Output = ()>>) -> bool {
    let mut has_waited = false;
    poll_fn(|context| {
        if wanted.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        if has_waited {
            return Poll::Ready(false);
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let began = Instant::now();
        let second = Duration::from_secs(1);
        let mut patience = Patience::default();
        let mut waits = Vec::new();

        for (limit, lasts) in [(4, 1), (4, 9), (1, 2), (3, 3), (9, 8)] {
            let came = patience.wait(limit * second, tokio::time::sleep(lasts * second)).await;
            waits.push((came, began.elapsed().as_secs()));
        }

        assert_eq!(waits, [(true, 1), (false, 5), (false, 6), (true, 9), (true, 17)]);
    }
}
