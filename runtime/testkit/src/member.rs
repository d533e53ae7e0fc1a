//! A member of an organisation: acts through the same door as any caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use platform::{Command, Error, Query, Result, Role, Scope, System};
use serde_json::Value;
use uuid::Uuid;

/// A user of an organisation with a role.
#[derive(Debug, Clone)]
pub struct Member {
    pub(crate) system: System,
    pub(crate) scope: Scope,
    pub(crate) token: String,
    pub(crate) inline: Arc<AtomicBool>,
}

impl Member {
    /// Runs a command.
    pub async fn run<C: Command>(&self, command: C) -> Result<C::Output> {
        let output = self.system.run(&self.scope(), command).await?;
        self.perform_due().await?;
        Ok(output)
    }

    /// Asks a query.
    pub async fn ask<Q: Query>(&self, query: Q) -> Result<Q::Output> {
        self.system.ask(&self.scope(), query).await
    }

    /// Calls an operation by name, as a surface does.
    pub async fn call(&self, domain: &str, operation: &str, input: Value) -> Result<Value> {
        let output = self.system.call(&self.scope(), domain, operation, input).await?;
        self.perform_due().await?;
        Ok(output)
    }

    /// Performs the jobs that a call has enqueued, if they are performed inline.
    async fn perform_due(&self) -> Result<()> {
        if self.inline.load(Ordering::Acquire) {
            self.system.drain_jobs().await?;
        }
        Ok(())
    }

    /// Calls an operation that must be refused, and answers the refusal.
    ///
    /// # Panics
    /// When it is not refused.
    pub async fn refuse(&self, domain: &str, operation: &str, input: Value) -> Error {
        match self.call(domain, operation, input).await {
            Ok(output) => panic!("{domain}/{operation} was not refused but answered {output}"),
            Err(error) => error,
        }
    }

    /// The same user at a surface with another credential, which the surface looks up by itself.
    #[must_use]
    pub fn showing(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// The member's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The scope of a fresh request by this member.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope { correlation_id: Uuid::now_v7(), ..self.scope.clone() }
    }

    /// What the member may do.
    ///
    /// # Panics
    /// Never: a member is made with a role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.scope.role().expect("a member is a user, and users have roles")
    }
}
