//! The process that makes a node forget what it remembers of an organisation's credentials and
//! feature flags, as soon as the domain that keeps them tells of a change, on whatever node it was
//! made.
//!
//! What is remembered is forgotten by itself some seconds later, so while events do not come
//! through, a revoked credential works that much longer and no more.

use bus::{Interrupted, TopicFilter};
use kernel::{DomainName, OrgId};
use otp::{ChildSpec, ExitReason, Process, RunContext};

use crate::system::System;

/// The process, if a domain keeps credentials here.
pub(crate) fn child(system: &System) -> Option<ChildSpec> {
    let keeper = system.catalog().credentials()?.name();
    let system = system.clone();
    Some(ChildSpec::process("credentials", move || Forgetting { system: system.clone(), keeper }))
}

/// Forgets on this node what `domain` has just changed, if it keeps credentials. Other nodes learn
/// it from the event; whoever asked here is not let in once more meanwhile.
pub(crate) fn at_once(system: &System, domain: DomainName, org_id: OrgId) {
    let keeper = system.catalog().credentials();
    if keeper.is_some_and(|keeper| keeper.name() == domain) {
        of_organisation(system, org_id);
    }
}

fn of_organisation(system: &System, org_id: OrgId) {
    system.flag_memory().forget_unless(|known, _| *known != org_id);
    system.forget_credentials_of(org_id);
}

fn of_everybody(system: &System) {
    system.flag_memory().forget();
    system.forget_credentials();
}

struct Forgetting {
    system: System,
    keeper: DomainName,
}

impl Process for Forgetting {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let filter = TopicFilter::Domain(self.keeper.as_str().to_owned());
        let mut told = self.system.bus().subscribe(filter);
        // Something may have been told while nobody listened.
        of_everybody(&self.system);
        loop {
            let event = tokio::select! {
                event = told.recv() => event,
                () = context.stopping() => return Ok(()),
            };
            match event {
                Ok(event) => of_organisation(&self.system, event.topic.org_id),
                Err(Interrupted::Lagged { .. }) => of_everybody(&self.system),
                Err(Interrupted::Closed) => return Ok(()),
            }
        }
    }
}
