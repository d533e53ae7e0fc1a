//! Sessions: how they end, and how apps go on.

use platform::{Kind, Result};
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_an_hour_without_use_and_after_a_day_at_all() {
    let (system, clock) = start().await;
    let unused = sign_in(&system, "session").await;
    let used = sign_in(&system, "session").await;
    let (unused, used) = (text(&unused, "token"), text(&used, "token"));

    for _ in 0..47 {
        clock.advance(Duration::from_mins(30));
        // Another second of this node's memory would be as good; the test does not wait for it.
        system.system().forget_credentials();
        assert!(who(&system, used).await.is_some());
    }
    let after_an_hour = who(&system, unused).await;
    clock.advance(Duration::from_mins(30));
    let after_a_day = who(&system, used).await;

    assert!(after_an_hour.is_none());
    assert!(after_a_day.is_none());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_goes_on_by_refreshing_and_each_refresh_token_is_good_once() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "app").await;
    let refresh = |token: &str| json!({"refresh_token": token});

    clock.advance(Duration::from_mins(10));
    let access_has_ended = who(&system, text(&first, "token")).await.is_none();
    let second = call(&system, "refresh", refresh(text(&first, "refresh_token"))).await?;
    let goes_on = who(&system, text(&second, "token")).await.is_some();
    let reused = call(&system, "refresh", refresh(text(&first, "refresh_token"))).await;
    let newest = call(&system, "refresh", refresh(text(&second, "refresh_token"))).await;
    let forged = call(&system, "refresh", refresh("fin_ref_nonsense")).await;

    assert!(access_has_ended && goes_on);
    let reused = reused.expect_err("it was used");
    assert_eq!(reused.kind(), Kind::Unauthenticated);
    assert_eq!(told(&newest.expect_err("its family has ended")), told(&reused));
    assert_eq!(told(&forged.expect_err("it is forged")), told(&reused));
    assert!(who(&system, text(&second, "token")).await.is_none());
    system.settle().await;
    let ended = super::sign_in::events(&system).await;
    assert!(ended.iter().any(|(_, payload)| payload.contains("refresh_token_reused")));
    system.stop().await;
    Ok(())
}

fn refresh_of(answer: &Value) -> Value {
    json!({"refresh_token": text(answer, "refresh_token")})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_whose_answer_was_lost_is_made_again() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "app").await;

    let lost = call(&system, "refresh", refresh_of(&first)).await?;
    clock.advance(Duration::from_hours(5));
    let also_lost = call(&system, "refresh", refresh_of(&first)).await?;
    let arrived = call(&system, "refresh", refresh_of(&first)).await?;
    let goes_on = who(&system, text(&arrived, "token")).await;
    let next = call(&system, "refresh", refresh_of(&arrived)).await?;

    let goes_on = goes_on.expect("the answer that arrived counts");
    assert_eq!(
        goes_on.credential.parent_id.map(|id| id.to_string()).as_deref(),
        Some(text(&first, "session_id"))
    );
    assert!(who(&system, text(&lost, "token")).await.is_none());
    assert!(who(&system, text(&also_lost, "token")).await.is_none());
    assert!(who(&system, text(&next, "token")).await.is_some());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_out_for_a_lost_answer_ends_the_session_if_it_is_shown() -> Result<()> {
    let (system, _) = start().await;
    let first = sign_in(&system, "app").await;
    let lost = call(&system, "refresh", refresh_of(&first)).await?;
    let arrived = call(&system, "refresh", refresh_of(&first)).await?;

    let shown = call(&system, "refresh", refresh_of(&lost)).await;

    assert_eq!(shown.expect_err("it was taken back").code(), "refresh_token_refused");
    assert!(who(&system, text(&arrived, "token")).await.is_none());
    assert!(call(&system, "refresh", refresh_of(&arrived)).await.is_err());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn once_anything_of_an_answer_was_used_the_token_before_it_is_a_copy() -> Result<()> {
    let (system, _) = start().await;
    for uses_access_token in [true, false] {
        let first = sign_in(&system, "app").await;
        let second = call(&system, "refresh", refresh_of(&first)).await?;
        let newest = if uses_access_token {
            assert!(who(&system, text(&second, "token")).await.is_some());
            second
        } else {
            call(&system, "refresh", refresh_of(&second)).await?
        };

        let copied = call(&system, "refresh", refresh_of(&first)).await;

        assert_eq!(copied.expect_err("it was used").code(), "refresh_token_refused");
        assert!(who(&system, text(&newest, "token")).await.is_none());
        assert!(call(&system, "refresh", refresh_of(&newest)).await.is_err());
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_has_ended_is_good_for_no_lost_answer_either() -> Result<()> {
    let (system, clock) = start().await;
    let first = sign_in(&system, "app").await;
    call(&system, "refresh", refresh_of(&first)).await?;

    clock.advance(Duration::from_hours(14 * 24));
    let again = call(&system, "refresh", refresh_of(&first)).await;

    assert_eq!(again.expect_err("two weeks are over").code(), "refresh_token_refused");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_refreshes_at_once_one_answer_counts_and_the_session_goes_on() {
    let (system, _) = start().await;
    let session = sign_in(&system, "app").await;
    let refresh = || refresh_of(&session);

    let (one, other) =
        tokio::join!(call(&system, "refresh", refresh()), call(&system, "refresh", refresh()));

    let mut counts = Vec::new();
    for answer in [one, other] {
        let answer = answer.expect("nothing of the other was used");
        counts.push(who(&system, text(&answer, "token")).await.is_some());
    }
    counts.sort_unstable();
    assert_eq!(counts, [false, true]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_use_and_a_repeated_refresh_at_once_never_both_succeed() {
    let (system, _) = start().await;
    for _ in 0..8 {
        let first = sign_in(&system, "app").await;
        let second = call(&system, "refresh", refresh_of(&first)).await.expect("it is good");

        let (used, repeated) = tokio::join!(
            who(&system, text(&second, "token")),
            call(&system, "refresh", refresh_of(&first))
        );

        assert_ne!(used.is_some(), repeated.is_ok());
        assert!(who(&system, text(&second, "token")).await.is_none());
        if let Ok(repeated) = repeated {
            assert!(who(&system, text(&repeated, "token")).await.is_some());
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_their_sessions_and_ends_them_but_nobody_elses() -> Result<()> {
    let (system, _) = start().await;
    let (mine, app) = (sign_in(&system, "session").await, sign_in(&system, "app").await);
    let token = text(&mine, "token");
    let theirs = json!({"organisation": "globex", "email": "staff@globex.test",
        "password": PASSWORD, "kind": "session", "client": "Firefox"});
    let theirs = call(&system, "sign_in", theirs).await?;

    let listed = call_as(&system, token, "list_my_sessions", json!({})).await?;
    let not_mine = json!({"session_id": text(&theirs, "session_id")});
    let refused = call_as(&system, token, "revoke_my_session", not_mine).await;
    let app_session = json!({"session_id": text(&app, "session_id")});
    call_as(&system, token, "revoke_my_session", app_session.clone()).await?;
    let again = call_as(&system, token, "revoke_my_session", app_session).await;
    sign_in(&system, "session").await;
    let others = call_as(&system, token, "revoke_my_other_sessions", json!({})).await?;

    let listed = listed["items"].as_array().expect("a list has items").clone();
    assert_eq!(listed.len(), 2);
    let current = listed.iter().filter(|each| each["is_current"] == true);
    let current: Vec<&str> = current.map(|each| text(each, "session_id")).collect();
    assert_eq!(current, [text(&mine, "session_id")]);
    assert_eq!(refused.expect_err("it is not theirs").kind(), Kind::NotFound);
    assert_eq!(again.expect_err("it has ended").kind(), Kind::NotFound);
    assert_eq!(others, json!({"count": 1}));
    assert!(who(&system, text(&app, "token")).await.is_none());
    assert!(who(&system, text(&theirs, "token")).await.is_some());
    system.stop().await;
    Ok(())
}
