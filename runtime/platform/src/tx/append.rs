//! Telling facts in a transaction: alone, many at once, at an expected version, or once.

use std::any::TypeId;

use kernel::{Event, EventId};
use sqlx::AssertSqlSafe;
use store::{AppendError, Appended, NewEvent};
use uuid::Uuid;

use super::Tx;
use crate::refusal::{Error, Reason, Result};

impl Tx<'_> {
    /// Tells a fact. It becomes visible to others when it is sealed, shortly after the commit.
    ///
    /// # Errors
    /// A refusal when the chain of causes is too long; a failure when the event is not this
    /// domain's own, breaks its published schema, carries a float or is too large.
    pub async fn append<E: Event>(&mut self, event: &E) -> Result<EventId> {
        let event = self.draft(EventId::new(), event)?;
        let appended = store::append(self.connection, &event).await;
        self.appended(appended).await?;
        Ok(event.event_id)
    }

    /// Tells many facts of one type in one statement, in their order: all or none.
    ///
    /// # Errors
    /// As [`Tx::append`]; a failure names the event by its index.
    pub async fn append_all<E: Event>(&mut self, events: &[E]) -> Result<Vec<EventId>> {
        let drafts = events.iter().map(|event| self.draft(EventId::new(), event));
        let drafts = drafts.collect::<Result<Vec<NewEvent>>>()?;
        let appended = store::append_all(self.connection, &drafts).await;
        self.appended(appended).await?;
        Ok(drafts.iter().map(|event| event.event_id).collect())
    }

    /// Tells a fact about an aggregate that has `version` so far, as
    /// [`version_of`](Tx::version_of) told. Of all who expect the same version, one succeeds.
    ///
    /// # Errors
    /// The conflict `version_conflict` with both versions, and whatever [`Tx::append`] refuses.
    pub async fn append_expecting<E: Event>(&mut self, version: u64, event: &E) -> Result<EventId> {
        let event = self.draft(EventId::new(), event)?;
        let appended = store::append_expecting(self.connection, version, &event).await;
        self.appended(appended).await?;
        Ok(event.event_id)
    }

    /// Tells a fact under an id of the caller's, unless it was told before under that id.
    ///
    /// # Errors
    /// The conflict `event_id_taken` if the id belongs to a fact with other content, and whatever
    /// [`Tx::append`] refuses.
    pub async fn append_once<E: Event>(
        &mut self,
        event_id: EventId,
        event: &E,
    ) -> Result<Appended> {
        let event = self.draft(event_id, event)?;
        let appended = store::append_once(self.connection, &event).await;
        self.appended(appended).await
    }

    /// The version of an aggregate of this domain: how many facts were told about it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn version_of(&mut self, aggregate_id: Uuid) -> Result<u64> {
        let (org_id, domain) = (self.scope.org_id, self.domain.as_str());
        Ok(store::aggregate_version(self.connection, org_id, domain, aggregate_id).await?)
    }

    /// The record of `event`, which is this domain's own and has the shape it has published.
    fn draft<E: Event>(&self, event_id: EventId, event: &E) -> Result<NewEvent> {
        self.must_cause()?;
        if E::TYPE.domain != self.domain {
            return Err(Error::failure(format!(
                "{} may not append {}: it belongs to {}",
                self.domain,
                E::TYPE.name,
                E::TYPE.domain
            )));
        }
        let declared = self.system.and_then(|system| system.catalog().event_of(TypeId::of::<E>()));
        let Some(declared) = declared else {
            return Err(Error::failure(format!(
                "{} appends {}, but does not say so: declare it with Domain::emits",
                self.domain,
                E::TYPE.name
            )));
        };
        let event = NewEvent::of(event, event_id, self.scope.clone(), self.now)?;
        declared.check(&event.payload).map_err(Error::failure)?;
        Ok(event)
    }

    async fn appended<T>(&mut self, result: Result<T, AppendError>) -> Result<T> {
        match result {
            Ok(value) => {
                self.trace.appended = true;
                Ok(value)
            }
            Err(error) => Err(self.refused(error).await),
        }
    }

    async fn refused(&mut self, error: AppendError) -> Error {
        let code = match &error {
            AppendError::Database { .. } => None,
            AppendError::TooManyHops { .. } => Some("too_many_hops"),
            AppendError::VersionConflict { .. } => Some("version_conflict"),
            AppendError::IdTaken { .. } => Some("event_id_taken"),
            AppendError::InBatch { source, .. } => {
                matches!(**source, AppendError::TooManyHops { .. }).then_some("too_many_hops")
            }
            _ => return Error::failure(error),
        };
        match (code, error) {
            (_, AppendError::Database { source, .. }) => source.into(),
            (Some(code), error) => {
                let error = self.with_chain(error).await;
                Error::refused(Reason::conflict(code), error.to_string())
            }
            (None, error) => Error::failure(error),
        }
    }

    /// Adds the chain of causes to the refusal of its eleventh event.
    async fn with_chain(&mut self, error: AppendError) -> AppendError {
        match error {
            AppendError::InBatch { source, .. } => Box::pin(self.with_chain(*source)).await,
            AppendError::TooManyHops {
                event_type,
                hops,
                correlation_id,
                causation_id: Some(last),
                chain: None,
            } => {
                let chain = self.chain_of_causes(last).await.ok();
                let causation_id = Some(last);
                AppendError::TooManyHops { event_type, hops, correlation_id, causation_id, chain }
            }
            other => other,
        }
    }

    /// A chain crosses domains, so it is read as the runtime. What was refused is rolled back.
    async fn chain_of_causes(
        &mut self,
        last: EventId,
    ) -> Result<store::ChainOfCauses, sqlx::Error> {
        sqlx::raw_sql("set local role finnest_runtime").execute(&mut *self.connection).await?;
        let chain = store::chain_of_causes(self.connection, last).await;
        let back = format!("set local role {}", self.domain);
        // Safe: the domain's name is checked snake case.
        sqlx::raw_sql(AssertSqlSafe(back)).execute(&mut *self.connection).await?;
        chain
    }
}
