//! A nudge: a wake-up that says "look now" and nothing else.
//!
//! Nudges coalesce: any number of them before the sleeper looks are one. So they may be given
//! freely, and losing the reason is no loss, because the sleeper looks at everything anyway.

use std::sync::Arc;

use tokio::sync::Notify;

/// A coalescing wake-up; clones wake the same sleeper.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let nudge = otp::Nudge::new();
/// nudge.nudge();
/// nudge.nudge();
///
/// // Two before the sleeper looks are one.
/// nudge.nudged().await;
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// A nudge that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the sleeper, or lets its next wait end at once.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Waits for a nudge.
    ///
    /// # Cancel safety
    ///
    /// A nudge that arrives while the future is dropped is kept for the next wait.
    pub async fn nudged(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_nudges_before_the_sleeper_looks_are_one() {
        let nudge = Nudge::new();
        nudge.nudge();
        nudge.nudge();

        nudge.nudged().await;
        let second = nudge.nudged();
        tokio::pin!(second);

        assert!(futures_util::poll!(&mut second).is_pending());
    }
}
