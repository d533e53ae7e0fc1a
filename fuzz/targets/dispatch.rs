//! What stands between a request and the work of an operation: the reader of JSON, the merging of
//! path, query string and body, who may call, cursors and the comparison with the schema. No
//! database is needed to refuse.
//!
//! A request is text: the caller's role and the operation, what stands for parameters of the path,
//! the query string, and the body, if there is a fourth line.
#![no_main]

use std::sync::LazyLock;

use kernel::{OrgId, Role, Scope, Timestamp, UserId};
use libfuzzer_sys::fuzz_target;
use platform::{Access, Catalog, Kind, MasterSecret, Operation};
use serde_json::Value;
use uuid::Uuid;

const SECRET: MasterSecret = MasterSecret::new([7; 32]);

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let domains = vec![recruit::domain(), platform::operator::domain()];
    Catalog::part(domains).expect("the domains do not contradict each other")
});

fuzz_target!(|request: &[u8]| {
    let mut lines = request.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().map(|line| str::from_utf8(line).unwrap_or_default());
    let (head, path, query) = (line(), line(), line());
    let body = lines.next();
    if let Some(bytes) = body
        && let Some(read) = rest::fuzzing::json(bytes)
    {
        let plain: Value = serde_json::from_slice(bytes).expect("strict readers read less");
        assert_eq!(read, plain);
    }
    let (caller, name) = head.and_then(|head| head.split_once(' ')).unwrap_or_default();
    let (domain, name) = name.split_once('/').unwrap_or_default();
    let Some(operation) = CATALOG.operation(domain, name) else { return };
    let (path, query) = (path.unwrap_or_default(), query.unwrap_or_default());
    let Some(input) = rest::fuzzing::input(operation, path, query, body) else { return };
    call(&scope(caller), operation, input);
});

fn scope(caller: &str) -> Scope {
    let (org_id, user_id) = (OrgId::from_uuid(Uuid::max()), UserId::from_uuid(Uuid::max()));
    match Role::from_name(caller) {
        Some(role) => Scope::user(org_id, user_id, role, Uuid::max()),
        None if caller == "system" => Scope::system(org_id, caller, Uuid::max()),
        None => Scope::anonymous(Uuid::max()),
    }
}

fn call(scope: &Scope, operation: &Operation, input: Value) {
    let now = Timestamp::UNIX_EPOCH;
    match platform::fuzzing::admitted(&SECRET, scope, operation, input, now) {
        Ok(input) => {
            assert!(
                operation.spec.access() == Access::Anyone
                    || *scope != Scope::anonymous(Uuid::max()),
                "nobody unknown gets in"
            );
            operation.check(&input).expect("whole numbers are as good as what was checked");
        }
        Err(error) => {
            let expected = [Kind::Invalid, Kind::Unauthenticated, Kind::Forbidden];
            assert!(expected.contains(&error.kind()), "{error:?}");
            let names_fields = !error.fields().is_empty();
            assert_eq!(names_fields, error.kind() == Kind::Invalid, "{error:?}");
            for field in error.fields() {
                assert!(field.pointer.is_empty() || field.pointer.starts_with('/'), "{field:?}");
            }
        }
    }
}
