//! Enrolling a second factor, and being without it again: by those who have signed in, and, where
//! nobody may be without, by those who are about to.

use platform::{
    Access, Action, Command, Error, Result, SECOND_FACTOR_COUNTS_FOR, SecondFactor, Spec, System,
    Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt;
use crate::challenge::{self, Asks};
use crate::guess::{self, At, Guess};
use crate::me::user_of;
use crate::password::Password;
use crate::second_factor::{self, Enrolment, RecoveryCodes, Refusal};
use crate::sign_in::{SignInAnswer, SignInRefusal};

/// Begin to enrol a second factor: a device that makes codes.
///
/// It counts once `confirm_second_factor` was shown a code of it. Whoever has a second factor shows
/// a code of it to get another; whoever has passkeys alone has shown one in the last ten minutes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolSecondFactor {
    /// My password.
    pub password: Password,
    /// A code of the second factor so far, or a recovery code, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 40))]
    pub code: Option<String>,
}

impl Action for EnrolSecondFactor {
    const SPEC: Spec = Spec::invoke("enrol_second_factor", "/me/second_factor/enrol")
        .needs(Access::Member)
        .confidential();
    type Output = Enrolment;

    async fn act(self, system: &System) -> Result<Enrolment> {
        let (_, guess) = attempt::must_be_own(system, self.password).await?;
        let begin = BeginEnrolment { guess, code: self.code };
        system.run(system.caller()?, begin).await?.into_result()
    }
}

/// How a code that was shown fared. What is wrong must be counted, so it is no refusal yet.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Shown<T> {
    Right(T),
    Wrong,
    TooMany(u64),
}

impl<T> Shown<T> {
    pub(crate) fn into_result(self) -> Result<T> {
        match self {
            Self::Right(answer) => Ok(answer),
            Self::Wrong => Err(Refusal::Code.into()),
            Self::TooMany(wait_ms) => Err(guess::too_many(wait_ms)),
        }
    }
}

/// Shows a code of the user's second factor, as a counted guess.
pub(crate) async fn show(tx: &mut Tx<'_>, user_id: UserId, code: &str) -> Result<Shown<()>> {
    let guess = match guess::count(tx, At::SecondFactor(user_id)).await? {
        Ok(guess) => guess,
        Err(wait_ms) => return Ok(Shown::TooMany(wait_ms)),
    };
    if second_factor::show(tx, user_id, code).await? {
        guess.was_right(tx).await?;
        return Ok(Shown::Right(()));
    }
    guess.was_wrong(tx, Some(user_id)).await?;
    Ok(Shown::Wrong)
}

/// Whether whoever calls has shown a second factor in the last minutes.
fn was_shown_of_late(tx: &Tx<'_>) -> bool {
    let SecondFactor::Shown { at } = tx.scope().authority.second_factor else { return false };
    (tx.now() - at).to_std().is_ok_and(|age| age <= SECOND_FACTOR_COUNTS_FOR)
}

/// Begins an enrolment for whoever calls, whose password was right.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BeginEnrolment {
    guess: Guess,
    code: Option<String>,
}

impl Command for BeginEnrolment {
    const SPEC: Spec = Spec::internal("begin_enrolment");
    type Output = Shown<Enrolment>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Shown<Enrolment>> {
        let user_id = user_of(tx.scope())?;
        self.guess.was_right(tx).await?;
        // Whoever has passkeys alone has no codes, and has shown one to get here.
        let is_by_passkey = self.code.is_none()
            && was_shown_of_late(tx)
            && !second_factor::has_device(tx, user_id).await?;
        if second_factor::is_there(tx, user_id).await? && !is_by_passkey {
            match show(tx, user_id, self.code.as_deref().unwrap_or_default()).await? {
                Shown::Right(()) => {}
                Shown::Wrong => return Ok(Shown::Wrong),
                Shown::TooMany(wait_ms) => return Ok(Shown::TooMany(wait_ms)),
            }
        }
        second_factor::begin(tx, user_id).await.map(Shown::Right)
    }
}

/// Confirm the second factor that I have begun to enrol, with a code of it.
///
/// The answer has ten recovery codes for when the device is lost. They are told once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmSecondFactor {
    /// Six digits from the device.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

impl Action for ConfirmSecondFactor {
    const SPEC: Spec = Spec::invoke("confirm_second_factor", "/me/second_factor/confirm")
        .needs(Access::Member)
        .confidential();
    type Output = RecoveryCodes;

    async fn act(self, system: &System) -> Result<RecoveryCodes> {
        let confirm = ConfirmEnrolment { code: self.code };
        system.run(system.caller()?, confirm).await?.into_result()
    }
}

/// Confirms the enrolment of whoever calls; their session has then shown a second factor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ConfirmEnrolment {
    code: String,
}

impl Command for ConfirmEnrolment {
    const SPEC: Spec = Spec::internal("confirm_enrolment");
    type Output = Shown<RecoveryCodes>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Shown<RecoveryCodes>> {
        let user_id = user_of(tx.scope())?;
        let confirmed = confirmed(tx, user_id, &self.code).await?;
        if matches!(confirmed, Shown::Right(_)) {
            second_factor::was_shown(tx).await?;
        }
        Ok(confirmed)
    }
}

/// Confirms a user's enrolment, as a counted guess.
async fn confirmed(tx: &mut Tx<'_>, user_id: UserId, code: &str) -> Result<Shown<RecoveryCodes>> {
    let guess = match guess::count(tx, At::SecondFactor(user_id)).await? {
        Ok(guess) => guess,
        Err(wait_ms) => return Ok(Shown::TooMany(wait_ms)),
    };
    let Some(codes) = second_factor::confirm(tx, user_id, code).await? else {
        guess.was_wrong(tx, Some(user_id)).await?;
        return Ok(Shown::Wrong);
    };
    guess.was_right(tx).await?;
    Ok(Shown::Right(codes))
}

/// Be without a second factor again, which a code of it permits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableSecondFactor {
    /// Six digits from the device, or a recovery code.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

impl Action for DisableSecondFactor {
    const SPEC: Spec = Spec::invoke("disable_second_factor", "/me/second_factor/disable")
        .needs(Access::Member)
        .confidential();
    type Output = ();

    async fn act(self, system: &System) -> Result<()> {
        if system.profile().demands_second_factor() {
            return Err(Refusal::Demanded.into());
        }
        let change = ChangeSecondFactor { code: self.code, is_renewal: false };
        system.run(system.caller()?, change).await?.into_result().map(drop)
    }
}

/// Get new recovery codes, which a code of the second factor permits.
///
/// The earlier ones are good for nothing from then on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRecoveryCodes {
    /// Six digits from the device, or a recovery code.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

impl Action for RenewRecoveryCodes {
    const SPEC: Spec = Spec::invoke("renew_recovery_codes", "/me/second_factor/recovery_codes")
        .needs(Access::Member)
        .confidential();
    type Output = RecoveryCodes;

    async fn act(self, system: &System) -> Result<RecoveryCodes> {
        let change = ChangeSecondFactor { code: self.code, is_renewal: true };
        system.run(system.caller()?, change).await?.into_result()
    }
}

/// Takes the second factor of whoever calls away, or renews its recovery codes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ChangeSecondFactor {
    code: String,
    is_renewal: bool,
}

impl Command for ChangeSecondFactor {
    const SPEC: Spec = Spec::internal("change_second_factor");
    type Output = Shown<RecoveryCodes>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Shown<RecoveryCodes>> {
        let user_id = user_of(tx.scope())?;
        if !second_factor::is_there(tx, user_id).await? {
            return Err(Refusal::None.into());
        }
        match show(tx, user_id, &self.code).await? {
            Shown::Right(()) if self.is_renewal => {
                second_factor::renew_codes(tx, user_id).await.map(Shown::Right)
            }
            Shown::Right(()) => {
                second_factor::disable(tx, user_id).await?;
                Ok(Shown::Right(RecoveryCodes { recovery_codes: Vec::new() }))
            }
            Shown::Wrong => Ok(Shown::Wrong),
            Shown::TooMany(wait_ms) => Ok(Shown::TooMany(wait_ms)),
        }
    }
}

/// Enrol a second factor to sign in with, where nobody may act without one.
///
/// For those whose `sign_in` was answered with `enrolment_required`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolToSignIn {
    /// The challenge that `sign_in` answered.
    #[schemars(length(min = 1, max = 200))]
    pub challenge: String,
}

impl Action for EnrolToSignIn {
    const SPEC: Spec =
        Spec::invoke("enrol_to_sign_in", "/sign_in/enrol").needs(Access::Anyone).confidential();
    type Output = Enrolment;

    async fn act(self, system: &System) -> Result<Enrolment> {
        let command = |digest| BeginEnrolmentToSignIn { digest };
        let begun = challenge::answer(system, &self.challenge, command).await?;
        begun.ok_or_else(|| Error::from(SignInRefusal::Challenge))
    }
}

/// Begins the enrolment of whoever a challenge is for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BeginEnrolmentToSignIn {
    digest: Vec<u8>,
}

impl Command for BeginEnrolmentToSignIn {
    const SPEC: Spec = Spec::internal("begin_enrolment_by_challenge");
    type Output = Option<Enrolment>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Enrolment>> {
        match challenge::open(tx, &self.digest, Asks::Enrolment).await? {
            Some(open) => second_factor::begin(tx, open.user_id).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Confirm the second factor enrolled to sign in with, and sign in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmToSignIn {
    /// The challenge that `sign_in` answered.
    #[schemars(length(min = 1, max = 200))]
    pub challenge: String,
    /// Six digits from the device.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

/// A session, and codes for when the device is lost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// The session.
    pub session: SignInAnswer,
    /// Each is good once in place of a code of the device. Told once.
    pub recovery_codes: Vec<String>,
}

impl Action for ConfirmToSignIn {
    const SPEC: Spec =
        Spec::invoke("confirm_to_sign_in", "/sign_in/confirm").needs(Access::Anyone).confidential();
    type Output = Enrolled;

    async fn act(self, system: &System) -> Result<Enrolled> {
        let Self { challenge, code } = self;
        let confirm = |digest| ConfirmEnrolmentToSignIn { digest, code };
        let confirmed = challenge::answer(system, &challenge, confirm).await?;
        confirmed.ok_or(SignInRefusal::Challenge)?.into_result()
    }
}

/// Confirms the enrolment of whoever a challenge is for, and begins their session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ConfirmEnrolmentToSignIn {
    digest: Vec<u8>,
    code: String,
}

impl Command for ConfirmEnrolmentToSignIn {
    const SPEC: Spec = Spec::internal("confirm_enrolment_by_challenge");
    type Output = Option<Shown<Enrolled>>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Shown<Enrolled>>> {
        let Some(open) = challenge::open(tx, &self.digest, Asks::Enrolment).await? else {
            return Ok(None);
        };
        let shown = match confirmed(tx, open.user_id, &self.code).await? {
            Shown::Right(RecoveryCodes { recovery_codes }) => {
                Shown::Right(Enrolled { session: open.answered(tx).await?, recovery_codes })
            }
            Shown::Wrong => Shown::Wrong,
            Shown::TooMany(wait_ms) => Shown::TooMany(wait_ms),
        };
        Ok(Some(shown))
    }
}
