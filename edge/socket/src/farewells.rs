//! Farewells: users whom an operator sends away are told to go, on whichever node that was asked.
//!
//! The process follows what is recorded of it. It misses nothing: what it is too slow for it reads
//! from the log, and one that is started again goes on where the last one was.

use std::time::Duration;

use platform::bus::{BusEvent, DurableError, TopicFilter};
use platform::operator::{OPERATOR, UserDisconnected};
use platform::otp::{ChildSpec, ExitReason, Process, RunContext};
use platform::{Event as _, System};

use crate::sockets::Sockets;

/// Between two attempts to read the log when it cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The process that sends away whom an operator names.
pub(crate) fn child(system: &System, sockets: &Sockets) -> ChildSpec {
    let (system, sockets) = (system.clone(), sockets.clone());
    let make = move || Farewells { system: system.clone(), sockets: sockets.clone() };
    ChildSpec::process("farewells", make).label("users whom an operator disconnects")
}

struct Farewells {
    system: System,
    sockets: Sockets,
}

impl Process for Farewells {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let head = *self.system.log().head().borrow();
        let after = *self.sockets.sent_away_until().get_or_insert(head);
        let told = TopicFilter::Domain(OPERATOR.as_str().to_owned());
        let mut events = self.system.bus().subscribe_durably(told, after);
        loop {
            let event = tokio::select! {
                () = context.stopping() => return Ok(()),
                event = events.recv() => event,
            };
            match event {
                Ok(event) => {
                    self.obey(&event);
                    *self.sockets.sent_away_until() = Some(event.position);
                }
                Err(DurableError::Unavailable(error)) => {
                    tracing::debug!(%error, "whom an operator disconnects is not known just now");
                    tokio::select! {
                        () = context.stopping() => return Ok(()),
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                    }
                }
                Err(DurableError::Closed) => return Ok(()),
            }
        }
    }
}

impl Farewells {
    fn obey(&self, event: &BusEvent) {
        if event.event_type != UserDisconnected::TYPE.name {
            return;
        }
        match serde_json::from_str::<UserDisconnected>(&event.payload) {
            Ok(UserDisconnected { user_id }) => self.sockets.send_away(user_id),
            Err(error) => tracing::error!(%error, "whom an operator disconnects cannot be read"),
        }
    }
}
