//! Cursors as callers hold them: signed, for one list of one organisation.
//!
//! Inside, a cursor is the key of a row. What leaves the platform has a code behind it that only
//! the nodes of this installation can make, over the organisation, the operation and the key; so
//! nobody can ask for keys of their own making, and a cursor that strayed from one list into
//! another, or from one organisation into another, is refused instead of answering from somewhere.

use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::Scope;
use serde_json::Value;
use sha2::Sha256;

use crate::listing::{BadCursor, CURSOR_CHARACTERS_MAX, bytes};
use crate::operation::Operation;
use crate::refusal::Result;
use crate::secret::MasterSecret;

/// The field of an input that says where a page begins.
const CURSOR: &str = "cursor";
/// The field of an output that says where the next one begins.
const NEXT: &str = "next";
/// Hexadecimal digits of the code: 128 bits.
const CODE_DIGITS: usize = 32;

/// Whether the operation answers page by page.
fn is_list(operation: &Operation) -> bool {
    let property = |schema: &Value, name| {
        schema.get("properties").and_then(|fields| fields.get(name)).cloned().unwrap_or_default()
    };
    let cursor = property(&operation.input_schema, CURSOR);
    let is_ours = cursor.get("maxLength") == Some(&CURSOR_CHARACTERS_MAX.into());
    is_ours && property(&operation.output_schema, NEXT).is_object()
}

/// The input with the cursor as the operation knows it.
///
/// # Errors
/// [`BadCursor`] for one that was not made for this operation and this organisation.
pub(crate) fn opened(
    secret: &MasterSecret,
    scope: &Scope,
    operation: &Operation,
    mut input: Value,
) -> Result<Value> {
    if let Some(Value::String(text)) = input.get_mut(CURSOR)
        && is_list(operation)
    {
        let split = text.len().checked_sub(CODE_DIGITS).and_then(|at| text.split_at_checked(at));
        let (key, code) = split.ok_or(BadCursor)?;
        let code = bytes(code).ok_or(BadCursor)?;
        let mac = mac(secret, scope, operation, key);
        mac.verify_truncated_left(&code).map_err(|_| BadCursor)?;
        *text = key.to_owned();
    }
    Ok(input)
}

/// Signs the cursor of an answer, if it has one.
pub(crate) fn sign(
    secret: &MasterSecret,
    scope: &Scope,
    operation: &Operation,
    answer: &mut Value,
) {
    if let Some(Value::String(text)) = answer.get_mut(NEXT)
        && is_list(operation)
    {
        let code = mac(secret, scope, operation, text).finalize().into_bytes();
        let digits = code.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(CODE_DIGITS);
        text.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
}

fn mac(secret: &MasterSecret, scope: &Scope, operation: &Operation, key: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.derive("cursors"))
        .expect("a key of any length fits");
    mac.update(scope.org_id.uuid().as_bytes());
    // Neither name has a zero byte, so no two pairs of them look the same.
    for part in [operation.domain.as_str(), operation.spec.name()] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(key.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use kernel::{DomainName, OrgId, Role, UserId};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::operation::{Query, Spec};
    use crate::tx::Snapshot;
    use crate::{Cursor, Listing};

    macro_rules! list {
        ($name:ident, $operation:literal) => {
            /// List things.
            #[derive(Serialize, Deserialize, JsonSchema)]
            struct $name {
                cursor: Option<Cursor>,
            }
            impl Query for $name {
                const SPEC: Spec = Spec::read($operation, concat!("/", $operation));
                type Output = Listing<u32>;
                async fn answer(self, _: &mut Snapshot<'_>) -> Result<Listing<u32>> {
                    Ok(Listing { items: Vec::new(), next: None })
                }
            }
        };
    }
    list!(ListThings, "list_things");
    list!(ListOthers, "list_others");

    const SECRET: MasterSecret = MasterSecret::new([7; 32]);

    fn scope(org_id: OrgId) -> Scope {
        Scope::user(org_id, UserId::new(), Role::Staff, Uuid::now_v7())
    }

    #[test]
    fn a_cursor_comes_back_as_it_left_and_works_nowhere_else() {
        let (acme, globex) = (scope(OrgId::new()), scope(OrgId::new()));
        let domain = DomainName::new("fixture");
        let things = Operation::query::<ListThings>(domain);
        let others = Operation::query::<ListOthers>(domain);
        let mut answer = json!({ "items": [], "next": "3738" });

        sign(&SECRET, &acme, &things, &mut answer);
        let input = json!({ "cursor": answer["next"] });
        let open = |secret: &MasterSecret, scope, operation| {
            opened(secret, scope, operation, input.clone())
                .map_err(|error| (error.code().to_owned(), error.fields()[0].pointer.clone()))
        };

        let refused = Err(("bad_cursor".to_owned(), "/cursor".to_owned()));
        assert_ne!(answer["next"], "3738");
        assert_eq!(open(&SECRET, &acme, &things), Ok(json!({ "cursor": "3738" })));
        assert_eq!(open(&SECRET, &globex, &things), refused);
        assert_eq!(open(&SECRET, &acme, &others), refused);
        assert_eq!(open(&MasterSecret::new([8; 32]), &acme, &things), refused);
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        let acme = scope(OrgId::new());
        let things = Operation::query::<ListThings>(DomainName::new("fixture"));
        let cursor = |key: u8| {
            let mut answer = json!({ "next": key.to_string() });
            sign(&SECRET, &acme, &things, &mut answer);
            answer["next"].as_str().expect("it is text").to_owned()
        };
        let is_good =
            |cursor: &str| opened(&SECRET, &acme, &things, json!({ "cursor": cursor })).is_ok();
        // Among so many codes are some that begin with a zero.
        let cursors: Vec<String> = (0..=u8::MAX).map(cursor).collect();
        let respelled = cursors.iter().flat_map(|cursor| {
            let (key, code) = cursor.split_at(cursor.len() - CODE_DIGITS);
            let plus = code.strip_prefix('0').map(|rest| format!("{key}+{rest}"));
            plus.into_iter().chain([format!("{key}{}", code.to_uppercase())])
        });
        let respelled: Vec<String> = respelled.filter(|cursor| !cursors.contains(cursor)).collect();

        assert!(cursors.iter().all(|cursor| is_good(cursor)));
        assert!(respelled.iter().any(|cursor| cursor.contains('+')));
        assert!(!respelled.iter().any(|cursor| is_good(cursor)));
    }

    #[test]
    fn what_somebody_made_up_is_refused() {
        let acme = scope(OrgId::new());
        let things = Operation::query::<ListThings>(DomainName::new("fixture"));
        let zeros = "0".repeat(40);
        let long = "ä".repeat(40);

        for made_up in ["", "3738", zeros.as_str(), long.as_str(), "zz"] {
            let input = json!({ "cursor": made_up });
            assert!(opened(&SECRET, &acme, &things, input).is_err(), "{made_up}");
        }
    }
}
