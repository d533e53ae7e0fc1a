//! Jobs performed where they are asked for: for tests that want one thing after another.

use jobs::{JobRow, inline};
use kernel::Scope;

use crate::job::{Job, JobDraft};
use crate::refusal::{Error, Result};
use crate::subtree;
use crate::system::System;

impl System {
    /// Keeps the queues of this node from performing anything by themselves, from now on.
    ///
    /// What is enqueued waits for [`System::drain_jobs`].
    pub fn perform_inline(&self) {
        for domain in self.catalog().domains() {
            self.queues().set_limit(domain.name().as_str(), 0);
        }
    }

    /// Performs every job that is due, and those they enqueue, one after another: domain by domain,
    /// by priority, time and age. How many attempts that took.
    ///
    /// # Errors
    /// When the database does not answer, or the jobs keep causing others.
    pub async fn drain_jobs(&self) -> Result<usize> {
        let mut drained = 0;
        loop {
            let before = drained;
            for domain in self.catalog().domains() {
                let system = self.at_home(domain.name());
                let performers = subtree::performers(&system, domain);
                let queue = domain.name().as_str();
                let performed = jobs::drain::drain(self.queues(), queue, &performers).await;
                drained += performed.map_err(|error| match error {
                    jobs::drain::DrainError::Database(error) => error.into(),
                    other => Error::failure(other),
                })?;
            }
            if drained == before {
                return Ok(drained);
            }
        }
    }

    /// Performs one attempt of a job at once, whatever its queue does, and tells what became of it.
    ///
    /// # Errors
    /// A failure when no domain declares the job, its arguments do not fit or the database does not
    /// answer. A failure of the job itself is no error but stands in the answer.
    pub async fn perform_job<J: Job>(&self, scope: &Scope, job: &J) -> Result<JobRow> {
        let declares = |domain: &&crate::Domain| {
            let declared = domain.jobs.get(J::NAME);
            declared.is_some_and(|kind| kind.type_id == std::any::TypeId::of::<J>())
        };
        let Some(domain) = self.catalog().domains().iter().find(declares) else {
            return Err(Error::failure(format!("no domain declares the job `{}`", J::NAME)));
        };
        let draft = JobDraft::of(job, &domain.jobs[J::NAME].arguments)?;
        let new = draft.into_new(domain.name(), scope.clone(), None);
        let performers = subtree::performers(&self.at_home(domain.name()), domain);
        match inline::perform(self.queues(), &performers, &new).await {
            Ok(row) => Ok(row),
            Err(inline::InlineError::Database(error)) => Err(error.into()),
            Err(other) => Err(Error::failure(other)),
        }
    }
}
