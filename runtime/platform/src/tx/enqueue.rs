//! Causing work in a transaction: one job or many, now or later. It starts after the commit, or
//! never.

use std::any::TypeId;

use jobs::{Batch, BatchError, Enqueued, Workflow, WorkflowError};
use kernel::JobId;

use super::Tx;
use crate::job::{Job, JobDraft, NewJob};
use crate::refusal::{Error, Result};
use crate::system::System;

impl Tx<'_> {
    /// Puts a job into this domain's own queue; it starts after the commit, or never.
    ///
    /// # Errors
    /// A failure when the domain does not declare the job, or its arguments break the schema of its
    /// type: the field and the rule are named.
    pub async fn enqueue<J: Job>(&mut self, job: &J) -> Result<JobId> {
        self.enqueue_with(job, |_| {}).await.map(Enqueued::job_id)
    }

    /// Puts a job into this domain's own queue, with something to be said about it: its priority,
    /// its time, tags, notes, by what it is unique.
    ///
    /// ```ignore
    /// tx.enqueue_with(&job, |new| new.priority = 9).await?;
    /// ```
    ///
    /// # Errors
    /// As [`Tx::enqueue`], and a failure when what is said breaks a rule for jobs.
    pub async fn enqueue_with<J: Job>(
        &mut self,
        job: &J,
        say: impl FnOnce(&mut NewJob),
    ) -> Result<Enqueued> {
        let mut new = self.new_job(job)?;
        say(&mut new);
        let enqueued = self.enqueue_new(std::slice::from_ref(&new)).await?;
        Ok(enqueued[0])
    }

    /// Puts many jobs of one kind into this domain's own queue by one statement, all or none.
    ///
    /// # Errors
    /// As [`Tx::enqueue`].
    pub async fn enqueue_all<J: Job>(&mut self, jobs: &[J]) -> Result<Vec<JobId>> {
        let new = jobs.iter().map(|job| self.new_job(job)).collect::<Result<Vec<_>>>()?;
        let enqueued = self.enqueue_new(&new).await?;
        Ok(enqueued.into_iter().map(Enqueued::job_id).collect())
    }

    /// Puts jobs made by [`Tx::new_job`] into this domain's own queue; all or none.
    ///
    /// # Errors
    /// A failure when one of them breaks a rule for jobs.
    pub async fn enqueue_new(&mut self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        self.must_cause()?;
        let enqueued = jobs::enqueue_all(self.connection, jobs, self.now).await?;
        self.trace.enqueued = true;
        Ok(enqueued)
    }

    /// Enqueues the steps of a workflow, whose jobs are made by [`Tx::new_job`]; all or none.
    ///
    /// # Errors
    /// A failure that names the step when the plan cannot be followed.
    pub async fn enqueue_workflow(&mut self, workflow: &Workflow) -> Result<()> {
        self.must_cause()?;
        jobs::enqueue_workflow(self.connection, workflow, self.now).await?;
        self.trace.enqueued = true;
        Ok(())
    }

    /// Enqueues a batch, whose jobs and callbacks are made by [`Tx::new_job`]; all or none.
    ///
    /// # Errors
    /// A failure when one of them breaks a rule for jobs or batches.
    pub async fn enqueue_batch(&mut self, batch: &Batch) -> Result<Vec<Enqueued>> {
        self.must_cause()?;
        let enqueued = jobs::enqueue_batch(self.connection, batch, self.now).await?;
        self.trace.enqueued = true;
        Ok(enqueued)
    }

    /// A job of this domain as it would be enqueued, to be enqueued with others.
    ///
    /// # Errors
    /// As [`Tx::enqueue`].
    pub fn new_job<J: Job>(&self, job: &J) -> Result<NewJob> {
        let catalog = self.system.map(System::catalog);
        let declared = catalog.and_then(|catalog| catalog.domain(self.domain.as_str()));
        let declared = declared.and_then(|domain| domain.jobs.get(J::NAME));
        let Some(declared) = declared.filter(|kind| kind.type_id == TypeId::of::<J>()) else {
            return Err(Error::failure(format!(
                "{} enqueues `{}`, but does not say so: declare it with Domain::job",
                self.domain,
                J::NAME
            )));
        };
        let draft = JobDraft::of(job, &declared.arguments)?;
        Ok(draft.into_new(self.domain, self.scope.clone(), None))
    }
}

impl From<WorkflowError> for Error {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Enqueue(error) => error.into(),
            WorkflowError::Database(error) => error.into(),
            broken => Self::failure(broken),
        }
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Enqueue(error) => error.into(),
            BatchError::Database(error) => error.into(),
            broken => Self::failure(broken),
        }
    }
}
