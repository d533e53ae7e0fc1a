//! Accounts: organisations, their offices and users, and the credentials they show.
//!
//! The tables that every request is checked against belong to the platform (`platform.users`,
//! `platform.tokens`); this domain is the only one that may write them, for the current
//! organisation.

mod credential;
mod flag;
mod me;
mod service_token;
mod ticket;
mod token;

use contracts::accounts::{
    ACCOUNTS, FeatureFlagChanged, ServiceTokenIssued, TokenCreated, TokenRevoked, UserRenamed,
};
use platform::Domain;

pub use flag::{FeatureFlag, FeatureFlags, ListFeatureFlags, ResetFeatureFlag, SetFeatureFlag};
pub use me::{GetMe, Me, RenameMe};
pub use service_token::{IssueServiceToken, IssuedServiceToken};
pub use ticket::{CreateTicket, CreatedTicket};
pub use token::{CreateToken, CreatedToken, ListTokens, RevokeToken, TokenView};

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
    domain
        .keeps_credentials()
        .command::<CreateTicket>()
        .command::<CreateToken>()
        .query::<ListTokens>()
        .command::<RevokeToken>()
        .emits::<TokenCreated>()
        .emits::<TokenRevoked>()
        .command::<IssueServiceToken>()
        .emits::<ServiceTokenIssued>()
        .query::<ListFeatureFlags>()
        .command::<SetFeatureFlag>()
        .command::<ResetFeatureFlag>()
        .emits::<FeatureFlagChanged>()
}
