//! The REST surface: the operations of all domains over HTTP, and an OpenAPI document of them.
//!
//! Nothing here knows a domain. Routes, methods, statuses and the document are folded from the
//! catalog; errors have one form (RFC 9457) and one table of statuses.
//!
//! | Address | Answers |
//! |---|---|
//! | `/api/v1/<domain>/…` | the domain's operations |
//! | `/api/openapi.json` | what they are, as OpenAPI 3.1 |
//! | `/api/docs` | the same for people |
//! | `/problems/<code>` | what an error means and what to do |
//! | `/health` | 200 while the process lives; touches no database |
//! | `/ready` | 200 when calls can be answered, else 503 |
//! | `/metrics` | measurements, as Prometheus reads them |

mod answer;
mod auth;
mod condition;
mod docs;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod input;
mod limits;
mod metrics;
mod openapi;
mod page;
mod problem;
mod problems;
mod request;
mod route;
mod router;

pub use headers::guarded;
pub use openapi::document;
pub use problems::{Meaning, meanings};
pub use router::{nowhere, router};
