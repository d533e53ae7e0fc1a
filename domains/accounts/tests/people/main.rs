//! The stories of people: how they sign in, what keeps others from it, and how it ends.

mod authenticator;
mod passkeys;
mod second_factor;
mod sessions;
mod sign_in;
mod users;

use std::time::Duration;

use accounts::Password;
use platform::otp::Clock;
use platform::{Error, Identity, OrgId, Result, Role, Scope, Security, UserId};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, TestSystem};
use uuid::Uuid;

/// The password of every user who has one.
const PASSWORD: &str = "correct horse 7 staple";

/// A system in which the staff of both organisations have a password, with a clock by hand.
async fn start() -> (TestSystem, Clock) {
    start_securely(|_| {}).await
}

/// The same where other rules of security hold.
async fn start_securely(secure: impl FnOnce(&mut Security)) -> (TestSystem, Clock) {
    let noon = platform::Timestamp::default() + Duration::from_secs(1_790_000_000);
    let clock = Clock::manual(noon);
    let system = testkit::started_securely([accounts::domain()], clock.clone(), secure).await;
    for (org_id, role) in [(ACME, Role::Staff), (ACME, Role::Director), (GLOBEX, Role::Staff)] {
        let user_id = user(&system, org_id, role);
        accounts::give_password(system.system(), org_id, user_id, Password::new(PASSWORD))
            .await
            .expect("a user gets a password");
    }
    (system, clock)
}

fn user(system: &TestSystem, org_id: OrgId, role: Role) -> UserId {
    system.member(org_id, role).scope().user_id().expect("a member is a user")
}

/// Calls an operation as somebody who has not signed in.
async fn call(system: &TestSystem, operation: &str, input: Value) -> Result<Value> {
    let scope = Scope::anonymous(Uuid::now_v7());
    system.system().call(&scope, "accounts", operation, input).await
}

/// Calls an operation with a bearer token, as a surface does.
async fn call_as(system: &TestSystem, token: &str, operation: &str, input: Value) -> Result<Value> {
    let identity = who(system, token).await.expect("somebody has the token");
    let scope = identity.scope(Uuid::now_v7());
    system.system().call(&scope, "accounts", operation, input).await
}

async fn who(system: &TestSystem, token: &str) -> Option<Identity> {
    system.system().authenticate(token).await.expect("the database answers")
}

fn credentials(email: &str, password: &str, kind: &str) -> Value {
    json!({"organisation": "acme", "email": email, "password": password, "kind": kind})
}

/// Signs a user of Acme in whose password is right.
async fn sign_in(system: &TestSystem, kind: &str) -> Value {
    let input = credentials("staff@acme.test", PASSWORD, kind);
    call(system, "sign_in", input).await.expect("the password is right")
}

/// What a caller can tell of an error.
fn told(error: &Error) -> (platform::Kind, String, String, Option<Duration>) {
    (error.kind(), error.code().to_owned(), error.message().to_owned(), error.retry_after())
}

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}"))
}
