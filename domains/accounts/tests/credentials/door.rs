//! A system with the accounts domain alone, as somebody with a credential meets it.

use std::time::Duration;

use chrono::SubsecRound as _;
use platform::otp::Clock;
use platform::{
    Digest, Domain, Error, Identity, Profile, Result, Role, System, Timestamp, new_secret,
};
use serde_json::Value;
use sqlx::PgConnection;
use testkit::{ACME, TestSystem};
use uuid::Uuid;

/// The system, and the clock that a test moves by hand.
pub(crate) struct Door {
    pub(crate) test: TestSystem,
    pub(crate) clock: Clock,
}

/// A session, as signing in leaves it.
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) token: String,
    pub(crate) expires_at: Timestamp,
}

/// What a row of a credential says that differs between kinds.
struct Made<'a> {
    kind: &'a str,
    scopes: Option<Vec<&'a str>>,
    parent_id: Option<Uuid>,
    lasts: Duration,
}

impl Door {
    pub(crate) async fn open() -> Self {
        Self::open_with([]).await
    }

    /// With other domains besides.
    pub(crate) async fn open_with(others: impl IntoIterator<Item = Domain>) -> Self {
        Self::start(Profile::Commercial, others.into_iter().collect()).await
    }

    /// Where other rules of security hold.
    pub(crate) async fn open_under(profile: Profile) -> Self {
        Self::start(profile, Vec::new()).await
    }

    async fn start(profile: Profile, others: Vec<Domain>) -> Self {
        let clock = Clock::manual(Clock::system().now().trunc_subsecs(6));
        let domains = others.into_iter().chain([accounts::domain()]);
        let test = testkit::start_under(profile, domains, clock.clone()).await;
        Self { test, clock }
    }

    pub(crate) async fn close(self) {
        self.test.stop().await;
    }

    pub(crate) fn system(&self) -> &System {
        self.test.system()
    }

    /// A session of the member of Acme with this role.
    pub(crate) async fn session(&self, role: Role, scopes: Option<Vec<&str>>) -> Session {
        let lasts = Duration::from_hours(12);
        self.make(role, Made { kind: "session", scopes, parent_id: None, lasts }).await
    }

    /// The access token of an app, made from a session.
    pub(crate) async fn access_token_of(&self, session: &Session) -> String {
        let (parent_id, lasts) = (Some(session.id), Duration::from_mins(15));
        let role = self.identity(&session.token).await.role;
        self.make(role, Made { kind: "access", scopes: None, parent_id, lasts }).await.token
    }

    async fn make(&self, role: Role, made: Made<'_>) -> Session {
        let (id, token) = (Uuid::now_v7(), new_secret(made.kind));
        let expires_at = self.clock.now() + made.lasts;
        let user_id = self.test.member(ACME, role).scope().user_id();
        sqlx::query(
            "insert into platform.tokens (id, token_hash, user_id, org_id, label, created_at,
                 kind, scopes, parent_id, expires_at)
             values ($1, $2, $3, $4, 'made by a test', $5, $6, $7, $8, $9)",
        )
        .bind(id)
        .bind(Digest::of(token.as_bytes()).as_bytes().as_slice())
        .bind(user_id.expect("a member is a user").uuid())
        .bind(ACME.uuid())
        .bind(self.clock.now())
        .bind(made.kind)
        .bind(made.scopes)
        .bind(made.parent_id)
        .bind(expires_at)
        .execute(&mut self.owner().await)
        .await
        .expect("a credential can be made");
        Session { id, token, expires_at }
    }

    /// Ends a credential as the accounts domain does, behind its back.
    pub(crate) async fn revoke(&self, id: Uuid) {
        sqlx::query("update platform.tokens set revoked_at = $2 where id = $1")
            .bind(id)
            .bind(self.clock.now())
            .execute(&mut self.owner().await)
            .await
            .expect("a credential can be revoked");
        self.system().forget_credentials();
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        self.test.owner().await
    }

    /// Who shows a token.
    pub(crate) async fn identity(&self, token: &str) -> Identity {
        let known = self.system().authenticate(token).await.expect("the database answers");
        known.expect("the token is good")
    }

    /// Who shows a ticket.
    pub(crate) async fn redeem(&self, ticket: &str) -> Option<Identity> {
        self.system().redeem_ticket(ticket).await.expect("the database answers")
    }

    /// Calls an operation of the domain with a token.
    pub(crate) async fn call(&self, token: &str, operation: &str, input: Value) -> Result<Value> {
        let identity = self.identity(token).await;
        self.call_as(&identity, operation, input).await
    }

    /// Calls an operation of the domain that must be refused, and answers the refusal.
    pub(crate) async fn refuse(&self, token: &str, operation: &str, input: Value) -> Error {
        match self.call(token, operation, input).await {
            Ok(answer) => panic!("{operation} was not refused but answered {answer}"),
            Err(error) => error,
        }
    }

    /// How often something was told.
    pub(crate) async fn told(&self, event_type: &str) -> i64 {
        sqlx::query_scalar("select count(*) from events.domain_events where event_type = $1")
            .bind(event_type)
            .fetch_one(&mut self.owner().await)
            .await
            .expect("the log can be read")
    }

    /// Calls an operation of the domain as somebody who is known already.
    pub(crate) async fn call_as(
        &self,
        who: &Identity,
        operation: &str,
        input: Value,
    ) -> Result<Value> {
        let scope = who.scope(Uuid::now_v7());
        self.system().call(&scope, "accounts", operation, input).await
    }
}
