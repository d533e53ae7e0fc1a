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

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_shown_twice_at_once_is_shown_twice() {
    let (system, _) = start().await;
    let session = sign_in(&system, "app").await;
    let refresh = || json!({"refresh_token": text(&session, "refresh_token")});

    let (one, other) =
        tokio::join!(call(&system, "refresh", refresh()), call(&system, "refresh", refresh()));

    let answers: Vec<_> = [one, other].into_iter().filter_map(Result::ok).collect();
    assert_eq!(answers.len(), 1);
    assert!(who(&system, text(&answers[0], "token")).await.is_none());
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
