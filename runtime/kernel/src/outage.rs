//! Outages: whether Postgres was away or busy, as opposed to asked for something wrong.
//!
//! The log waits for it, a queue does not count the attempt and a surface says `unavailable`; all
//! of them must mean the same by it, so it is decided here.

/// Whether the database is away or overwhelmed, so that the same statement may succeed later.
///
/// Anything else is a mistake of ours, which waiting does not mend.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_outage_code(&code)),
        _ => false,
    }
}

/// Connection lost, no resources, operator intervention (our own time limit among them), system
/// error, deadlock or serialisation, and lock not available.
fn is_outage_code(code: &str) -> bool {
    let classes = ["08", "53", "57", "58", "40"];
    classes.iter().any(|class| code.starts_with(class)) || code == "55P03"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_an_outage_and_what_breaks_a_rule_is_none() {
        let outages = ["08006", "53300", "57P01", "57014", "58030", "40001", "40P01", "55P03"];
        let mistakes = ["23505", "42501", "42P01", "22001", "25006", "XX000"];

        assert!(outages.iter().all(|code| is_outage_code(code)));
        assert!(!mistakes.iter().any(|code| is_outage_code(code)));
        assert!(is_outage(&sqlx::Error::PoolTimedOut));
        assert!(!is_outage(&sqlx::Error::RowNotFound));
    }
}
