//! What the fuzz targets drive: all that stands between a call and its work, without the system
//! and the database that the work needs.

use kernel::{Scope, Timestamp};
use serde_json::{Value, json};

use crate::operation::Operation;
use crate::refusal::Result;
use crate::secret::MasterSecret;
use crate::{access, cursor, form};

/// The input as the work would get it.
///
/// # Errors
/// What the caller would be told, and nothing of kind failure.
pub fn admitted(
    secret: &MasterSecret,
    scope: &Scope,
    operation: &Operation,
    input: Value,
    now: Timestamp,
) -> Result<Value> {
    access::authorise(scope, operation, now)?;
    let input = cursor::opened(secret, scope, operation, input)?;
    operation.check(&input)?;
    Ok(form::with_whole_numbers(input))
}

/// The key behind a cursor of the list that `operation` answers.
///
/// # Errors
/// [`BadCursor`](crate::BadCursor) for one that was not made for this list.
pub fn opened(
    secret: &MasterSecret,
    scope: &Scope,
    operation: &Operation,
    cursor: &str,
) -> Result<Value> {
    let input = cursor::opened(secret, scope, operation, json!({ "cursor": cursor }))?;
    Ok(input["cursor"].clone())
}

/// The cursor of the list that `operation` answers, for the row with this key.
#[must_use]
pub fn signed(secret: &MasterSecret, scope: &Scope, operation: &Operation, key: &str) -> String {
    let mut answer = json!({ "next": key });
    cursor::sign(secret, scope, operation, &mut answer);
    answer["next"].as_str().unwrap_or_default().to_owned()
}
