//! Demo data: one organisation with users and candidates, so that a newcomer can act at once.
//!
//! The tokens are well known, and each is its user's password too. So they exist only when asked
//! for, and only behind loopback addresses.

use accounts::Password;
use platform::otp::{ChildSpec, ExitReason, Process, Restart, RunContext, StartError};
use platform::{Enrolment, OrgId, Role, Scope, System, UserId};
use uuid::Uuid;

/// The demo organisation.
pub const ORG_ID: OrgId =
    OrgId::from_uuid(Uuid::from_u128(0x0199_a000_0000_7000_8000_0000_0000_0001));

/// The demo's users: name, role and token, which is their password too. Their ids follow the
/// organisation's.
pub const USERS: [(&str, Role, &str); 4] = [
    ("Olive Operator", Role::Operator, "demo-operator"),
    ("Rosa Recruiter", Role::Staff, "demo-recruiter"),
    ("Dan Director", Role::Director, "demo-director"),
    ("Wen Worker", Role::Worker, "demo-worker"),
];

/// The address that a user of the demo signs in with.
#[must_use]
pub fn email(name: &str) -> String {
    let first_name = name.split(' ').next().unwrap_or(name);
    format!("{}@acme.example", first_name.to_lowercase())
}

/// Makes the demo data while the tree starts, and is gone when they are there.
#[must_use]
pub fn child(system: &System) -> ChildSpec {
    let system = system.clone();
    ChildSpec::process("demo_data", move || Seeding { system: system.clone() })
        .restart(Restart::Temporary)
}

struct Seeding {
    system: System,
}

impl Process for Seeding {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        seed(&self.system)
            .await
            .map_err(|error| StartError::Failed(format!("the demo data cannot be made: {error}")))
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

/// Makes the demo organisation, its users and its candidates, unless they exist.
///
/// # Errors
/// Whatever the platform answers; making it again later goes on where this stopped.
pub async fn seed(system: &System) -> platform::Result<()> {
    for (place, (name, role, token)) in (1_u128..).zip(USERS) {
        let email = email(name);
        let user_id = UserId::from_uuid(Uuid::from_u128(ORG_ID.uuid().as_u128() + place * 0x100));
        let enrolment = Enrolment {
            org_id: ORG_ID,
            org_name: "Acme Labour Hire".to_owned(),
            org_slug: "acme".to_owned(),
            user_id,
            name: name.to_owned(),
            email,
            role,
            token: token.to_owned(),
        };
        system.enrol(&enrolment).await?;
        // Those who may be guessed by anybody are served to this machine only.
        accounts::give_password(system, ORG_ID, user_id, Password::new(token)).await?;
    }
    let scope = Scope::system(ORG_ID, "demo", Uuid::now_v7());
    let candidates = system.ask(&scope, recruit::ListCandidates::default()).await?;
    if candidates.items.is_empty() {
        for candidate in recruit::demo() {
            system.run(&scope, candidate).await?;
        }
    }
    Ok(())
}
