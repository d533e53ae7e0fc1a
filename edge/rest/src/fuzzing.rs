//! What the fuzz targets drive: the readers of a request, without a server around them.

use axum::extract::Query;
use axum::http::Uri;
use platform::Operation;
use serde_json::Value;

use crate::input::{Pieces, merge};

/// A body, as the strict reader reads it; nothing if it refuses.
#[must_use]
pub fn json(bytes: &[u8]) -> Option<Value> {
    platform::json::parse(bytes).ok()
}

/// The one input that the pieces of a request make; nothing if they make none. `path` stands for
/// every parameter of the path.
#[must_use]
pub fn input(operation: &Operation, path: &str, query: &str, body: Option<&[u8]>) -> Option<Value> {
    let parameters = operation.spec.path_parameters();
    let path: Vec<_> = parameters.map(|name| (name.to_owned(), path.to_owned())).collect();
    let uri: Uri = format!("/?{query}").parse().ok()?;
    let query: Vec<(String, String)> = Query::try_from_uri(&uri).ok()?.0;
    let pieces = Pieces { path: &path, query: &query, body };
    merge(&pieces, &operation.input_schema).ok()
}
