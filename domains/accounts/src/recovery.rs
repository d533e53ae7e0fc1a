//! Recovery codes: what takes the place of a lost device. Ten at a time, each good once, only
//! digests of them stored.

use contracts::accounts::RecoveryCodeUsed;
use platform::{Digest, Result, Tx, UserId};
use uuid::Uuid;

/// How many a user has.
const COUNT: usize = 10;

/// A new code: 80 random bits in four groups.
fn code() -> String {
    let mut bytes = [0_u8; 10];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    let digits: Vec<char> = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    digits.chunks(5).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

fn digest(user_id: UserId, code: &str) -> Vec<u8> {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    Digest::of(format!("{user_id} {}", plain.to_lowercase()).as_bytes()).as_bytes().to_vec()
}

/// Gives a user new codes; those before are good for nothing.
pub(crate) async fn renew(tx: &mut Tx<'_>, user_id: UserId) -> Result<Vec<String>> {
    let codes: Vec<String> = (0..COUNT).map(|_| code()).collect();
    forget(tx, user_id).await?;
    let ids: Vec<Uuid> = codes.iter().map(|_| Uuid::now_v7()).collect();
    let digests: Vec<Vec<u8>> = codes.iter().map(|code| digest(user_id, code)).collect();
    let (org_id, now) = (tx.org_id(), tx.now());
    sqlx::query(
        "insert into accounts.recovery_codes (code_id, digest, org_id, user_id, created_at)
         select *, $3, $4, $5 from unnest($1::uuid[], $2::bytea[])",
    )
    .bind(ids)
    .bind(digests)
    .bind(org_id)
    .bind(user_id)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(codes)
}

/// Takes all codes of a user away.
pub(crate) async fn forget(tx: &mut Tx<'_>, user_id: UserId) -> Result<()> {
    sqlx::query("delete from accounts.recovery_codes where user_id = $1")
        .bind(user_id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Uses a code up, if it is one of the user's that is left.
pub(crate) async fn take(tx: &mut Tx<'_>, user_id: UserId, code: &str) -> Result<bool> {
    let now = tx.now();
    let taken = sqlx::query(
        "update accounts.recovery_codes set used_at = $3
         where user_id = $1 and digest = $2 and used_at is null",
    )
    .bind(user_id)
    .bind(digest(user_id, code))
    .bind(now)
    .execute(tx.connection())
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    let left: i64 = sqlx::query_scalar(
        "select count(*) from accounts.recovery_codes where user_id = $1 and used_at is null",
    )
    .bind(user_id)
    .fetch_one(tx.connection())
    .await?;
    let left = u32::try_from(left).unwrap_or_default();
    tx.append(&RecoveryCodeUsed { user_id, left }).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed_and_another_for_another_user() {
        let (mia, code) = (UserId::new(), code());

        assert_eq!(code.len(), 23);
        assert_eq!(digest(mia, &code), digest(mia, &code.to_uppercase().replace('-', " ")));
        assert_ne!(digest(mia, &code), digest(UserId::new(), &code));
    }
}
