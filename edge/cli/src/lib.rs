//! The command line: one more fold over the catalog, and the operator's window from a terminal.
//!
//! `finnest <domain> <operation>`, or `finnest call <domain> <operation>`, has a subcommand for
//! every operation and a flag for every field of its input; the help is the doc comments of the
//! domains. What runs on this machine
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
//! | 1 | The platform is down or failed. For `verify`: the chain is broken. |
//! | 2 | Wrong usage, or an input that breaks a rule. |
//! | 3 | Nobody is known by the token. |
//! | 4 | The token may not do it. |
//! | 5 | There is no such thing. |
//! | 6 | The state of things does not allow it. |
//! | 7 | It has changed since it was read. |
//! | 8 | Asked too often. |
//! | 9 | The part of the platform asked for is unavailable. |
//!
//! Whoever signs in has their session kept in the config file (`sign_in.rs`), and renewed by
//! whatever command needs it (`session.rs`).
//!
//! **Invariant:** no domain is known here by name, apart from the platform's own, `operator`, and
//! what signing in asks of `accounts`.

mod audit;
mod client;
mod command;
mod config;
mod exit;
mod field;
mod jobs;
mod operations;
mod options;
mod print;
mod prompt;
mod request;
mod route;
mod run;
mod screen;
mod session;
mod sign_in;
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
