//! News: what nodes tell each other about their queues.
//!
//! | news | after | then |
//! |---|---|---|
//! | `+recruit` | the commit of work that this node has no place for | a producer there looks |
//! | `-4711@recruit` | the cancellation of a job under way | its attempt is ended where it runs |
//! | `=recruit` | a change of what controls the queue | its producer reads what holds now |
//!
//! They coalesce until somebody carries them; the platform does, on the connection on which nodes
//! talk anyway and never in a transaction of the business. News are hints: whatever is lost is
//! found by the stager's look, the lifeline and the settings, a second or a few later.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::JobId;
use otp::Nudge;

use crate::Queues;

/// One telling is no longer, in bytes: Postgres takes 8,000.
const TELLING_MAX: usize = 7_000;
/// No more news are kept for a carrier that does not come.
const KEPT_MAX: usize = 10_000;

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct News {
    kept: Mutex<BTreeSet<String>>,
    is_there: Nudge,
}

impl News {
    fn add(&self, news: String) {
        let mut kept = self.kept();
        if kept.len() < KEPT_MAX && kept.insert(news) {
            drop(kept);
            self.is_there.nudge();
        }
    }

    /// As much as one telling holds; `None` if there is nothing.
    fn take(&self) -> Option<String> {
        let mut kept = self.kept();
        let mut telling = kept.pop_first()?;
        while let Some(next) = kept.pop_first() {
            if telling.len() + next.len() >= TELLING_MAX {
                kept.insert(next);
                self.is_there.nudge();
                break;
            }
            // Writing to a text cannot fail.
            let _ = write!(telling, " {next}");
        }
        Some(telling)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Whole after every statement.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Waits for news that other nodes are to [hear](Queues::hear), and takes them: one line of
    /// text of a few thousand bytes at most, without a format that anybody else should read.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn news(&self) -> String {
        loop {
            if let Some(telling) = self.news_book().take() {
                return telling;
            }
            self.news_book().is_there.nudged().await;
        }
    }

    /// Hears what another node tells. What this version does not understand it leaves.
    pub fn hear(&self, telling: &str) {
        for news in telling.split_whitespace() {
            if let Some(queue) = news.strip_prefix('+') {
                self.wake(queue);
            } else if let Some(queue) = news.strip_prefix('=') {
                if let Some(slots) = self.find_slots(queue) {
                    slots.control.unsettle();
                    slots.nudge.nudge();
                }
            } else if let Some((job_id, queue)) =
                news.strip_prefix('-').and_then(|news| news.split_once('@'))
                && let (Ok(job_id), Some(slots)) = (job_id.parse::<JobId>(), self.find_slots(queue))
            {
                slots.unwant(job_id);
            }
        }
    }

    /// Tells the others that there is work that this node may have no place for.
    pub(crate) fn tell_of_work(&self, queue: &str) {
        self.news_book().add(format!("+{queue}"));
    }

    /// Tells the others that a job is not to be performed any more, wherever it is.
    pub(crate) fn tell_unwanted(&self, queue: &str, job_id: JobId) {
        self.news_book().add(format!("-{job_id}@{queue}"));
    }

    /// Tells the others that what controls a queue has changed.
    pub(crate) fn tell_changed(&self, queue: &str) {
        self.news_book().add(format!("={queue}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_coalesce_and_are_told_in_pieces_that_fit() {
        let news = News::default();
        for number in 0..2_000 {
            news.add(format!("+queue_{}", number % 1_000));
        }

        let tellings: Vec<String> = std::iter::from_fn(|| news.take()).collect();

        assert!(tellings.iter().all(|telling| telling.len() <= TELLING_MAX));
        let told: usize = tellings.iter().map(|telling| telling.split(' ').count()).sum();
        assert_eq!(told, 1_000);
        assert!(tellings.len() < 4);
    }
}
