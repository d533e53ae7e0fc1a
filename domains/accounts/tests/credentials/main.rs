//! The stories of credentials: what programs and apps show, and how it ends.

mod door;
mod tickets;
mod tokens;
