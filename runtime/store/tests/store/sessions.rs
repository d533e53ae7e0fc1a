//! Sessions: kept between transactions, and never handed on in a state nobody expects.

use futures_util::FutureExt as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use store::{Session, Sessions};

use crate::database::TestLog;

const CONNECTIONS_MAX: u32 = 4;

fn sessions(log: &TestLog) -> (Sessions, PgPool) {
    let options = log.owner.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect_lazy_with(options);
    (Sessions::new(pool.clone()), pool)
}

/// The process of the server behind a session, told in a transaction that ends in good order.
async fn process(session: &mut Session) -> i32 {
    let begin = AssertSqlSafe("begin".to_owned());
    let mut transaction = session.begin(begin).await.expect("the server answers");
    let process = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *transaction)
        .await
        .expect("the server answers");
    transaction.commit().await.expect("nothing is in the way");
    process
}

async fn taken(sessions: &Sessions) -> Session {
    sessions.take().await.expect("there is one")
}

#[tokio::test]
async fn a_session_given_back_is_the_next_one_taken() {
    let log = TestLog::create().await;
    let (sessions, _pool) = sessions(&log);
    let mut session = taken(&sessions).await;
    let first = process(&mut session).await;
    session.give_back();

    let mut session = taken(&sessions).await;

    assert_eq!(process(&mut session).await, first);
    assert_eq!(sessions.idle_count(), 0);
}

#[tokio::test]
async fn what_a_caller_left_open_is_undone_before_anybody_else_has_the_session() {
    let log = TestLog::create().await;
    let (sessions, pool) = sessions(&log);
    let mut session = taken(&sessions).await;
    let begin = AssertSqlSafe("begin; create table left_open ()".to_owned());
    let transaction = session.begin(begin).await.expect("the server answers");

    drop(transaction);
    drop(session);

    let found = "select to_regclass('left_open') is not null or pg_current_xact_id_if_assigned()
                 is not null";
    let is_left: bool = sqlx::query_scalar(found).fetch_one(&pool).await.expect("it answers");
    assert!(!is_left);
}

#[tokio::test]
async fn a_transaction_that_is_cut_off_while_it_is_opened_is_nobodys() {
    let log = TestLog::create().await;
    let (sessions, _pool) = sessions(&log);
    let mut cut_off = 0;
    for _ in 0..CONNECTIONS_MAX * 4 {
        let mut session = taken(&sessions).await;
        let begin = AssertSqlSafe("begin read only".to_owned());
        // Polled once: the statement is sent, and nobody waits for its answer. On a busy machine it
        // may be there before anybody could wait.
        let opened = Box::pin(session.begin(begin)).as_mut().now_or_never();
        cut_off += u32::from(opened.is_none());
    }
    assert!(cut_off > 0, "no transaction was cut off");

    let mut session = taken(&sessions).await;
    let begin = AssertSqlSafe("begin; create table written ()".to_owned());
    let written = session.begin(begin).await.map(drop);

    assert!(written.is_ok(), "{written:?}");
}

#[tokio::test]
async fn a_session_that_ended_while_it_was_kept_fails_one_caller_at_most() {
    let log = TestLog::create().await;
    let (sessions, _pool) = sessions(&log);
    let mut session = taken(&sessions).await;
    let ended = process(&mut session).await;
    session.give_back();
    let end = "select pg_terminate_backend($1, 10000)";
    sqlx::query(end).bind(ended).execute(&log.owner).await.expect("a superuser may");

    let mut session = taken(&sessions).await;
    // Taken at once it is trusted, and fails; taken later it is asked, and is replaced.
    let begin = AssertSqlSafe("begin".to_owned());
    let outcome = session.begin(begin).await.map(drop);
    drop(session);
    let mut session = taken(&sessions).await;

    assert_ne!(process(&mut session).await, ended, "{outcome:?}");
}

#[tokio::test]
async fn sessions_leave_connections_for_others_and_wait_for_each_other() {
    let log = TestLog::create().await;
    let (sessions, pool) = sessions(&log);
    let mut held = Vec::new();
    for _ in 1..CONNECTIONS_MAX {
        held.push(taken(&sessions).await);
    }

    let mut waiting = Box::pin(sessions.take());
    let is_waiting = waiting.as_mut().now_or_never().is_none();
    let other = pool.acquire().await;
    held.pop().expect("three are held").give_back();
    let next = waiting.await;

    assert!(is_waiting, "a fourth session has to wait");
    assert!(other.is_ok(), "{other:?}");
    assert!(next.is_ok(), "{next:?}");
}

#[tokio::test]
async fn a_pool_can_be_closed_once_its_sessions_are() {
    let log = TestLog::create().await;
    let (sessions, pool) = sessions(&log);
    let (kept, in_use) = (taken(&sessions).await, taken(&sessions).await);
    kept.give_back();

    sessions.close();
    in_use.give_back();
    pool.close().await;

    assert_eq!((sessions.idle_count(), pool.size()), (0, 0));
}
