//! The operator console: pages rendered by the server and kept alive over the LiveView protocol.
//!
//! [`router`] is all there is from outside. Inside, three layers:
//!
//! - pure: `process` (what is shown), `layout` (where it stands), `incident` (what
//!   happened), `drawing`, `timeline` and `detail` (how it looks);
//! - pages: `tree_page`, `events_page`, `queues_page` and what domains declare, in `pages`;
//! - glue: `watching` (the platform as a page sees it), `request`, `sign_in`, `assets`, `router`.
//!
//! Every page is complete without JavaScript; its script adds life and the keyboard.
//!
//! **Invariant:** nothing is done to the platform but through its operations, as the viewer.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account_drawing;
mod account_page;
mod assets;
mod detail;
mod drawing;
mod events_page;
mod incident;
mod jobs_drawing;
mod jobs_page;
mod layout;
mod letters;
mod pages;
mod passkey_drawing;
mod process;
mod qr;
mod queues_page;
mod request;
mod router;
mod shell;
mod sign_in;
mod signing;
mod timeline;
mod tree_page;
mod viewer;
mod watching;
mod words;

pub use router::router;
