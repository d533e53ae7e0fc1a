//! Step-up: showing the second factor once more, before something that cannot be undone.
//!
//! It is noted where the sign-in began, so it counts for all that was made from it: for the next
//! access token of an app and for what acts through an open socket.

use contracts::accounts::SecondFactorShown;
use platform::{
    Access, Action, Command, Result, SECOND_FACTOR_COUNTS_FOR, Spec, System, Timestamp, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::credential::NothingToMakeItFrom;
use crate::enrolment::{Shown, show};
use crate::me::user_of;
use crate::second_factor::{self, Refusal};

/// Show my second factor once more.
///
/// What destroys something wants a second factor shown in the last ten minutes and is refused with
/// `step_up_required` otherwise. Wrong codes are counted as they are at signing in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowSecondFactor {
    /// Six digits from the device, or a recovery code.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

/// A second factor was shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SteppedUp {
    /// Until when that counts.
    pub counts_until: Timestamp,
}

impl Action for ShowSecondFactor {
    const SPEC: Spec = Spec::invoke("show_second_factor", "/me/second_factor/show")
        .needs(Access::Member)
        .confidential();
    type Output = SteppedUp;

    async fn act(self, system: &System) -> Result<SteppedUp> {
        system.run(system.caller()?, StepUp { code: self.code }).await?.into_result()
    }
}

/// Compares a code with the second factor of whoever calls, as a counted guess.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StepUp {
    code: String,
}

impl Command for StepUp {
    const SPEC: Spec = Spec::internal("step_up");
    type Output = Shown<SteppedUp>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Shown<SteppedUp>> {
        let (user_id, now) = (user_of(tx.scope())?, tx.now());
        let credential_id = beginning(tx, user_id).await?.ok_or(NothingToMakeItFrom)?;
        if !second_factor::is_there(tx, user_id).await? {
            return Err(Refusal::None.into());
        }
        match show(tx, user_id, &self.code).await? {
            Shown::Right(()) => {}
            Shown::Wrong => return Ok(Shown::Wrong),
            Shown::TooMany(wait_ms) => return Ok(Shown::TooMany(wait_ms)),
        }
        second_factor::note_shown(tx, credential_id).await?;
        tx.append(&SecondFactorShown { user_id, credential_id }).await?;
        Ok(Shown::Right(SteppedUp { counts_until: now + SECOND_FACTOR_COUNTS_FOR }))
    }
}

/// What the credential of this request began with; nothing for the token of a service, behind which
/// nobody sits.
pub(crate) async fn beginning(tx: &mut Tx<'_>, user_id: UserId) -> Result<Option<Uuid>> {
    let credential_id = tx.scope().authority.credential_id;
    Ok(sqlx::query_scalar(
        "with recursive line (id, parent_id, above) as (
             select id, parent_id, 0 from platform.tokens where id = $1 and user_id = $2
             union all
             select parent.id, parent.parent_id, line.above + 1
             from line join platform.tokens parent on parent.id = line.parent_id
             where line.above < 8
         )
         select id from line where parent_id is null",
    )
    .bind(credential_id)
    .bind(user_id)
    .fetch_optional(tx.connection())
    .await?)
}
