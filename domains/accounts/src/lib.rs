//! Accounts: organisations, their offices and users, and the credentials they show.
//!
//! The tables that every request is checked against belong to the platform (`platform.users`,
//! `platform.tokens`); this domain is the only one that may write them, for the current
//! organisation.

mod attempt;
mod challenge;
mod credential;
mod enrolment;
mod flag;
mod guess;
mod me;
mod my_sessions;
mod one_time;
mod password;
mod recovery;
mod refresh;
mod second_factor;
mod service_token;
mod session;
mod set_password;
mod sign_in;
mod step_up;
mod ticket;
mod token;
mod totp;

use contracts::accounts::{
    ACCOUNTS, FeatureFlagChanged, PasswordChanged, RecoveryCodeUsed, RecoveryCodesRenewed,
    SecondFactorDisabled, SecondFactorEnrolled, SecondFactorShown, ServiceTokenIssued,
    SessionEnded, SignInFailed, SignInLocked, SignedIn, TokenCreated, TokenRevoked, UserRenamed,
};
use platform::Domain;

pub use challenge::AnswerSecondFactor;
pub use enrolment::{
    ConfirmSecondFactor, ConfirmToSignIn, DisableSecondFactor, EnrolSecondFactor, EnrolToSignIn,
    Enrolled, RenewRecoveryCodes,
};
pub use flag::{FeatureFlag, FeatureFlags, ListFeatureFlags, ResetFeatureFlag, SetFeatureFlag};
pub use me::{GetMe, Me, RenameMe};
pub use my_sessions::{
    Ended, ListMySessions, RevokeMyOtherSessions, RevokeMySession, Session, Sessions, SignOut,
};
pub use password::Password;
pub use refresh::Refresh;
pub use second_factor::{Enrolment, RecoveryCodes};
pub use service_token::{IssueServiceToken, IssuedServiceToken};
pub use session::SessionKind;
pub use set_password::{SetPassword, give_password};
pub use sign_in::{SignIn, SignInAnswer, SignInState};
pub use step_up::{ShowSecondFactor, SteppedUp};
pub use ticket::{CreateTicket, CreatedTicket};
pub use token::{CreateToken, CreatedToken, ListTokens, RevokeToken, TokenView};

/// The domain, declared.
#[must_use]
pub fn domain() -> Domain {
    let domain = Domain::new(ACCOUNTS)
        .about("Organisations, their offices and users, and the credentials they show.")
        .query::<GetMe>()
        .command::<RenameMe>()
        .emits::<UserRenamed>();
    let domain = signing_in(domain);
    let domain = second_factors(domain);
    credentials(domain)
}

/// Passwords and sessions.
fn signing_in(domain: Domain) -> Domain {
    domain
        .action::<SignIn>()
        .command::<attempt::TryPassword>()
        .command::<attempt::TryOwnPassword>()
        .command::<attempt::TakeGuessBack>()
        .command::<attempt::TellWrongGuess>()
        .command::<sign_in::PassPassword>()
        .action::<Refresh>()
        .command::<refresh::UseRefreshToken>()
        .command::<SignOut>()
        .query::<ListMySessions>()
        .command::<RevokeMySession>()
        .command::<RevokeMyOtherSessions>()
        .action::<SetPassword>()
        .command::<set_password::KeepPassword>()
        .command::<set_password::AskForPassword>()
        .emits::<SignedIn>()
        .emits::<SignInFailed>()
        .emits::<SignInLocked>()
        .emits::<SessionEnded>()
        .emits::<PasswordChanged>()
}

/// Devices, codes and challenges.
fn second_factors(domain: Domain) -> Domain {
    domain
        .action::<AnswerSecondFactor>()
        .command::<challenge::PassCode>()
        .action::<EnrolSecondFactor>()
        .command::<enrolment::BeginEnrolment>()
        .action::<ConfirmSecondFactor>()
        .command::<enrolment::ConfirmEnrolment>()
        .action::<DisableSecondFactor>()
        .action::<RenewRecoveryCodes>()
        .command::<enrolment::ChangeSecondFactor>()
        .action::<EnrolToSignIn>()
        .command::<enrolment::BeginEnrolmentToSignIn>()
        .action::<ConfirmToSignIn>()
        .command::<enrolment::ConfirmEnrolmentToSignIn>()
        .emits::<SecondFactorEnrolled>()
        .emits::<SecondFactorDisabled>()
        .emits::<RecoveryCodeUsed>()
        .emits::<RecoveryCodesRenewed>()
}

/// What programs and apps show instead of signing in.
fn credentials(domain: Domain) -> Domain {
    domain
        .keeps_credentials()
        .command::<CreateTicket>()
        .action::<ShowSecondFactor>()
        .command::<step_up::StepUp>()
        .emits::<SecondFactorShown>()
        .command::<CreateToken>()
        .query::<ListTokens>()
        .command::<RevokeToken>()
        .emits::<TokenCreated>()
        .emits::<TokenRevoked>()
        .command::<IssueServiceToken>()
        .emits::<ServiceTokenIssued>()
        .query::<ListFeatureFlags>()
        .command::<SetFeatureFlag>()
        .command::<ResetFeatureFlag>()
        .emits::<FeatureFlagChanged>()
}
