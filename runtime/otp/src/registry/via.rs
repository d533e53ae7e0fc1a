//! An actor by its name in a registry.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use super::{RegisterError, Registry};
use crate::actor::Context;
use crate::call::{ActorRef, CALL_TIMEOUT, CallError, CastError, Reply};

/// Whoever has a name in a registry at the moment of each message; it follows restarts.
pub struct Via<K: Eq + Hash + Clone, M> {
    registry: Registry<K, ActorRef<M>>,
    key: K,
}

impl<K, M> Registry<K, ActorRef<M>>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: Send + 'static,
{
    /// Enters an actor under `key`, from its own `init` or later.
    pub fn register_actor(&self, context: &Context<M>, key: K) -> Result<(), RegisterError> {
        self.register(&context.pid(), key, context.myself())
    }

    /// Whoever is registered under `key` when it is sent something.
    #[must_use]
    pub fn via(&self, key: K) -> Via<K, M> {
        Via { registry: self.clone(), key }
    }
}

impl<K, M> Via<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: Send + 'static,
{
    /// The actor that has the name now.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<M>> {
        self.registry.first(&self.key, |_, actor| actor.clone())
    }

    /// Puts a message into the mailbox of whoever has the name, and waits for nothing.
    pub fn cast(&self, message: M) -> Result<(), CastError> {
        self.actor().ok_or(CastError::NoProc)?.cast(message)
    }

    /// Asks whoever has the name and waits for the answer, at most for `within`.
    ///
    /// # Cancel safety
    ///
    /// As of [`ActorRef::call`].
    pub async fn call<T: Send>(
        &self,
        message: impl FnOnce(Reply<T>) -> M + Send,
        within: Duration,
    ) -> Result<T, CallError> {
        self.actor().ok_or(CallError::NoProc)?.call(message, within).await
    }

    /// Asks whoever has the name and waits for the answer, at most for
    /// [`CALL_TIMEOUT`](crate::CALL_TIMEOUT), which is 5 s.
    ///
    /// # Cancel safety
    ///
    /// As of [`ActorRef::call`].
    pub async fn request<T: Send>(
        &self,
        message: impl FnOnce(Reply<T>) -> M + Send,
    ) -> Result<T, CallError> {
        self.call(message, CALL_TIMEOUT).await
    }
}

impl<K: Eq + Hash + Clone, M> Clone for Via<K, M> {
    fn clone(&self) -> Self {
        Self { registry: self.registry.clone(), key: self.key.clone() }
    }
}

impl<K: Eq + Hash + Clone + fmt::Debug, M> fmt::Debug for Via<K, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Via").field(&self.key).finish()
    }
}
