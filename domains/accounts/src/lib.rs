//! Accounts: organisations, their offices and users, and the credentials they show.
//!
//! The tables that every request is checked against belong to the platform (`platform.users`,
//! `platform.tokens`); this domain is the only one that may write them, for the current
//! organisation.

mod attempt;
mod authenticator;
mod cbor;
mod challenge;
mod credential;
mod enrolment;
mod flag;
mod guess;
mod link;
mod link_used;
mod me;
mod my_sessions;
mod office;
mod office_member;
mod one_time;
mod organisation;
mod passkey;
mod passkey_adding;
mod passkey_challenge;
mod passkey_options;
mod passkey_shown;
mod passkey_sign_in;
mod passkey_step_up;
mod password;
mod public_key;
mod recovery;
mod refresh;
mod second_factor;
mod service_token;
mod session;
mod set_password;
mod sign_in;
mod stale;
mod step_up;
mod ticket;
mod token;
mod totp;
mod user;
mod user_rights;

use contracts::accounts::{
    ACCOUNTS, CodeDeviceRemoved, FeatureFlagChanged, InvitationAccepted, OfficeAmended,
    OfficeClosed, OfficeJoined, OfficeLeft, OfficeOpened, OrganisationAmended, PasskeyAdded,
    PasskeyRemoved, PasskeyRenamed, PasskeySuspected, PasswordChanged, PasswordResetRequested,
    RecoveryCodeUsed, RecoveryCodesRenewed, RoleChanged, SecondFactorDisabled,
    SecondFactorEnrolled, SecondFactorShown, ServiceTokenIssued, SessionEnded, SignInFailed,
    SignInLocked, SignedIn, TokenCreated, TokenRevoked, UserAmended, UserDeactivated, UserInvited,
    UserRenamed,
};
use platform::Domain;

pub use challenge::AnswerSecondFactor;
pub use enrolment::{
    ConfirmSecondFactor, ConfirmToSignIn, DisableSecondFactor, EnrolSecondFactor, EnrolToSignIn,
    Enrolled, RenewRecoveryCodes,
};
pub use flag::{FeatureFlag, FeatureFlags, ListFeatureFlags, ResetFeatureFlag, SetFeatureFlag};
pub use link_used::{AcceptInvitation, RequestPasswordReset, ResetPassword};
pub use me::{GetMe, Me, RenameMe};
pub use my_sessions::{
    Ended, ListMySessions, RevokeMyOtherSessions, RevokeMySession, Session, Sessions, SignOut,
};
pub use office::{AmendOffice, CloseOffice, GetOffice, ListOffices, Office, OpenOffice};
pub use office_member::{JoinOffice, LeaveOffice, ListOfficeMembers, OfficeMember, OfficeMembers};
pub use organisation::{AmendOrganisation, GetOrganisation, Organisation};
pub use passkey::{ListMyPasskeys, Passkey, Passkeys, RemovePasskey, RenamePasskey};
pub use passkey_adding::{AddPasskey, AddedPasskey, BeginPasskey, MadeCredential, MadeResponse};
pub use passkey_options::{
    CreationOptions, Keeper, KeyKind, KnownPasskey, PasskeyToMake, PasskeyToShow, RequestOptions,
    Site, Wishes,
};
pub use passkey_shown::{ShownCredential, ShownResponse};
pub use passkey_sign_in::{AnswerWithPasskey, BeginPasskeySignIn, SignInWithPasskey};
pub use passkey_step_up::{BeginPasskeyStepUp, ShowPasskey};
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
pub use user::{AmendUser, GetUser, ListUsers, User, UserState};
pub use user_rights::{
    ChangeRole, DeactivateUser, InviteUser, Invited, ListSessions, MemberRole, RenewInvitation,
    RevokeSession,
};

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
    let domain = passkeys(domain);
    let domain = people(domain);
    let domain = places(domain);
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

/// Keys that a device or a key ring keeps.
fn passkeys(domain: Domain) -> Domain {
    domain
        .action::<BeginPasskey>()
        .command::<passkey_adding::BeginAdding>()
        .action::<AddPasskey>()
        .command::<passkey_adding::KeepPasskey>()
        .query::<ListMyPasskeys>()
        .command::<RenamePasskey>()
        .command::<RemovePasskey>()
        .action::<BeginPasskeySignIn>()
        .command::<passkey_sign_in::AskForPasskey>()
        .action::<SignInWithPasskey>()
        .command::<passkey_sign_in::UseChallenge>()
        .command::<passkey_sign_in::PassPasskey>()
        .action::<AnswerWithPasskey>()
        .command::<passkey_sign_in::PassPasskeyAnswer>()
        .action::<BeginPasskeyStepUp>()
        .command::<passkey_step_up::AskForOwnPasskey>()
        .action::<ShowPasskey>()
        .command::<passkey_step_up::StepUpWithPasskey>()
        .emits::<PasskeyAdded>()
        .emits::<PasskeyRenamed>()
        .emits::<PasskeyRemoved>()
        .emits::<PasskeySuspected>()
        .emits::<CodeDeviceRemoved>()
}

/// Who belongs to an organisation, and how they come in.
fn people(domain: Domain) -> Domain {
    domain
        .query::<GetUser>()
        .query::<ListUsers>()
        .command::<InviteUser>()
        .command::<RenewInvitation>()
        .command::<AmendUser>()
        .command::<ChangeRole>()
        .command::<DeactivateUser>()
        .query::<ListSessions>()
        .command::<RevokeSession>()
        .action::<AcceptInvitation>()
        .action::<ResetPassword>()
        .command::<link_used::LookAtLink>()
        .command::<link_used::UseLink>()
        .action::<RequestPasswordReset>()
        .command::<link_used::NoteResetRequest>()
        .job::<link_used::MakeResetLink>()
        .command::<link_used::TellResetRequest>()
        .emits::<UserInvited>()
        .emits::<InvitationAccepted>()
        .emits::<UserAmended>()
        .emits::<RoleChanged>()
        .emits::<UserDeactivated>()
        .emits::<PasswordResetRequested>()
}

/// The organisation and its offices.
fn places(domain: Domain) -> Domain {
    domain
        .query::<GetOrganisation>()
        .command::<AmendOrganisation>()
        .query::<GetOffice>()
        .query::<ListOffices>()
        .command::<OpenOffice>()
        .command::<AmendOffice>()
        .command::<CloseOffice>()
        .query::<ListOfficeMembers>()
        .command::<JoinOffice>()
        .command::<LeaveOffice>()
        .emits::<OrganisationAmended>()
        .emits::<OfficeOpened>()
        .emits::<OfficeAmended>()
        .emits::<OfficeClosed>()
        .emits::<OfficeJoined>()
        .emits::<OfficeLeft>()
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
