//! The decoder of cursors: what a caller made up is refused, what we signed comes back as it was
//! and is good in one spelling only, and whatever is behind it is a key or is refused.
#![no_main]

use std::sync::LazyLock;

use kernel::{OrgId, Role, Scope, UserId};
use libfuzzer_sys::fuzz_target;
use platform::fuzzing::{opened, signed};
use platform::{Catalog, Cursor, MasterSecret};
use serde_json::Value;
use uuid::Uuid;

const SECRET: MasterSecret = MasterSecret::new([7; 32]);

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::part(vec![recruit::domain()]).expect("the domain does not contradict itself")
});

fuzz_target!(|text: &str| {
    let list = CATALOG.operation("recruit", "list_candidates").expect("there is this list");
    let (org_id, user_id) = (OrgId::from_uuid(Uuid::max()), UserId::from_uuid(Uuid::max()));
    let scope = Scope::user(org_id, user_id, Role::Staff, Uuid::max());
    let refused = |cursor: &str| {
        let error = opened(&SECRET, &scope, list, cursor).expect_err("nobody else can sign");
        assert_eq!(error.code(), "bad_cursor");
        assert_eq!(error.fields()[0].pointer, "/cursor");
    };

    refused(text);
    let cursor = signed(&SECRET, &scope, list, text);
    assert_eq!(opened(&SECRET, &scope, list, &cursor).ok(), Some(Value::from(text)));
    refused(&respelled(&cursor, text));

    let Ok(cursor) = serde_json::from_value::<Cursor>(Value::from(text)) else { return };
    let _ = cursor.key::<Value>();
    let _ = cursor.key::<(i64, String)>();
    let _ = cursor.key::<OrgId>();
});

/// Another cursor that begins and ends alike: some character of it, as `text` will have it, is
/// replaced by one of those that readers of numbers are lenient about.
fn respelled(cursor: &str, text: &str) -> String {
    let mut letters: Vec<char> = cursor.chars().collect();
    let sum: usize = text.bytes().map(usize::from).sum();
    let at = sum % letters.len();
    let other = ['+', '-', ' ', '_', '0', 'F'][sum / 7 % 6];
    letters[at] = match letters[at] {
        letter if letter.is_ascii_lowercase() && sum % 2 == 0 => letter.to_ascii_uppercase(),
        letter if letter == other => '~',
        _ => other,
    };
    letters.into_iter().collect()
}
