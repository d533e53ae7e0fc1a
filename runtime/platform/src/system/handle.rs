//! Handles: the same system, with rooms of its own for a domain or with its caller for an action.

use std::sync::Arc;

use kernel::Scope;

use super::System;
use crate::heavy::Heavy;
use crate::home::{Homes, Rooms};
use crate::refusal::{Error, Result};

impl System {
    /// The same system through what a domain on threads of its own has for itself.
    pub(crate) fn within(&self, rooms: Arc<Rooms>) -> Self {
        Self { inner: self.inner.clone(), rooms: Some(rooms), caller: None }
    }

    /// The domains on threads of their own.
    pub(crate) fn homes(&self) -> &Homes {
        &self.inner.homes
    }

    /// The same system, as an action called by `scope` gets it.
    pub(crate) fn called_by(&self, scope: &Scope) -> Self {
        Self { caller: Some(Arc::new(scope.clone())), ..self.clone() }
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
