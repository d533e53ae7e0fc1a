//! The server side of the Phoenix LiveView wire protocol, for pages that stay alive.
//!
//! A page is rendered once as HTML, then the unmodified npm `phoenix_live_view` client connects
//! to [`Endpoint::upgrade`] and receives only what changes. The protocol is internal to LiveView,
//! so client and server are one unit: [`CLIENT_VERSION`] is pinned exactly in the console's
//! assets, and a browser test guards the pair.
//!
//! - [`Rendered`]: a page as fixed text with changing holes; components are its unit of change.
//! - [`Differ`]: pure; what the client must hear to get from one rendering to the next.
//! - [`Claims`]: the signed session that binds a page to a viewer.
//! - [`View`]: one page for one viewer: renders, handles events, waits for changes.
//! - [`Endpoint`]: the WebSocket transport; one task, one view and at most
//!   [`FRAMES_PER_SECOND_MAX`] frames a second per viewer.
//!
//! **Invariant:** this crate knows nothing of what the pages show.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod channel;
mod diff;
mod frame;
mod rendered;
mod session;
mod socket;
mod view;

pub use channel::{Channel, MountView, Mounting};
pub use diff::Differ;
pub use frame::{Frame, FrameError};
pub use rendered::{Keyed, Mark, Rendered, Slots};
pub use session::{Claims, SessionError, Signer};
pub use socket::{Endpoint, is_same_origin};
pub use view::{Effect, Event, Join, Refused, View};

/// The version of the npm `phoenix_live_view` client that this server speaks with.
pub const CLIENT_VERSION: &str = "1.2.12";

/// How often a viewer's page may change by itself, in frames a second.
pub const FRAMES_PER_SECOND_MAX: u32 = 10;
