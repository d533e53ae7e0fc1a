//! Handles: the same system, with rooms of its own for a domain or with its caller for an action.

use std::sync::Arc;

use kernel::Scope;

use super::System;
use crate::heavy::Heavy;
use crate::home::{Homes, Rooms};
use crate::progress::Progress;
use crate::refusal::{Error, Result};

impl System {
    /// The same system through what a domain on threads of its own has for itself.
    pub(crate) fn within(&self, rooms: Arc<Rooms>) -> Self {
        let (inner, listener) = (self.inner.clone(), self.listener.clone());
        Self { inner, rooms: Some(rooms), caller: None, listener }
    }

    /// The domains on threads of their own.
    pub(crate) fn homes(&self) -> &Homes {
        &self.inner.homes
    }

    /// The same system, as an action called by `scope` gets it.
    pub(crate) fn called_by(&self, scope: &Scope) -> Self {
        Self { caller: Some(Arc::new(scope.clone())), ..self.clone() }
    }

    /// The same system, for one call: `listener` hears how far the action is that it calls. It is
    /// called where the action runs and must not wait. Nothing is heard from a domain in a process
    /// of its own.
    #[must_use]
    pub fn heard_by(&self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { listener: Some(Arc::new(listener)), ..self.clone() }
    }

    /// Says how far the action is that was given this handle, to whoever listens. Where nobody
    /// does, it does nothing.
    pub fn progress(&self, progress: Progress) {
        if let Some(listener) = &self.listener {
            listener(progress);
        }
    }

    /// Who called the action that was given this handle.
    ///
    /// # Errors
    /// A failure outside of actions, where nobody has called.
    pub fn caller(&self) -> Result<&Scope> {
        self.caller.as_deref().ok_or_else(|| Error::failure("nobody called; only actions know"))
    }

    pub(crate) fn heavy(&self) -> &Heavy {
        &self.inner.heavy
    }
}
