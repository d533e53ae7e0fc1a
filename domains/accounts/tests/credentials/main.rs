//! The stories of credentials: what programs and apps show, and how it ends.

mod door;
mod flags;
mod service_tokens;
mod step_up;
mod tickets;
mod tokens;
