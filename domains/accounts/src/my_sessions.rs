//! My sessions: where I am signed in, and ending that.

use contracts::accounts::EndReason;
use platform::{
    Access, Command, Query, Reason, Refusal, Result, Snapshot, Spec, Timestamp, Tx, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use crate::me::user_of;
use crate::session::{self, Which};

/// One place where a user is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// The session.
    pub session_id: Uuid,
    /// What signed in: `session` is a browser, `app` an app.
    pub kind: String,
    /// What signed in, as it called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute or so.
    pub last_used_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// When a second factor was shown, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor_at: Option<Timestamp>,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

impl FromRow<'_, PgRow> for Session {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: row.try_get("id")?,
            kind: row.try_get("label")?,
            client: row.try_get("client")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            expires_at: row.try_get("expires_at")?,
            second_factor_at: row.try_get("second_factor_at")?,
            is_current: row.try_get("is_current")?,
        })
    }
}

/// Sessions, all of them: nobody has many.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Sessions {
    /// The sessions, that used last first.
    pub items: Vec<Session>,
}

/// The most sessions that a list shows.
const SHOWN_MAX: i64 = 100;

/// The sessions of a user that have not ended.
pub(crate) async fn of(
    connection: &mut PgConnection,
    user_id: UserId,
    current: Option<Uuid>,
    now: Timestamp,
) -> Result<Sessions> {
    let items = sqlx::query_as(
        "select tokens.id, tokens.label, tokens.client, tokens.created_at, tokens.expires_at,
             tokens.second_factor_at, coalesce(tokens.id = $2, false) as is_current,
             greatest(tokens.last_used_at, max(children.last_used_at)) as last_used_at
         from platform.tokens
         left join platform.tokens children on children.parent_id = tokens.id
         where tokens.user_id = $1 and tokens.kind = 'session' and tokens.revoked_at is null
             and tokens.expires_at > $3
             and tokens.last_used_at + tokens.idle_ms * interval '1 millisecond' > $3
         group by tokens.id, tokens.token_hash
         order by last_used_at desc, tokens.id
         limit $4",
    )
    .bind(user_id)
    .bind(current)
    .bind(now)
    .bind(SHOWN_MAX)
    .fetch_all(connection)
    .await?;
    Ok(Sessions { items })
}

/// List where I am signed in.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMySessions {}

impl Query for ListMySessions {
    const SPEC: Spec = Spec::read("list_my_sessions", "/me/sessions").needs(Access::Member);
    type Output = Sessions;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Sessions> {
        let (user_id, now) = (user_of(db.scope())?, db.now());
        let credential_id = db.scope().authority.credential_id;
        let current = session::behind(db.connection(), credential_id).await?;
        of(db.connection(), user_id, current, now).await
    }
}

/// What the rules of sessions say no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionRefusal {
    #[error("there is no session {0}")]
    NotFound(Uuid),
    #[error("this credential is no session; it ends by being revoked")]
    NoSession,
}

impl Refusal for SessionRefusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::not_found("session_not_found").at("/session_id"),
            Self::NoSession => Reason::conflict("no_session"),
        }
    }
}

/// End one of my sessions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeMySession {
    /// The session.
    pub session_id: Uuid,
}

impl Command for RevokeMySession {
    const SPEC: Spec =
        Spec::remove("revoke_my_session", "/me/sessions/{session_id}").needs(Access::Member);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let user_id = user_of(tx.scope())?;
        revoke(tx, user_id, self.session_id).await
    }
}

/// Ends a session of a user, or refuses if it is none of theirs or has ended.
pub(crate) async fn revoke(tx: &mut Tx<'_>, user_id: UserId, session_id: Uuid) -> Result<()> {
    let which = Which::Only(session_id);
    match session::end(tx, user_id, which, EndReason::Revoked).await? {
        0 => Err(SessionRefusal::NotFound(session_id).into()),
        _ => Ok(()),
    }
}

/// How many sessions were ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// How many.
    pub count: usize,
}

/// End all of my sessions but the one that asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeMyOtherSessions {}

impl Command for RevokeMyOtherSessions {
    const SPEC: Spec = Spec::invoke("revoke_my_other_sessions", "/me/sessions/revoke_others")
        .needs(Access::Member);
    type Output = Ended;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Ended> {
        let user_id = user_of(tx.scope())?;
        let credential_id = tx.scope().authority.credential_id;
        let current = session::behind(tx.connection(), credential_id).await?;
        let which = Which::AllBut(current);
        Ok(Ended { count: session::end(tx, user_id, which, EndReason::Revoked).await? })
    }
}

/// Sign out: end the session that asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignOut {}

impl Command for SignOut {
    const SPEC: Spec = Spec::invoke("sign_out", "/sign_out").needs(Access::Member);
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let user_id = user_of(tx.scope())?;
        let credential_id = tx.scope().authority.credential_id;
        let current = session::behind(tx.connection(), credential_id).await?;
        let session_id = current.ok_or(SessionRefusal::NoSession)?;
        session::end(tx, user_id, Which::Only(session_id), EndReason::SignedOut).await?;
        Ok(())
    }
}
