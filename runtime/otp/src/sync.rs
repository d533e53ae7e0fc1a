//! What threads share without further agreement, by name.
//!
//! The code that relies on it is written against this file, so that it can be compiled against
//! loom's instead, which tries every order of events: see the crate `models` beside this one.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, fence};
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};

pub(crate) use tokio::sync::Notify;
