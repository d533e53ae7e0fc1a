//! The command line: one more fold over the catalog, and the operator's window from a terminal.
//!
//! `finnest call <domain> <operation>` has a subcommand for every operation and a flag for every
//! field of its input; the help is the doc comments of the domains. What runs on this machine
//! (`serve`, `migrate`, `verify --local`, `events export` and its kin) is parsed here and
//! done by the server crate; everything else asks a running platform over HTTP, so a command line
//! has no rights that REST has not.
//!
//! The server's `main` needs four names: [`parse`] makes a [`Request`] of the arguments, [`run`]
//! does a [`Remote`] one, [`write_completions`] and [`tell_verdict`] print what they say.
//!
//! | Exit code | Meaning |
//! |---|---|
//! | 0 | Done. For `verify`: the chain holds. |
//! | 1 | Not done: the platform is down or failed. For `verify`: the chain is broken. |
//! | 2 | Not done and never will be like this: wrong usage, or the platform refused. |
//!
//! **Invariant:** no domain is known here by name, apart from the platform's own, `operator`.

mod audit;
mod client;
mod command;
mod exit;
mod field;
mod jobs;
mod options;
mod print;
mod request;
mod route;
mod run;
mod screen;
mod tail;
mod transfer;
mod tree;
mod verdict;
mod verification;
mod watch;
mod words;

#[cfg(test)]
mod example;
#[cfg(test)]
mod stub;

pub use clap_complete::Shell;

pub use audit::{CheckpointOptions, ProofOptions, VerifyOptions};
pub use command::{command, write_completions};
pub use exit::Exit;
pub use options::{
    BusKind, CellOptions, DatabaseOptions, Format, LogFormat, Network, ProfileKind, Secret,
    ServeOptions, Server, Style,
};
pub use request::{Remote, Request, Task, parse};
pub use run::run;
pub use screen::Screen;
pub use transfer::{MonthOrFile, Transfer, TransferTask};
pub use verdict::{Pace, tell_verdict};
