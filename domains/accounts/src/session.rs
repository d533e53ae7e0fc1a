//! Sessions: what signing in begins. A browser's is one credential; an app's is a family of short
//! access tokens, renewed by refresh tokens that are good once.
//!
//! Both end by themselves, after a time without use and after a time at all. Ending one ends what
//! was made from it.

use std::time::Duration;

use contracts::accounts::{EndReason, SessionEnded};
use platform::{CredentialKind, Digest, OrgId, Profile, Result, Timestamp, Tx, UserId, new_secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::one_time;

/// What signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SessionKind {
    /// A browser: one token, which ends after a time without use.
    Session,
    /// An app: an access token of ten minutes, and a refresh token for the next.
    App,
}

/// How long an access token of an app is good.
pub(crate) const ACCESS_FOR: Duration = Duration::from_mins(10);

impl SessionKind {
    /// The name used in storage and on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::App => "app",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Session, Self::App].into_iter().find(|kind| kind.name() == name)
    }

    /// How long it lasts without use. People do not open an app every hour.
    pub(crate) const fn idle(self, profile: Profile) -> Duration {
        match (self, profile) {
            (Self::App, Profile::Commercial) => Duration::from_hours(14 * 24),
            _ => profile.session_idle(),
        }
    }

    /// How long it lasts at most.
    pub(crate) const fn absolute(self, profile: Profile) -> Duration {
        match (self, profile) {
            (Self::App, Profile::Commercial) => Duration::from_hours(60 * 24),
            _ => profile.session_absolute(),
        }
    }
}

/// What a session hands out, once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Handed {
    pub(crate) session_id: Uuid,
    pub(crate) token: String,
    pub(crate) refresh_token: Option<String>,
    /// When the token ends, if it is used until then.
    pub(crate) expires_at: Timestamp,
}

/// A session about to begin.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) user_id: UserId,
    pub(crate) kind: SessionKind,
    pub(crate) client: Option<String>,
    pub(crate) second_factor_at: Option<Timestamp>,
}

/// Begins a session.
pub(crate) async fn begin(tx: &mut Tx<'_>, session: Begin) -> Result<Handed> {
    let (now, profile) = (tx.now(), tx.profile()?);
    let Begin { user_id, kind, client, second_factor_at } = session;
    let expires_at = now + kind.absolute(profile);
    // That of an app is a family that nobody can show; its secret is thrown away.
    let token = new_secret("ses");
    let session_id = Uuid::now_v7();
    let row = Row {
        id: session_id,
        user_id,
        kind: CredentialKind::Session,
        label: kind.name(),
        digest: Digest::of(token.as_bytes()),
        expires_at,
        idle: Some(kind.idle(profile)),
        second_factor_at,
        parent_id: None,
        client: client.as_deref(),
    };
    insert(tx, row).await?;
    sqlx::query("update platform.users set last_login_at = $2 where id = $1")
        .bind(user_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    match kind {
        SessionKind::Session => Ok(Handed { session_id, token, refresh_token: None, expires_at }),
        SessionKind::App => {
            hand_to_app(tx, Family { session_id, user_id, ends_at: expires_at }, None).await
        }
    }
}

/// The session of an app, as its tokens need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    pub(crate) session_id: Uuid,
    pub(crate) user_id: UserId,
    /// When it ends at the latest.
    pub(crate) ends_at: Timestamp,
}

/// Makes the next pair of tokens of an app, for the refresh token that was shown, if one was.
pub(crate) async fn hand_to_app(
    tx: &mut Tx<'_>,
    family: Family,
    made_from: Option<Uuid>,
) -> Result<Handed> {
    let Family { session_id, user_id, ends_at } = family;
    let (now, org_id, profile) = (tx.now(), tx.org_id(), tx.profile()?);
    let access_id = Uuid::now_v7();
    let token = new_secret("acc");
    let expires_at = (now + ACCESS_FOR).min(ends_at);
    let row = Row {
        id: access_id,
        user_id,
        kind: CredentialKind::Access,
        label: "access",
        digest: Digest::of(token.as_bytes()),
        expires_at,
        idle: None,
        second_factor_at: None,
        parent_id: Some(session_id),
        client: None,
    };
    insert(tx, row).await?;
    let (refresh_token, digest) = one_time::new("ref", org_id);
    sqlx::query(
        "insert into accounts.refresh_tokens
             (refresh_token_id, org_id, session_id, user_id, digest, created_at, expires_at,
              made_from, access_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Uuid::now_v7())
    .bind(org_id)
    .bind(session_id)
    .bind(user_id)
    .bind(digest)
    .bind(now)
    .bind((now + SessionKind::App.idle(profile)).min(ends_at))
    .bind(made_from)
    .bind(access_id)
    .execute(tx.connection())
    .await?;
    Ok(Handed { session_id, token, refresh_token: Some(refresh_token), expires_at })
}

/// A row of the credentials.
struct Row<'a> {
    id: Uuid,
    user_id: UserId,
    kind: CredentialKind,
    label: &'a str,
    digest: Digest,
    expires_at: Timestamp,
    idle: Option<Duration>,
    second_factor_at: Option<Timestamp>,
    parent_id: Option<Uuid>,
    client: Option<&'a str>,
}

async fn insert(tx: &mut Tx<'_>, row: Row<'_>) -> Result<()> {
    let (org_id, now) = (tx.org_id(), tx.now());
    // An access token has not been used before somebody shows it: a refresh may be repeated until
    // then.
    let last_used_at = (row.kind != CredentialKind::Access).then_some(now);
    let idle_ms = row.idle.map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX));
    sqlx::query(
        "insert into platform.tokens (id, org_id, user_id, kind, label, token_hash, created_at,
             expires_at, idle_ms, second_factor_at, parent_id, client, last_used_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(row.id)
    .bind(org_id)
    .bind(row.user_id)
    .bind(row.kind.name())
    .bind(row.label)
    .bind(row.digest.as_bytes().as_slice())
    .bind(now)
    .bind(row.expires_at)
    .bind(idle_ms)
    .bind(row.second_factor_at)
    .bind(row.parent_id)
    .bind(row.client)
    .bind(last_used_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Which sessions of a user are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// This one.
    Only(Uuid),
    /// All but this one.
    AllBut(Option<Uuid>),
}

/// Ends sessions of a user, with all that was made from them, and answers how many there were.
pub(crate) async fn end(
    tx: &mut Tx<'_>,
    user_id: UserId,
    which: Which,
    because: EndReason,
) -> Result<usize> {
    let now = tx.now();
    let (only, but) = match which {
        Which::Only(session_id) => (Some(session_id), None),
        Which::AllBut(kept) => (None, kept),
    };
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "update platform.tokens set revoked_at = $2
         where user_id = $1 and kind = 'session' and revoked_at is null
             and ($3::uuid is null or id = $3) and ($4::uuid is null or id <> $4)
         returning id",
    )
    .bind(user_id)
    .bind(now)
    .bind(only)
    .bind(but)
    .fetch_all(tx.connection())
    .await?;
    if ended.is_empty() {
        return Ok(0);
    }
    sqlx::query(
        "update platform.tokens set revoked_at = $2
         where parent_id = any($1) and revoked_at is null",
    )
    .bind(&ended)
    .bind(now)
    .execute(tx.connection())
    .await?;
    let events: Vec<SessionEnded> = ended
        .iter()
        .map(|session_id| SessionEnded { session_id: *session_id, user_id, because })
        .collect();
    tx.append_all(&events).await?;
    Ok(ended.len())
}

/// The session behind a credential: itself, or what it was made from.
pub(crate) async fn behind(
    connection: &mut PgConnection,
    credential_id: Option<Uuid>,
) -> Result<Option<Uuid>> {
    let Some(credential_id) = credential_id else { return Ok(None) };
    let found: Option<Uuid> = sqlx::query_scalar(
        "select coalesce(parent_id, id) from platform.tokens
         where id = $1 and kind in ('session', 'access')",
    )
    .bind(credential_id)
    .fetch_optional(connection)
    .await?;
    Ok(found)
}

/// The scope in which those who have not signed in are served, in the organisation they name.
pub(crate) fn duty(caller: &platform::Scope, org_id: OrgId) -> platform::Scope {
    platform::Scope::system(org_id, contracts::accounts::ACCOUNTS.as_str(), caller.correlation_id)
        .traced(caller.traceparent)
}
