//! Timers: something that happens later, unless its owner is gone by then.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::incarnation::Incarnation;

/// Something that will happen; dropping it cancels it.
#[must_use = "a timer that is dropped never fires"]
#[derive(Debug)]
pub struct Timer(Option<AbortHandle>);

impl Timer {
    /// Does `act` after `delay`, unless `owner` is gone by then.
    #[expect(clippy::disallowed_methods, reason = "the task ends with its owner")]
    pub(crate) fn after(
        delay: Duration,
        owner: Arc<Incarnation>,
        act: impl FnOnce() + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => act(),
                () = owner.gone().raised() => {}
            }
        });
        Self(Some(task.abort_handle()))
    }

    /// Lets it happen although nobody keeps the timer; the end of its owner still cancels it.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
