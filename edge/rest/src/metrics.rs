//! Measurements of the HTTP surface, in the registry of the system.
//!
//! | Metric | Labels | Unit |
//! |---|---|---|
//! | `finnest_http_requests_total` | `method`, `route` (a template), `status` | requests |
//! | `finnest_http_request_duration_seconds` | `method`, `route` | seconds |

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counts and times of requests. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl HttpMetrics {
    /// Registers them. A second router over the same system counts for itself only.
    pub(crate) fn new(registry: &Registry) -> Self {
        let requests = IntCounterVec::new(
            Opts::new("finnest_http_requests_total", "HTTP requests answered."),
            &["method", "route", "status"],
        )
        .expect("the name and the labels are valid");
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "finnest_http_request_duration_seconds",
                "Time from a request's headers to its answer.",
            )
            .buckets(BUCKETS.to_vec()),
            &["method", "route"],
        )
        .expect("the name and the labels are valid");
        for registered in [
            registry.register(Box::new(requests.clone())),
            registry.register(Box::new(duration.clone())),
        ] {
            if let Err(error) = registered {
                tracing::debug!(%error, "requests of this router are not measured");
            }
        }
        Self { requests, duration }
    }

    /// Notes one answered request.
    pub(crate) fn observe(
        &self,
        method: &Method,
        template: &str,
        status: StatusCode,
        took: Duration,
    ) {
        let method = name(method);
        self.requests.with_label_values(&[method, template, status.as_str()]).inc();
        self.duration.with_label_values(&[method, template]).observe(took.as_secs_f64());
    }
}

/// Methods are free text on the wire; unknown ones share a series.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
