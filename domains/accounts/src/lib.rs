//! Accounts: organisations, their offices and users, and the credentials they show.
//!
//! The tables that every request is checked against belong to the platform (`platform.users`,
//! `platform.tokens`); this domain is the only one that may write them, for the current
//! organisation.

mod me;
mod ticket;

use contracts::accounts::{ACCOUNTS, UserRenamed};
use platform::Domain;

pub use me::{GetMe, Me, RenameMe};
pub use ticket::{CreateTicket, CreatedTicket};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    let domain = Domain::new(ACCOUNTS)
        .about("Organisations, their offices and users, and the credentials they show.")
        .query::<GetMe>()
        .command::<RenameMe>()
        .emits::<UserRenamed>();
    credentials(domain)
}

/// What programs and apps show instead of signing in.
fn credentials(domain: Domain) -> Domain {
    domain.command::<CreateTicket>()
}
