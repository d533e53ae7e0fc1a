//! Following a verification: a walk that a platform does in the background, until it has a verdict.

use std::time::Duration;

use platform::operator::Verification;
use serde_json::{Map, json};
use tokio::time::Instant;

use crate::client::{Client, PATIENCE, Trouble};
use crate::exit::Exit;
use crate::options::Style;
use crate::print;
use crate::route::{Call, Route};
use crate::run::tell;
use crate::screen::Screen;
use crate::verdict::{Pace, tell_verdict};

/// How soon to ask again at first; doubled up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// The longest time between two questions.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Starts a walk and tells how far it is until it ends.
pub(crate) async fn follow(
    client: &Client,
    start: &Call,
    show: &Route,
    style: &Style,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let began = Instant::now();
    let mut wait = WAIT_FIRST;
    let mut answer = client.send(start, PATIENCE).await?;
    loop {
        let Ok(walk) = serde_json::from_value::<Verification>(answer.clone()) else {
            // Whatever this is, it is not the word that the chain holds.
            return tell(&answer, style, screen, print::answer).map(|_| Exit::Failed);
        };
        if let Some(report) = &walk.report {
            screen.progress("");
            return Ok(tell_verdict(report, style, screen));
        }
        if walk.state != "running" {
            screen.progress("");
            screen.complain(&ended(&walk));
            return Ok(Exit::Failed);
        }
        let pace = Pace {
            events: walk.events,
            position: walk.position.0,
            until: walk.until.0,
            elapsed: began.elapsed(),
        };
        screen.progress(&pace.line());
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
        let mut input = Map::new();
        input.insert("verification_id".to_owned(), json!(walk.verification_id));
        let again = show.call(input).expect("the id is there");
        answer = client.send(&again, PATIENCE).await?;
    }
}

/// Why there is no verdict, and what to do.
fn ended(walk: &Verification) -> String {
    let Verification { verification_id, state, position, failure, .. } = walk;
    let why = failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    format!(
        "the verification was {state} at position {position}{why}; to go on from there: finnest \
         call operator start_verification --resume {verification_id}"
    )
}

/// A walk that has ended with `report`, for the tests of this crate.
#[cfg(test)]
pub(crate) fn done(report: &serde_json::Value) -> serde_json::Value {
    json!({
        "verification_id": "01a1fe65-8b8a-739b-b059-386f680fec99", "state": "done",
        "position": 7, "until": 7, "events": 7, "broken_count": 0,
        "started_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        "report": report,
    })
}
