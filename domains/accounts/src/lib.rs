//! Accounts: organisations, their offices and users, and the credentials they show.
//!
//! The tables that every request is checked against belong to the platform (`platform.users`,
//! `platform.tokens`); this domain is the only one that may write them, for the current
//! organisation.

mod me;

use contracts::accounts::{ACCOUNTS, UserRenamed};
use platform::Domain;

pub use me::{GetMe, Me, RenameMe};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(ACCOUNTS).query::<GetMe>().command::<RenameMe>().emits::<UserRenamed>()
}
