//! The platform: what a domain author imports, and what runs the domains.
//!
//! A domain is a value ([`Domain`]); its operations are types ([`Command`], [`Query`], [`Action`]);
//! the [`Catalog`] holds them free of contradictions; the [`System`] runs them.
//!
//! **Invariant:** nothing here knows a domain or a surface by name, apart from the platform's own
//! domain, [`operator`].

mod access;
mod bytes;
mod catalog;
pub mod cell;
mod config;
mod cursor;
mod dispatch;
mod domain;
mod feed;
mod flags;
mod form;
#[doc(hidden)]
pub mod fuzzing;
mod heavy;
mod home;
mod idempotency;
mod identity;
mod inline;
mod job;
pub mod json;
mod limits;
mod listing;
mod migrate;
mod operation;
pub mod operator;
mod organisation;
mod page;
mod places;
pub mod postgres;
mod profile;
mod progress;
mod projection;
mod prompt;
mod public_url;
mod reaction;
mod recurring;
mod refusal;
mod reload;
mod relying_party;
mod remembered;
mod roles;
mod schema;
mod scopes;
mod secret;
mod subtree;
mod system;
mod telemetry;
mod text;
mod tree;
mod tuned;
mod tx;
mod version;

pub use bus;
pub use jobs;
pub use kernel;
pub use otp;
pub use store;

pub use access::{SECOND_FACTOR_COUNTS_FOR, allows};
pub use bytes::Bytes;
pub use catalog::{Catalog, Violations};
pub use config::{Config, Database, MakeEdge, MakeRelay, Relay, Relayed, Security, Wakes};
pub use dispatch::Answer;
pub use domain::{Domain, EventDeclaration, Unpublished};
pub use feed::live_event;
pub use flags::{FlagDeclaration, Flags, UnknownFlag};
pub use identity::{Credential, CredentialKind, Enrolment, Identity, Surface, new_secret};
pub use identity::{SERVICE_TOKEN_LASTS_MAX, ServiceToken};
pub use job::{Attempt, Enqueued, Job, NewJob, Outcome, UnfitArguments};
pub use jobs::Missed;
pub use jobs::{After, Batch, BatchEvent, Chain, Downstream, Replace, Unique, Workflow};
pub use kernel::{
    Authority, Digest, DomainName, Event, EventId, EventType, Id, JobId, OrgId, Period, Position,
    Principal, Recorded, Role, Scope, SecondFactor, Timestamp, Topic, TraceParent, UnknownVersion,
    UserId, canonical_bytes,
};
pub use limits::{Budget, Caller, Peer};
pub use listing::{BadCursor, Cursor, Limit, Listing};
pub use migrate::{MigrateError, checksum as migrations_checksum, migrate};
pub use operation::{
    Access, Action, Category, Command, Deprecation, Input, Operation, OperationKind, Output, Query,
    Spec, Verb,
};
pub use page::{Page, Panel};
pub use profile::Profile;
pub use progress::Progress;
pub use projection::{Fold, Folding, Project, Projecting, Projection, Renewal, Rows, projection};
pub use prompt::{Content, Message, Prompt, PromptDeclaration};
pub use public_url::{BadUrl, PublicUrl};
pub use recurring::Every;
pub use refusal::{Error, FieldError, Kind, Reason, Refusal, Result};
pub use reload::{NotReloaded, Reloaded, TuningChange};
pub use relying_party::{BadOrigin, RelyingParty};
pub use roles::roles_sql;
pub use scopes::{ScopeRefusal, check_scopes};
pub use secret::{MasterSecret, NotSealedHere};
pub use store::Appended;
pub use system::{System, known};
pub use telemetry::Telemetry;
pub use text::{BadText, trimmed};
pub use tx::{Snapshot, Tx};
pub use version::{VersionChanged, must_be_version};
