//! What a node remembers of the database, for some seconds and until it is told to forget.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// How many answers are remembered; beyond that all are forgotten, which costs a query each.
const REMEMBERED_MAX: usize = 10_000;

/// Answers by question.
#[derive(Debug)]
pub(crate) struct Remembered<K, V> {
    known: Mutex<Known<K, V>>,
    /// How often something was forgotten, for whoever waits for it.
    forgotten: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known<K, V> {
    answers: HashMap<K, (Instant, V)>,
    forgotten: u64,
}

/// What was known when somebody asked.
pub(crate) enum Recalled<V> {
    /// This.
    Answer(V),
    /// Nothing. An answer that is found now is only remembered if nothing was forgotten since.
    Nothing(Asked),
}

/// When a question was put to the database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(u64);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        let known = Known { answers: HashMap::new(), forgotten: 0 };
        Self { known: Mutex::new(known), forgotten: watch::Sender::default() }
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub(crate) fn recall(&self, question: &K) -> Recalled<V> {
        let known = self.lock();
        match known.answers.get(question) {
            Some((at, answer)) if at.elapsed() < REMEMBERED_FOR => Recalled::Answer(answer.clone()),
            _ => Recalled::Nothing(Asked(known.forgotten)),
        }
    }

    /// Remembers an answer, unless it may be older than what has been forgotten since it was asked
    /// for.
    pub(crate) fn keep(&self, asked: Asked, question: K, answer: V) {
        let mut known = self.lock();
        if known.forgotten != asked.0 {
            return;
        }
        if known.answers.len() >= REMEMBERED_MAX {
            known.answers.clear();
        }
        known.answers.insert(question, (Instant::now(), answer));
    }

    /// Asks the database again for everything.
    pub(crate) fn forget(&self) {
        self.forget_unless(|_, _| false);
    }

    /// Asks the database again for all but these.
    pub(crate) fn forget_unless(&self, is_kept: impl Fn(&K, &V) -> bool) {
        let forgotten = {
            let mut known = self.lock();
            known.answers.retain(|question, (_, answer)| is_kept(question, answer));
            known.forgotten += 1;
            known.forgotten
        };
        self.forgotten.send_replace(forgotten);
    }

    /// Tells of each time when something was forgotten.
    pub(crate) fn forgotten(&self) -> watch::Receiver<u64> {
        self.forgotten.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Known<K, V>> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_asked_for_before_something_was_forgotten_is_not_remembered() {
        let remembered = Remembered::<&str, u8>::default();
        let Recalled::Nothing(asked) = remembered.recall(&"it") else { panic!("nothing is known") };

        remembered.forget();
        remembered.keep(asked, "it", 1);

        let Recalled::Nothing(asked) = remembered.recall(&"it") else { panic!("it was kept") };
        remembered.keep(asked, "it", 2);
        assert!(matches!(remembered.recall(&"it"), Recalled::Answer(2)));
    }

    #[test]
    fn what_is_not_concerned_is_kept() {
        let remembered = Remembered::<&str, u8>::default();
        for question in ["it", "that"] {
            let Recalled::Nothing(asked) = remembered.recall(&question) else {
                panic!("nothing is known")
            };
            remembered.keep(asked, question, 1);
        }

        remembered.forget_unless(|question, _| *question == "that");

        assert!(matches!(remembered.recall(&"it"), Recalled::Nothing(_)));
        assert!(matches!(remembered.recall(&"that"), Recalled::Answer(1)));
    }
}
