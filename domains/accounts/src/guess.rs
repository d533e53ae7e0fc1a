//! Guesses at passwords and codes: how many there may be, and how long to wait after them.
//!
//! A guess is counted before it is compared, so that fifty at once are fifty. What is right is
//! taken off again. The count stands in the database: all nodes agree, and a restart forgets
//! nothing.

use std::time::Duration;

use contracts::accounts::{SignInFailed, SignInLocked};
use platform::{Error, MasterSecret, OrgId, Result, Timestamp, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

/// Guesses that cost nothing but themselves.
const FREE: i32 = 4;
/// The wait after the first guess that is not free; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_mins(15);
/// After so long without a guess, all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// The organisation of those who name one that does not exist. They are counted as all others,
/// and told of to nobody.
pub(crate) const NOBODY: OrgId = OrgId::from_uuid(Uuid::nil());

/// Guesses at one account so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: i32,
    last_at: Timestamp,
    locked_until: Option<Timestamp>,
}

impl Tally {
    /// One guess more, at `now`.
    ///
    /// # Errors
    /// How long to wait before the next may be made.
    fn guess(self, now: Timestamp) -> Result<Self, Duration> {
        if let Some(wait) = self.locked_until.and_then(|until| (until - now).to_std().ok())
            && !wait.is_zero()
        {
            return Err(wait);
        }
        let is_forgotten = (now - self.last_at).to_std().is_ok_and(|age| age > FORGOTTEN_AFTER);
        let count = if is_forgotten { 1 } else { self.count.saturating_add(1) };
        Ok(Self { count, last_at: now, locked_until: wait_after(count).map(|wait| now + wait) })
    }
}

/// How long to wait after so many wrong guesses.
fn wait_after(count: i32) -> Option<Duration> {
    let over = u32::try_from(count - FREE).ok().filter(|over| *over > 0)?;
    Some(FIRST_WAIT.saturating_mul(1 << (over - 1).min(10)).min(WAIT_MAX))
}

/// What is guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At<'a> {
    /// The password of whoever has this address, if anybody has it.
    Password(&'a str),
    /// The codes of a user.
    SecondFactor(UserId),
    /// The letter box of whoever has this address, if anybody has it.
    Reset(&'a str),
}

impl At<'_> {
    /// By which guesses at it are counted: the same on every node, and told back by nobody.
    fn guess_id(self, secret: &MasterSecret, org_id: OrgId) -> Uuid {
        let key = secret.derive(&match self {
            Self::Password(email) => format!("accounts guess: password {org_id} {email}"),
            Self::SecondFactor(user_id) => format!("accounts guess: code {org_id} {user_id}"),
            Self::Reset(email) => format!("accounts guess: reset {org_id} {email}"),
        });
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&key[..16]);
        Uuid::from_bytes(bytes)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::SecondFactor(_) => "second_factor",
            Self::Reset(_) => "password_reset",
        }
    }
}

/// A guess that is counted and may be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "ids are called by what they are of")]
pub(crate) struct Guess {
    guess_id: Uuid,
    at: String,
    /// Until when no other may be made, if this one is wrong.
    locks_until: Option<Timestamp>,
}

/// Counts a guess.
///
/// # Errors
/// In the inner result, how long to wait, in milliseconds.
pub(crate) async fn count(tx: &mut Tx<'_>, at: At<'_>) -> Result<Result<Guess, u64>> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let guess_id = at.guess_id(tx.secret()?, org_id);
    let before = locked(tx.connection(), org_id, guess_id, now).await?;
    let after = match before.guess(now) {
        Ok(after) => after,
        Err(wait) => return Ok(Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))),
    };
    sqlx::query(
        "update accounts.guesses set count = $2, last_at = $3, locked_until = $4
         where guess_id = $1",
    )
    .bind(guess_id)
    .bind(after.count)
    .bind(after.last_at)
    .bind(after.locked_until)
    .execute(tx.connection())
    .await?;
    Ok(Ok(Guess { guess_id, at: at.name().to_owned(), locks_until: after.locked_until }))
}

/// Forgets the guesses at something.
pub(crate) async fn forget(tx: &mut Tx<'_>, at: At<'_>) -> Result<()> {
    let guess_id = at.guess_id(tx.secret()?, tx.org_id());
    sqlx::query("delete from accounts.guesses where guess_id = $1")
        .bind(guess_id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The tally, with its row locked: of two guesses at once, one waits for the other here.
async fn locked(
    connection: &mut PgConnection,
    org_id: OrgId,
    guess_id: Uuid,
    now: Timestamp,
) -> Result<Tally> {
    // Nothing is kept about those who have long given up.
    sqlx::query(
        "delete from accounts.guesses where guess_id in (
             select guess_id from accounts.guesses
             where org_id = $1 and last_at < $2 and guess_id <> $3
             limit 10 for update skip locked)",
    )
    .bind(org_id)
    .bind(now - FORGOTTEN_AFTER)
    .bind(guess_id)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into accounts.guesses (guess_id, org_id, count, last_at) values ($1, $2, 0, $3)
         on conflict (guess_id) do nothing",
    )
    .bind(guess_id)
    .bind(org_id)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let (count, last_at, locked_until) = sqlx::query_as(
        "select count, last_at, locked_until from accounts.guesses where guess_id = $1 for update",
    )
    .bind(guess_id)
    .fetch_one(connection)
    .await?;
    Ok(Tally { count, last_at, locked_until })
}

impl Guess {
    /// The guess was right: those before it are forgotten.
    pub(crate) async fn was_right(&self, tx: &mut Tx<'_>) -> Result<()> {
        sqlx::query("delete from accounts.guesses where guess_id = $1")
            .bind(self.guess_id)
            .execute(tx.connection())
            .await?;
        Ok(())
    }

    /// The guess was wrong, which is told, and so is the lock that follows.
    pub(crate) async fn was_wrong(&self, tx: &mut Tx<'_>, user_id: Option<UserId>) -> Result<()> {
        let Self { guess_id, ref at, locks_until } = *self;
        if tx.org_id() == NOBODY {
            return Ok(());
        }
        tx.append(&SignInFailed { guess_id, user_id, at: at.clone() }).await?;
        if let Some(locked_until) = locks_until {
            tx.append(&SignInLocked { guess_id, user_id, locked_until }).await?;
        }
        Ok(())
    }

    /// The guess was never compared, through no fault of whoever made it.
    pub(crate) async fn was_not_made(&self, tx: &mut Tx<'_>) -> Result<()> {
        sqlx::query(
            "update accounts.guesses set count = greatest(count - 1, 0), locked_until = null
             where guess_id = $1",
        )
        .bind(self.guess_id)
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// The answer to a guess that may not be made yet.
pub(crate) fn too_many(wait_ms: u64) -> Error {
    let seconds = wait_ms.div_ceil(1000);
    Error::limited(
        format!("too many wrong guesses; the next may be made in {seconds} seconds"),
        Duration::from_secs(seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn the_fifth_wrong_guess_locks_and_each_further_one_for_longer() {
        let mut tally = Tally::default();
        let mut now = Timestamp::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            tally = tally.guess(now).expect("the lock has ended");
            let wait = tally
                .locked_until
                .map_or(Duration::ZERO, |until| (until - now).to_std().expect("it ends later"));
            waits.push(wait.as_secs());
            now += wait;
        }

        assert_eq!(waits, [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_locked_account_takes_no_guess_and_a_day_forgets() {
        let locked = Tally { count: 7, last_at: at(0), locked_until: Some(at(120)) };

        assert_eq!(locked.guess(at(30)), Err(Duration::from_secs(90)));
        assert_eq!(locked.guess(at(120)).expect("it has ended").count, 8);
        assert_eq!(locked.guess(at(86_401)).expect("it is forgotten").count, 1);
    }
}
