//! The unit of work: a transaction that already has a role, a tenant and an instant.
//!
//! A [`Tx`] runs as the domain's own Postgres role, for one organisation, so what a domain may not
//! see does not exist for its SQL. It has no `commit`: the dispatcher commits when the operation
//! answers `Ok` and rolls back on anything else.

mod append;
mod enqueue;

use std::fmt::Write as _;
use std::time::Duration;

use kernel::{DomainName, JobId, OrgId, Scope, Timestamp};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
use store::Session;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::profile::Profile;
use crate::public_url::PublicUrl;
use crate::refusal::{Error, Reason, Result};
use crate::relying_party::RelyingParty;
use crate::secret::MasterSecret;
use crate::system::System;

/// A transaction of one domain, for one organisation.
pub struct Tx<'c> {
    connection: &'c mut PgConnection,
    domain: DomainName,
    scope: &'c Scope,
    now: Timestamp,
    is_projecting: bool,
    trace: Trace,
    /// What it belongs to, except in a projection.
    system: Option<&'c System>,
}

/// What a transaction left for others to be woken for, once it is committed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Trace {
    pub(crate) appended: bool,
    pub(crate) enqueued: bool,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(
        connection: &'c mut PgConnection,
        domain: DomainName,
        scope: &'c Scope,
        now: Timestamp,
    ) -> Self {
        Self {
            connection,
            domain,
            scope,
            now,
            is_projecting: false,
            trace: Trace::default(),
            system: None,
        }
    }

    /// For a projection, which may be applied again at any time and so causes nothing.
    pub(crate) fn projecting(
        connection: &'c mut PgConnection,
        domain: DomainName,
        scope: &'c Scope,
        now: Timestamp,
    ) -> Self {
        Self { is_projecting: true, ..Self::new(connection, domain, scope, now) }
    }

    /// The same, and it may tell the facts that the catalog declares and knows what the
    /// installation keeps safe.
    pub(crate) fn telling(self, system: &'c System) -> Self {
        Self { system: Some(system), ..self }
    }

    pub(crate) fn system(&self) -> Result<&'c System> {
        let elsewhere = "a projection knows its events only, and is the same wherever it is made";
        self.system.ok_or_else(|| Error::failure(elsewhere))
    }

    /// The secret that all nodes of this installation share, to seal and open with.
    ///
    /// # Errors
    /// A failure in a projection.
    pub fn secret(&self) -> Result<&'c MasterSecret> {
        self.system().map(System::secret)
    }

    /// Which rules of security hold.
    ///
    /// # Errors
    /// A failure in a projection.
    pub fn profile(&self) -> Result<Profile> {
        self.system().map(System::profile)
    }

    /// Where this installation is reached, by those who are sent a link to it.
    ///
    /// # Errors
    /// A failure in a projection.
    pub fn address(&self) -> Result<&'c PublicUrl> {
        self.system().map(System::address)
    }

    /// Whom passkeys of this installation are made for; nobody if it has none.
    ///
    /// # Errors
    /// A failure in a projection.
    pub fn relying_party(&self) -> Result<Option<&'c RelyingParty>> {
        self.system().map(System::relying_party)
    }

    /// Who acts, for which organisation, in which chain of causes.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.scope
    }

    /// The organisation whose rows this transaction sees.
    #[must_use]
    pub fn org_id(&self) -> OrgId {
        self.scope.org_id
    }

    /// The instant of this transaction: the same for each question.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The connection, with role, tenant and search path set.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }

    /// What there is to be asked and told in this installation.
    ///
    /// # Errors
    /// A failure in a projection.
    pub fn catalog(&self) -> Result<&'c Catalog> {
        self.system().map(System::catalog)
    }

    /// Completes the job of this attempt with `result`, in this transaction.
    ///
    /// # Errors
    /// The refusal that another attempt has done it; the transaction must then be rolled back.
    pub(crate) async fn complete(
        &mut self,
        (job_id, attempt): (JobId, u32),
        result: Value,
    ) -> Result<()> {
        let (result, now) = (Some(result), self.now);
        let owns = jobs::complete_with(self.connection, job_id, attempt, result, now).await?;
        if owns { Ok(()) } else { Err(superseded()) }
    }

    fn must_cause(&self) -> Result<()> {
        if self.is_projecting {
            return Err(Error::failure(
                "a projection only fills its tables: it tells no fact and enqueues no job, which \
                 a rebuild would do once more",
            ));
        }
        Ok(())
    }

    pub(crate) fn trace(&self) -> Trace {
        self.trace
    }
}

impl From<jobs::EnqueueError> for Error {
    fn from(error: jobs::EnqueueError) -> Self {
        match error {
            jobs::EnqueueError::Database { source, .. } => source.into(),
            bad => Self::failure(bad),
        }
    }
}

/// A read-only view of one domain, for one organisation, at one instant.
pub struct Snapshot<'c> {
    connection: &'c mut PgConnection,
    system: &'c System,
    scope: &'c Scope,
    now: Timestamp,
}

impl<'c> Snapshot<'c> {
    pub(crate) fn new(
        connection: &'c mut PgConnection,
        system: &'c System,
        scope: &'c Scope,
        now: Timestamp,
    ) -> Self {
        Self { connection, system, scope, now }
    }

    pub(crate) const fn system(&self) -> &'c System {
        self.system
    }

    /// What there is to be asked and told in this installation.
    #[must_use]
    pub fn catalog(&self) -> &'c Catalog {
        self.system.catalog()
    }

    /// Who asks, for which organisation.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.scope
    }

    /// The organisation whose rows are visible.
    #[must_use]
    pub fn org_id(&self) -> OrgId {
        self.scope.org_id
    }

    /// The instant of this snapshot.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The connection, with role, tenant and search path set.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }
}

/// How a transaction of a domain begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) domain: DomainName,
    pub(crate) org_id: OrgId,
    pub(crate) read_only: bool,
    pub(crate) statement_timeout: Duration,
}

impl Opening {
    /// Opens the transaction in one round trip: begin, role, search path, tenant, time limit.
    pub(crate) async fn begin(self, session: &mut Session) -> Result<Transaction<'_, Postgres>> {
        let mut sql = String::from(if self.read_only { "begin read only" } else { "begin" });
        write!(sql, "; {}", become_tenant(self.domain, self.domain.as_str(), self.org_id.uuid()))
            .and_then(|()| {
                write!(
                    sql,
                    "; set local statement_timeout = {}",
                    self.statement_timeout.as_millis()
                )
            })
            .expect("writing to a string succeeds");
        // Safe: the domain's name is checked snake case, the rest are a UUID and a number.
        session.begin(AssertSqlSafe(sql)).await.map_err(Error::from)
    }
}

/// The statements that make a transaction a domain's own, for one tenant.
pub(crate) fn become_tenant(domain: DomainName, search_path: &str, org_id: Uuid) -> String {
    format!(
        "set local role {domain}; set local search_path = {search_path}; \
         set local app.org_id = '{org_id}'"
    )
}

/// The refusal for work that another attempt has done meanwhile.
pub(crate) fn superseded() -> Error {
    Error::refused(Reason::conflict("superseded"), "another attempt of this job has done it")
}
