//! Setting a password by a link: coming in by an invitation, and choosing another password.

use contracts::accounts::{EndReason, InvitationAccepted, PasswordResetRequested};
use platform::{
    Access, Action, Attempt, Command, Job, Outcome, Reason, Refusal, Result, Spec, System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guess::{self, At, NOBODY};
use crate::link::{self, Purpose};
use crate::one_time;
use crate::password::Password;
use crate::session::{self, Which};
use crate::set_password;

/// Come in by an invitation, with a password of my own.
///
/// The invitation is good once. Sign in with the password from then on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// The token in the link of the invitation.
    #[schemars(length(min = 1, max = 200))]
    pub token: String,
    /// 12 to 128 characters, neither my name nor my address, and none of those that everybody
    /// tries first.
    pub new_password: Password,
}

/// Choose another password by the link that was asked for.
///
/// The link is good once and for half an hour. All sessions end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token in the link.
    #[schemars(length(min = 1, max = 200))]
    pub token: String,
    /// 12 to 128 characters, neither my name nor my address, and none of those that everybody
    /// tries first.
    pub new_password: Password,
}

/// The link does not let anybody in.
#[derive(Debug, thiserror::Error)]
#[error("the link is unknown, used or too old; ask for another")]
struct BadLink;

impl Refusal for BadLink {
    fn reason(&self) -> Reason {
        Reason::unauthenticated("link_refused")
    }
}

impl Action for AcceptInvitation {
    const SPEC: Spec = Spec::invoke("accept_invitation", "/invitations/accept")
        .needs(Access::Anyone)
        .confidential();
    type Output = ();

    async fn act(self, system: &System) -> Result<()> {
        set_by(system, &self.token, self.new_password, Purpose::Invitation).await
    }
}

impl Action for ResetPassword {
    const SPEC: Spec =
        Spec::invoke("reset_password", "/password/reset").needs(Access::Anyone).confidential();
    type Output = ();

    async fn act(self, system: &System) -> Result<()> {
        set_by(system, &self.token, self.new_password, Purpose::PasswordReset).await
    }
}

/// Sets the password of whoever a link is for. A bad password leaves the link as it is.
async fn set_by(system: &System, token: &str, password: Password, purpose: Purpose) -> Result<()> {
    let org_id = one_time::organisation(purpose.kind(), token).ok_or(BadLink)?;
    let scope = session::duty(system.caller()?, org_id);
    let digest = one_time::digest(token);
    let is_invitation = purpose == Purpose::Invitation;
    let look = LookAtLink { digest: digest.clone(), is_invitation };
    let (email, name) = system.run(&scope, look).await?.ok_or(BadLink)?;
    password.check(&email, &name)?;
    let hash = system.compute(move || password.hash()).await.flatten()?;
    let is_set = system.run(&scope, UseLink { digest, is_invitation, hash }).await?;
    if is_set { Ok(()) } else { Err(BadLink.into()) }
}

const fn purpose_of(is_invitation: bool) -> Purpose {
    if is_invitation { Purpose::Invitation } else { Purpose::PasswordReset }
}

/// Whose link it is: address and name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LookAtLink {
    digest: Vec<u8>,
    is_invitation: bool,
}

impl Command for LookAtLink {
    const SPEC: Spec = Spec::internal("look_at_link");
    type Output = Option<(String, String)>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<(String, String)>> {
        let found = link::open(tx, &self.digest, purpose_of(self.is_invitation), false).await?;
        Ok(found.map(|(_, email, name)| (email, name)))
    }
}

/// Uses a link up and sets the password of its user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UseLink {
    digest: Vec<u8>,
    is_invitation: bool,
    hash: String,
}

impl Command for UseLink {
    const SPEC: Spec = Spec::internal("use_link");
    type Output = bool;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<bool> {
        let purpose = purpose_of(self.is_invitation);
        let Some((user_id, email, _)) = link::open(tx, &self.digest, purpose, true).await? else {
            return Ok(false);
        };
        link::withdraw(tx, user_id, None).await?;
        set_password::keep(tx, user_id, &self.hash).await?;
        if self.is_invitation {
            tx.append(&InvitationAccepted { user_id }).await?;
        }
        session::end(tx, user_id, Which::AllBut(None), EndReason::PasswordChanged).await?;
        // Whoever reads the user's letters need not wait for those who guessed.
        guess::forget(tx, At::Password(&email)).await?;
        Ok(true)
    }
}

/// Ask for a link to choose another password by.
///
/// The answer is the same whether there is such a user or not; the link comes by e-mail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestPasswordReset {
    /// The short name of the organisation.
    #[schemars(length(min = 1, max = 63))]
    pub organisation: String,
    /// The address of the user.
    #[schemars(length(min = 3, max = 254))]
    pub email: String,
}

impl Action for RequestPasswordReset {
    const SPEC: Spec = Spec::invoke("request_password_reset", "/password/request_reset")
        .needs(Access::Anyone)
        .confidential();
    type Output = ();

    async fn act(self, system: &System) -> Result<()> {
        let Some(org_id) = system.organisation(&self.organisation).await? else { return Ok(()) };
        let scope = session::duty(system.caller()?, org_id);
        let email = self.email.trim().to_lowercase();
        system.run(&scope, NoteResetRequest { email }).await
    }
}

/// What addresses in jobs are sealed for.
const SEALED_FOR: &str = "accounts reset requests";

/// Notes that somebody asked for a link. Who it was is looked up later, so that the time of the
/// answer does not tell.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NoteResetRequest {
    email: String,
}

impl Command for NoteResetRequest {
    const SPEC: Spec = Spec::internal("note_reset_request");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        // Letters are counted as guesses are: nobody's letter box is filled.
        if tx.org_id() == NOBODY || guess::count(tx, At::Reset(&self.email)).await?.is_err() {
            return Ok(());
        }
        let org_id = tx.org_id();
        let sealed_email =
            tx.secret()?.seal(SEALED_FOR, org_id.uuid().as_bytes(), self.email.as_bytes());
        tx.enqueue(&MakeResetLink { sealed_email }).await?;
        Ok(())
    }
}

/// Makes the link that somebody asked for, if there is such a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MakeResetLink {
    sealed_email: Vec<u8>,
}

impl Job for MakeResetLink {
    const NAME: &'static str = "make_reset_link";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        let Self { sealed_email } = self;
        attempt.complete_with(TellResetRequest { sealed_email }).await?;
        Ok(Outcome::Complete)
    }
}

/// Tells of the request of a user, with the letter to them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TellResetRequest {
    sealed_email: Vec<u8>,
}

impl Command for TellResetRequest {
    const SPEC: Spec = Spec::internal("tell_reset_request");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let about = tx.org_id();
        // What was sealed under another secret, before it was replaced, cannot be answered.
        let Ok(email) = tx.secret()?.open(SEALED_FOR, about.uuid().as_bytes(), &self.sealed_email)
        else {
            return Ok(());
        };
        let email = String::from_utf8_lossy(&email).into_owned();
        let found: Option<platform::UserId> = sqlx::query_scalar(
            "select id from platform.users
             where org_id = $1 and email = $2 and deleted_at is null",
        )
        .bind(about)
        .bind(&email)
        .fetch_optional(tx.connection())
        .await?;
        let Some(user_id) = found else { return Ok(()) };
        let made = link::make(tx, user_id, &email, Purpose::PasswordReset).await?;
        let (link_id, letter) = (made.link_id, made.letter);
        tx.append(&PasswordResetRequested { user_id, link_id, letter }).await?;
        Ok(())
    }
}
