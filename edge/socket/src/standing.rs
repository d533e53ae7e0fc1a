//! Standing: whoever's credential ends while a connection is open is noticed at once.
//!
//! The process follows what the domain tells that keeps credentials, on whichever node it
//! happened, and has the connections of the user concerned ask the database whether they may stay.
//! Whatever it misses while it is down is made up for at its start.

use platform::bus::{Interrupted, TopicFilter};
use platform::otp::{ChildSpec, ExitReason, Process, RunContext};
use platform::{DomainName, System};

use crate::about::{Concerned, concerned};
use crate::sockets::Sockets;

/// The process that has connections ask whether they may stay, if a domain keeps credentials here.
pub(crate) fn child(system: &System, sockets: &Sockets) -> Option<ChildSpec> {
    let keeper = system.catalog().credentials()?.name();
    let (system, sockets) = (system.clone(), sockets.clone());
    let make = move || Standing { system: system.clone(), sockets: sockets.clone(), keeper };
    Some(ChildSpec::process("standing", make).label("whether whoever is connected may stay"))
}

struct Standing {
    system: System,
    sockets: Sockets,
    keeper: DomainName,
}

impl Process for Standing {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let told = TopicFilter::Domain(self.keeper.as_str().to_owned());
        let mut events = self.system.bus().subscribe(told);
        self.sockets.check_all(None);
        loop {
            let event = tokio::select! {
                () = context.stopping() => return Ok(()),
                event = events.recv() => event,
            };
            match event {
                Ok(event) => match concerned(&event) {
                    Some(Concerned::User(user_id)) => self.sockets.check(user_id),
                    Some(Concerned::Organisation(org_id)) => self.sockets.check_all(Some(org_id)),
                    None => {}
                },
                Err(Interrupted::Lagged { .. }) => self.sockets.check_all(None),
                Err(Interrupted::Closed) => return Ok(()),
            }
        }
    }
}
