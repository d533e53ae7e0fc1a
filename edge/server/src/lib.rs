//! The composition root: the only crate that sees everything. It lists the domains, puts the
//! surfaces behind one listener, and decides what the environment says.

pub mod audit;
pub mod cell;
pub mod demo;
pub mod listener;
pub mod origins;
pub mod peer;
pub mod s3;
pub mod secret;
pub mod serve;
pub mod settings;
pub mod transfer;

use platform::{Catalog, Violations};

/// The domains of Finnest, and the operator's own.
///
/// # Errors
/// [`Violations`] when their declarations contradict each other.
pub fn catalog() -> Result<Catalog, Violations> {
    Catalog::new(vec![
        accounts::domain(),
        recruit::domain(),
        onboard::domain(),
        pulse::domain(),
        reach::domain(),
        payroll::domain(),
        platform::operator::domain(),
    ])
}
