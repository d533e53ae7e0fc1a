//! Telling: an event of a domain that is not there, so that a test sees who hears it.
//!
//! Domains do not know each other, in tests neither: what stands in for one that tells something is
//! a domain of its name that has nothing but [`Tell`].

use platform::{Command, Domain, Event, Result, Spec, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells an event, as the domain would whose event it is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(bound(deserialize = "E: Event"))]
pub struct Tell<E: Event>(pub E);

impl<E: Event> Command for Tell<E> {
    const SPEC: Spec = Spec::internal(E::TYPE.name);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await?;
        Ok(())
    }
}

/// A domain that tells events of this type by [`Tell`], besides what it has already.
#[must_use]
pub fn telling<E: Event>(domain: Domain) -> Domain {
    domain.command::<Tell<E>>().emits::<E>()
}
