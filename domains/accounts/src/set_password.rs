//! Setting a password: one's own, and those of users who are set up with one.

use contracts::accounts::{EndReason, PasswordChanged};
use platform::{Access, Action, Command, OrgId, Result, Scope, Spec, System, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt;
use crate::guess::Guess;
use crate::me::must_exist;
use crate::password::Password;
use crate::session::{self, Which};

/// Change my password.
///
/// All other sessions of mine end with the old one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The password so far.
    pub password: Password,
    /// The new one: 12 to 128 characters, neither my name nor my address, and none of those that
    /// everybody tries first.
    pub new_password: Password,
}

impl Action for SetPassword {
    const SPEC: Spec =
        Spec::invoke("set_password", "/me/password").needs(Access::Member).confidential();
    type Output = ();

    async fn act(self, system: &System) -> Result<()> {
        let Self { password, new_password } = self;
        let (known, guess) = attempt::must_be_own(system, password).await?;
        new_password.check(&known.email, &known.name)?;
        let hash = system.compute(move || new_password.hash()).await.flatten()?;
        let scope = system.caller()?;
        system.run(scope, KeepPassword { user_id: known.user_id, hash, guess: Some(guess) }).await
    }
}

/// Keeps the hash of a user's new password, and ends their other sessions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeepPassword {
    pub(crate) user_id: UserId,
    pub(crate) hash: String,
    pub(crate) guess: Option<Guess>,
}

impl Command for KeepPassword {
    const SPEC: Spec = Spec::internal("keep_password");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { user_id, hash, guess } = self;
        must_exist(tx, user_id).await?;
        if let Some(guess) = guess {
            guess.was_right(tx).await?;
        }
        keep(tx, user_id, &hash).await?;
        let credential_id = tx.scope().authority.credential_id;
        let kept = session::behind(tx.connection(), credential_id).await?;
        session::end(tx, user_id, Which::AllBut(kept), EndReason::PasswordChanged).await?;
        Ok(())
    }
}

/// Stores the hash of a user's password and tells that it is another.
pub(crate) async fn keep(tx: &mut Tx<'_>, user_id: UserId, hash: &str) -> Result<()> {
    let (org_id, now) = (tx.org_id(), tx.now());
    sqlx::query(
        "insert into accounts.passwords (user_id, org_id, hash, changed_at)
         values ($1, $2, $3, $4)
         on conflict (user_id) do update set hash = $3, changed_at = $4",
    )
    .bind(user_id)
    .bind(org_id)
    .bind(hash)
    .bind(now)
    .execute(tx.connection())
    .await?;
    tx.append(&PasswordChanged { user_id }).await?;
    Ok(())
}

/// Gives a user of an organisation a password, unless they have one; for whoever sets a platform
/// up. What makes a good password is theirs to know.
///
/// # Errors
/// Whatever the platform answers.
pub async fn give_password(
    system: &System,
    org_id: OrgId,
    user_id: UserId,
    password: Password,
) -> Result<()> {
    let scope = Scope::system(org_id, "setup", uuid::Uuid::now_v7());
    if system.run(&scope, AskForPassword { user_id }).await? {
        return Ok(());
    }
    let hash = system.compute(move || password.hash()).await.flatten()?;
    system.run(&scope, KeepPassword { user_id, hash, guess: None }).await
}

/// Whether a user has a password.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AskForPassword {
    user_id: UserId,
}

impl Command for AskForPassword {
    const SPEC: Spec = Spec::internal("ask_for_password");
    type Output = bool;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<bool> {
        must_exist(tx, self.user_id).await?;
        let sql = "select exists (select 1 from accounts.passwords where user_id = $1)";
        Ok(sqlx::query_scalar(sql).bind(self.user_id).fetch_one(tx.connection()).await?)
    }
}
