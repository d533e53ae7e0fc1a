//! Challenges: what stands between a right password and a session.
//!
//! A challenge is good once and for five minutes. It tells whoever has it nothing; whom it is for
//! stands in the database.

use std::time::Duration;

use platform::{Access, Action, Command, Result, Spec, System, Tx, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::guess::{self, At};
use crate::one_time;
use crate::second_factor;
use crate::session::{self, Begin, SessionKind};
use crate::sign_in::{SignInAnswer, SignInRefusal, SignInState, signed_in};

/// The beginning of a challenge.
const KIND: &str = "cha";
/// How long there is to answer.
const GOOD_FOR: Duration = Duration::from_mins(5);

/// What a challenge asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A code of the second factor.
    Code,
    /// A second factor, as there is none yet.
    Enrolment,
}

impl Asks {
    const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Enrolment => "enrolment",
        }
    }
}

/// Makes a challenge for whoever is about to begin this session.
pub(crate) async fn make(tx: &mut Tx<'_>, begin: &Begin, asks: Asks) -> Result<SignInAnswer> {
    let (org_id, now) = (tx.org_id(), tx.now());
    let (text, digest) = one_time::new(KIND, org_id);
    let expires_at = now + GOOD_FOR;
    sqlx::query("delete from accounts.challenges where org_id = $1 and expires_at < $2")
        .bind(org_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into accounts.challenges
             (challenge_id, org_id, user_id, digest, asks_for, kind, client, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(Uuid::now_v7())
    .bind(org_id)
    .bind(begin.user_id)
    .bind(digest)
    .bind(asks.name())
    .bind(begin.kind.name())
    .bind(begin.client.as_deref())
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    let state = match asks {
        Asks::Code => SignInState::SecondFactorRequired,
        Asks::Enrolment => SignInState::EnrolmentRequired,
    };
    Ok(SignInAnswer::challenge(state, text, expires_at))
}

/// A challenge that may still be answered.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    challenge_id: Uuid,
    pub(crate) user_id: UserId,
    kind: SessionKind,
    client: Option<String>,
}

/// The challenge with this digest, locked until the end of the transaction; nothing if it is
/// unknown, used or too old, asks for something else, or its user is gone.
pub(crate) async fn open(tx: &mut Tx<'_>, digest: &[u8], asks: Asks) -> Result<Option<Open>> {
    let row: Option<(Uuid, UserId, String, Option<String>)> = sqlx::query_as(
        "select challenges.challenge_id, challenges.user_id, challenges.kind, challenges.client
         from accounts.challenges
         join platform.users on users.id = challenges.user_id and users.deleted_at is null
         where digest = $1 and asks_for = $2 and used_at is null and expires_at > $3
         for update of challenges",
    )
    .bind(digest)
    .bind(asks.name())
    .bind(tx.now())
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.and_then(|(challenge_id, user_id, kind, client)| {
        SessionKind::from_name(&kind).map(|kind| Open { challenge_id, user_id, kind, client })
    }))
}

impl Open {
    /// Uses the challenge up and begins its session.
    pub(crate) async fn answered(self, tx: &mut Tx<'_>) -> Result<SignInAnswer> {
        let Self { challenge_id, user_id, kind, client } = self;
        let now = tx.now();
        sqlx::query("update accounts.challenges set used_at = $2 where challenge_id = $1")
            .bind(challenge_id)
            .bind(now)
            .execute(tx.connection())
            .await?;
        signed_in(tx, Begin { user_id, kind, client, second_factor_at: Some(now) }).await
    }
}

/// The command that a challenge is passed to, in the organisation it names.
pub(crate) async fn answer<C: Command>(
    system: &System,
    challenge: &str,
    command: impl FnOnce(Vec<u8>) -> C,
) -> Result<C::Output> {
    let org_id = one_time::organisation(KIND, challenge).ok_or(SignInRefusal::Challenge)?;
    let scope = session::duty(system.caller()?, org_id);
    system.run(&scope, command(one_time::digest(challenge))).await
}

/// Answer a challenge with a code of my second factor, or with a recovery code.
///
/// Wrong codes are counted as wrong passwords are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerSecondFactor {
    /// The challenge that `sign_in` answered.
    #[schemars(length(min = 1, max = 200))]
    pub challenge: String,
    /// Six digits from the device, or a recovery code.
    #[schemars(length(min = 6, max = 40))]
    pub code: String,
}

impl Action for AnswerSecondFactor {
    const SPEC: Spec = Spec::invoke("answer_second_factor", "/sign_in/second_factor")
        .needs(Access::Anyone)
        .confidential();
    type Output = SignInAnswer;

    async fn act(self, system: &System) -> Result<SignInAnswer> {
        let Self { challenge, code } = self;
        let answered = answer(system, &challenge, |digest| PassCode { digest, code }).await?;
        match answered {
            Answered::Right(answer) => Ok(*answer),
            Answered::Wrong => Err(SignInRefusal::Code.into()),
            Answered::Unknown => Err(SignInRefusal::Challenge.into()),
            Answered::TooMany(wait_ms) => Err(guess::too_many(wait_ms)),
        }
    }
}

/// Compares a code with the second factor behind a challenge.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PassCode {
    digest: Vec<u8>,
    code: String,
}

/// What became of an answer to a challenge.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Answered {
    Right(Box<SignInAnswer>),
    Wrong,
    Unknown,
    TooMany(u64),
}

impl Command for PassCode {
    const SPEC: Spec = Spec::internal("pass_code");
    type Output = Answered;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Answered> {
        let Some(open) = open(tx, &self.digest, Asks::Code).await? else {
            return Ok(Answered::Unknown);
        };
        let guess = match guess::count(tx, At::SecondFactor(open.user_id)).await? {
            Ok(guess) => guess,
            Err(wait_ms) => return Ok(Answered::TooMany(wait_ms)),
        };
        if !second_factor::show(tx, open.user_id, &self.code).await? {
            guess.was_wrong(tx, Some(open.user_id)).await?;
            return Ok(Answered::Wrong);
        }
        guess.was_right(tx).await?;
        Ok(Answered::Right(Box::new(open.answered(tx).await?)))
    }
}
