//! What a node remembers of credentials, for some seconds and until it is told to forget.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kernel::{Digest, OrgId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Identity;

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// How many answers are remembered; beyond that all are forgotten, which costs a query each.
const REMEMBERED_MAX: usize = 10_000;

/// Known credentials, by the digest of what is shown.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: Mutex<Known>,
    /// How often something was forgotten, for whoever waits for it.
    forgotten: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    identities: HashMap<Digest, (Instant, Option<Identity>)>,
    forgotten: u64,
}

/// What was known of a credential when somebody asked.
pub(super) enum Recalled {
    /// This, or that it is nobody's.
    Answer(Option<Identity>),
    /// Nothing. An answer that is found now is only remembered if nothing was forgotten since.
    Nothing(Asked),
}

/// When a question was put to the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(u64);

impl Memory {
    pub(super) fn recall(&self, digest: &Digest) -> Recalled {
        let known = self.lock();
        match known.identities.get(digest) {
            Some((at, identity)) if at.elapsed() < REMEMBERED_FOR => {
                Recalled::Answer(identity.clone())
            }
            _ => Recalled::Nothing(Asked(known.forgotten)),
        }
    }

    /// Remembers an answer, unless it may be older than what has been forgotten since it was asked
    /// for.
    pub(super) fn keep(&self, asked: Asked, digest: Digest, identity: Option<Identity>) {
        let mut known = self.lock();
        if known.forgotten != asked.0 {
            return;
        }
        if known.identities.len() >= REMEMBERED_MAX {
            known.identities.clear();
        }
        known.identities.insert(digest, (Instant::now(), identity));
    }

    /// Asks the database again for everybody.
    pub(crate) fn forget(&self) {
        self.forget_unless(|_| false);
    }

    /// Asks the database again for everybody of an organisation.
    pub(crate) fn forget_organisation(&self, org_id: OrgId) {
        self.forget_unless(|identity| {
            identity.as_ref().is_some_and(|identity| identity.org_id != org_id)
        });
    }

    /// Tells of each time when something was forgotten.
    pub(crate) fn forgotten(&self) -> watch::Receiver<u64> {
        self.forgotten.subscribe()
    }

    fn forget_unless(&self, is_kept: impl Fn(&Option<Identity>) -> bool) {
        let forgotten = {
            let mut known = self.lock();
            known.identities.retain(|_, (_, identity)| is_kept(identity));
            known.forgotten += 1;
            known.forgotten
        };
        self.forgotten.send_replace(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_asked_for_before_something_was_forgotten_is_not_remembered() {
        let (memory, digest) = (Memory::default(), Digest::of(b"token"));
        let Recalled::Nothing(asked) = memory.recall(&digest) else { panic!("nothing is known") };

        memory.forget_organisation(OrgId::new());
        memory.keep(asked, digest, None);

        let Recalled::Nothing(asked) = memory.recall(&digest) else { panic!("it was kept") };
        memory.keep(asked, digest, None);
        assert!(matches!(memory.recall(&digest), Recalled::Answer(None)));
    }
}
