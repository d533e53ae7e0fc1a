//! Organisations: the tenants that a domain's duties go round for.
//!
//! A request belongs to one organisation, but a duty that runs on its own clock serves all of them,
//! one after the other, each under a scope of its own.

use kernel::{OrgId, Scope};
use uuid::Uuid;

use crate::refusal::Result;
use crate::system::System;

impl System {
    /// The organisation with this short name, if there is one.
    ///
    /// # Errors
    /// [`Error`](crate::Error) when the database does not answer.
    pub async fn organisation(&self, slug: &str) -> Result<Option<OrgId>> {
        let mut transaction = store::begin(self.pool()).await?;
        let found = sqlx::query_scalar(
            "select id from platform.organisations where slug = $1 and deleted_at is null",
        )
        .bind(slug)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        Ok(found)
    }

    /// A scope for each organisation, under the name of the duty that goes round, for example
    /// `recruit.pool_refresh`.
    ///
    /// # Errors
    /// [`Error`](crate::Error) when the database does not answer.
    pub async fn rounds(&self, duty: &str) -> Result<Vec<Scope>> {
        let mut transaction = store::begin(self.pool()).await?;
        let organisations: Vec<OrgId> = sqlx::query_scalar(
            "select id from platform.organisations where deleted_at is null order by id",
        )
        .fetch_all(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        let scope = |org_id| Scope::system(org_id, duty, Uuid::now_v7());
        Ok(organisations.into_iter().map(scope).collect())
    }
}
