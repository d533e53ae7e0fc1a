//! The public address of an installation, where it is told.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use testkit::TestDatabase;

use super::{Data, LOOK_EVERY, PATIENCE, Served, finnest, outcome};

impl Served {
    /// What is told to whoever asks under the name `host`.
    async fn told_as(&self, host: &str, path: &str) -> Value {
        let request = Request::builder()
            .uri(format!("http://{}{path}", self.address))
            .header("host", host)
            .body(Full::new(Bytes::new()))
            .expect("the request is well formed");
        let answer = self.client.request(request).await.expect("it is answered");
        let body = answer.into_body().collect().await.expect("the answer is whole").to_bytes();
        serde_json::from_slice(&body).expect("it is JSON")
    }
}

/// Waits for a letter and answers what it says.
async fn letter(database: &TestDatabase) -> String {
    let mut connection = database.options().connect().await.expect("the server is there");
    let sent = tokio::time::timeout(PATIENCE, async {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let found: Option<String> = sqlx::query_scalar(
                "select body from reach.outbox where body like '%reset-password%'",
            )
            .fetch_optional(&mut connection)
            .await
            .expect("it can be asked");
            if let Some(body) = found {
                return body;
            }
            ticks.tick().await;
        }
    });
    sent.await.expect("a letter is sent")
}

#[tokio::test]
async fn letters_agents_and_the_document_are_told_the_public_address() {
    let database = TestDatabase::create("nothing in it", async |_| Ok(())).await.expect("a server");
    let url = database.options().to_url_lossy().to_string();
    let data = Data::new();
    let secret = data.0.join("secret.key");
    let secret = secret.to_str().expect("the path is UTF-8");
    let settings = ["--database-url", &url, "--secret-file", secret];
    let public = ["--public-url", "https://Finnest.example.com/"];
    let served = Served::start_with(&data.0, &[&settings[..], &public].concat());

    let rosa = json!({"organisation": "acme", "email": "rosa@acme.example"});
    let path = "/api/v1/accounts/password/request_reset";
    let (asked, _) = served.send_as("", Method::POST, path, &rosa).await;
    let letter = letter(&database).await;
    let document = served.told_as("finnest.example.com", "/api/openapi.json").await;
    let metadata = "/.well-known/oauth-protected-resource/mcp";
    let agents = served.told_as("finnest.example.com", metadata).await;

    assert!(asked.is_some_and(|status| status.is_success()), "{asked:?}");
    let link = "https://finnest.example.com/reset-password?token=fin_rst_";
    assert!(letter.contains(link), "{letter}");
    assert_eq!(document["servers"][0]["url"], "https://finnest.example.com");
    assert_eq!(agents["resource"], "https://finnest.example.com/mcp");
    served.signal("-TERM");
    assert!(served.ended().success());
    database.close().await;
}

#[test]
fn an_address_that_links_cannot_begin_with_is_refused_at_the_start() {
    let data = Data::new();
    let directory = data.0.to_str().expect("the path is UTF-8");

    let (status, said) = outcome(&mut finnest(&[
        "serve",
        "--data-dir",
        directory,
        "--public-url",
        "finnest.example.com",
    ]));

    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("FINNEST_PUBLIC_URL") && said.contains("no scheme"), "{said}");
    assert!(!data.0.exists(), "nothing was begun");
}
