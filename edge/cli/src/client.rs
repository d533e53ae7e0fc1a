//! The client: sends a call to a running platform and tells apart how it can go wrong.
//!
//! It speaks plain HTTP. Encryption is the business of the proxy in front of the platform, and a
//! second implementation of it here would be one more thing to keep safe.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Http, Error as HttpError};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::options::{Secret, Server};
use crate::route::Call;
use crate::session::Session;
use crate::words::harmless;

/// The code of a token that is nobody's, or nobody's any more.
const TOKEN_UNKNOWN: &str = "token_unknown";
/// The code of a supervision.toml that cannot be applied.
const WRONG_PAGE: &str = "wrong_page";
/// How long an ordinary call may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// What is left to say when a request was sent and nothing came back.
const UNKNOWN: &str = "what was asked may or may not have happened";
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A way to a running platform.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    base: String,
    token: Option<Secret>,
    /// Where the token comes from, if it is one of those that end after minutes.
    session: Option<Session>,
}

/// Why there is no answer to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The token, or the idempotency key, has characters that no header can carry.
    #[error("the {0} has characters that cannot be sent; is it complete and on one line?")]
    Header(&'static str),
    /// Nobody listens there.
    #[error(
        "no platform answers at {url}; is it running? Start it with `finnest serve`, or set --url"
    )]
    NotReachable { url: String },
    /// The connection ended before the answer did.
    #[error("the connection to {url} was lost before the answer came; {}", UNKNOWN)]
    Lost { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The answer did not come in time.
    #[error("{url} gave no answer within {} s; {}", .patience.as_secs(), UNKNOWN)]
    TooSlow { url: String, patience: Duration },
    /// Something else listens there.
    #[error(
        "what answers at {url} is no Finnest: it said {status} without JSON; is the address right?"
    )]
    Stranger { url: String, status: StatusCode },
    /// The platform said no, or failed.
    #[error("{}", .problem.detail)]
    Problem { status: StatusCode, problem: Box<Problem> },
    /// The answer cannot be printed.
    #[error("the answer cannot be printed")]
    Output(#[from] io::Error),
    /// The config file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The session of a profile is over.
    #[error("the session of the profile `{profile}` has ended; {}", sign_in(.profile))]
    Ended { profile: String },
    /// The answer is not what it should be.
    #[error("{url} answered in words that this program does not know; is it of another version?")]
    Unexpected { url: String },
    /// What the person was asked for, or has to do elsewhere.
    #[error("{words}")]
    Person { words: String, exit: Exit },
    /// More pages than are taken at once.
    #[error("there are more than {0} items; narrow the question, or read page by page")]
    TooMany(usize),
}

/// A refusal or failure as the platform words it (RFC 9457).
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    instance: Option<String>,
    #[serde(default)]
    errors: Vec<FieldProblem>,
    #[serde(skip)]
    retry_after: Option<String>,
}

/// What is wrong with one field.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct FieldProblem {
    /// Where it is: the flag that fills it, once that is known.
    #[serde(default)]
    pointer: String,
    /// Where it is in the input.
    #[serde(skip)]
    place: String,
    #[serde(default, alias = "detail")]
    message: String,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Result<Self, Trouble> {
        server.token.as_ref().map(bearer).transpose()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        let http = Http::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, base: base(&server.url)?, token: server.token.clone(), session: None })
    }

    /// The same with the tokens of a session, which it renews by itself.
    pub(crate) fn with_session(mut self, session: Option<Session>) -> Self {
        self.session = session;
        self
    }

    /// The address asked.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Sends `call` and answers what the platform said; null when it said nothing.
    pub(crate) async fn send(&self, call: &Call, patience: Duration) -> Result<Value, Trouble> {
        let Some(session) = &self.session else {
            return self.send_as(self.token.as_ref(), call, patience).await;
        };
        let token = session.token(&self.base).await?;
        match self.send_as(Some(&token), call, patience).await {
            // Whoever is not known has changed nothing, so the same may be asked again.
            Err(trouble) if trouble.is(TOKEN_UNKNOWN) => {
                let token = session.token_after(&self.base, &token).await?;
                self.send_as(Some(&token), call, patience).await
            }
            answer => answer,
        }
    }

    async fn send_as(
        &self,
        token: Option<&Secret>,
        call: &Call,
        patience: Duration,
    ) -> Result<Value, Trouble> {
        let request = self.request(token, call)?;
        let answer = tokio::time::timeout(patience, self.exchange(request)).await;
        let answer = answer.map_err(|_| Trouble::TooSlow { url: self.base.clone(), patience })?;
        answer.map_err(|trouble| trouble.in_flags(&call.flags))
    }

    /// Sends what needs no token.
    pub(crate) async fn send_as_nobody(&self, call: &Call) -> Result<Value, Trouble> {
        self.send_as(None, call, PATIENCE).await
    }

    fn request(
        &self,
        token: Option<&Secret>,
        call: &Call,
    ) -> Result<Request<Full<Bytes>>, Trouble> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.target))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("finnest/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, bearer(token)?);
        }
        if let Some(key) = &call.idempotency_key {
            let key = HeaderValue::try_from(key).map_err(|_| Trouble::Header("idempotency key"))?;
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(id) = &call.correlation_id {
            let id = HeaderValue::try_from(id).map_err(|_| Trouble::Header("correlation id"))?;
            request = request.header(CORRELATION_ID, id);
        }
        if let Some(version) = &call.expected_version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        let body = match &call.body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                body.to_string().into()
            }
        };
        let no_address = |error: hyper::http::Error| {
            Trouble::Address(format!(
                "the address {}{} cannot be asked: {error}",
                self.base, call.target
            ))
        };
        request.body(Full::new(body)).map_err(no_address)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Value, Trouble> {
        let response = self.http.request(request).await.map_err(|error| self.not_sent(error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| Trouble::Lost { url: self.base.clone(), source })?;
        self.read(&Response::from_parts(parts, body.to_bytes()))
    }

    fn not_sent(&self, error: HttpError) -> Trouble {
        let url = self.base.clone();
        if error.is_connect() {
            Trouble::NotReachable { url }
        } else {
            Trouble::Lost { url, source: error.into() }
        }
    }

    fn read(&self, response: &Response<Bytes>) -> Result<Value, Trouble> {
        let status = response.status();
        let stranger = || Trouble::Stranger { url: self.base.clone(), status };
        if status.is_success() {
            return match response.body().as_ref() {
                [] => Ok(Value::Null),
                body => serde_json::from_slice(body).map_err(|_| stranger()),
            };
        }
        let mut problem: Problem =
            serde_json::from_slice(response.body()).map_err(|_| stranger())?;
        if problem.detail.is_empty() {
            problem.detail = format!("{status}: {}", problem.title);
        }
        let after =
            response.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok());
        problem.retry_after = after.map(str::to_owned);
        for field in &mut problem.errors {
            field.place.clone_from(&field.pointer);
        }
        Err(Trouble::Problem { status, problem: Box::new(problem) })
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, Trouble> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| Trouble::Header("token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether two addresses are those of one platform, as far as their words tell.
pub(crate) fn is_same_place(one: &str, other: &str) -> bool {
    matches!((base(one), base(other)), (Ok(one), Ok(other)) if one == other)
}

/// How to go on with a profile that has no session any more.
pub(crate) fn sign_in(profile: &str) -> String {
    format!("sign in again: finnest sign-in --use {}", harmless(profile))
}

/// The address without a slash at its end. `http://` may be left out.
fn base(url: &str) -> Result<String, Trouble> {
    let wrong = |why: &str| Trouble::Address(format!("the address `{url}` cannot be used: {why}"));
    let url = url.trim().trim_end_matches('/');
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = url.parse().map_err(|_| wrong("write it like http://127.0.0.1:4000"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(wrong(
                "https is not spoken here; ask the platform itself over http, or put a \
                 proxy on this machine that adds the encryption",
            ));
        }
        _ => return Err(wrong("only http:// is spoken here")),
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@'))
        || uri.query().is_some()
    {
        return Err(wrong("write it like http://127.0.0.1:4000; a token goes into FINNEST_TOKEN"));
    }
    Ok(url)
}

impl Trouble {
    /// How a command ends that met this.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Address(_) | Self::Header(_) | Self::TooMany(_) | Self::Config(_) => {
                Exit::Refused
            }
            Self::Ended { .. } => Exit::Unauthenticated,
            Self::Person { exit, .. } => *exit,
            Self::Problem { status, .. } => Exit::of(*status),
            // Who closed the pipe has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            _ => Exit::Failed,
        }
    }

    /// Whether the platform refused with this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Problem { problem, .. } if problem.code == code)
    }

    /// Whether somebody who follows should keep trying.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotReachable { .. } | Self::Lost { .. } | Self::TooSlow { .. } => true,
            Self::Problem { status, .. } => Exit::of(*status).is_passing(),
            _ => false,
        }
    }

    /// The same, naming the flags that fill the places complained of.
    fn in_flags(mut self, flags: &[(String, String)]) -> Self {
        if let Self::Problem { problem, .. } = &mut self {
            for field in &mut problem.errors {
                let fits = flags.iter().filter_map(|(place, flag)| {
                    let rest = field.pointer.strip_prefix(place.as_str())?;
                    let is_place = rest.is_empty() || rest.starts_with('/');
                    is_place.then(|| (place.len(), format!("--{flag}{}", rest.replace('/', " "))))
                });
                if let Some((_, named)) = fits.max() {
                    field.pointer = named;
                }
            }
        }
        self
    }

    /// What the person is told, and what to do about it.
    pub(crate) fn words(&self) -> String {
        let mut words = format!("{self}");
        let Self::Problem { status, problem } = self else { return words };
        words = harmless(&words);
        if let [field] = problem.errors.as_slice()
            && problem.detail == format!("{}: {}", field.place, field.message)
        {
            // The sentence is the one complaint again, in the words of REST.
            "one field is not as it should be".clone_into(&mut words);
        }
        for field in &problem.errors {
            let repeats = field.message == problem.detail && problem.errors.len() == 1;
            let place = if field.pointer.is_empty() { "the input" } else { &field.pointer };
            let line = match problem.code.as_str() {
                // Each of its mistakes says where it is.
                WRONG_PAGE => field.message.clone(),
                _ if repeats => place.to_owned(),
                _ => format!("{place}: {}", field.message),
            };
            let _ = write!(words, "\n  {}", harmless(&line));
        }
        let mut notes = Vec::new();
        if !problem.code.is_empty() {
            notes.push(format!("code {}", problem.code));
        }
        if let Some(instance) = &problem.instance {
            notes.push(format!("request {}", instance.trim_start_matches("urn:uuid:")));
        }
        if let Some(after) = &problem.retry_after {
            notes.push(format!("try again in {after} s"));
        }
        if !notes.is_empty() {
            let _ = write!(words, "\n  ({})", harmless(&notes.join(", ")));
        }
        // Whoever gave a wrong password knows that they are asked who they are.
        if *status == StatusCode::UNAUTHORIZED && !problem.code.ends_with("_refused") {
            words.push_str(
                "\nSay who you are: `finnest sign-in`, or set FINNEST_TOKEN, or name a profile of \
                 the config file with --use. A platform started with `finnest serve --demo` prints \
                 the tokens of its users.",
            );
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let url = "http://127.0.0.1:4000/".into();
        let server = Server { url, token: Some("t0k".into()), profile: None };
        Client::new(&server).expect("a client")
    }

    fn answer(status: u16, body: &'static str) -> Result<Value, Trouble> {
        let response = Response::builder().status(status).header("retry-after", "2");
        client().read(&response.body(Bytes::from_static(body.as_bytes())).expect("a response"))
    }

    #[test]
    fn an_address_is_plain_http_and_may_leave_that_out() {
        let good = [
            ("http://a:1/", "http://a:1"),
            ("a:4000", "http://a:4000"),
            ("http://[::1]:4000", "http://[::1]:4000"),
            ("http://a/finnest/", "http://a/finnest"),
        ];
        for (given, expected) in good {
            assert_eq!(base(given).expect(given), expected);
        }

        for given in
            ["", "https://a", "ftp://a", "http://me:secret@a", "http://a?x=1", "http://a b"]
        {
            let trouble = base(given).expect_err(given);
            assert_eq!(trouble.exit(), Exit::Refused, "{given}");
        }
        assert!(base("https://a").expect_err("https").words().contains("proxy"));
    }

    #[test]
    fn a_request_carries_who_asks_and_what() {
        let call = Call {
            method: hyper::Method::POST,
            target: "/api/v1/recruit/job_orders".into(),
            body: Some(serde_json::json!({"a": 1})),
            idempotency_key: Some("k".into()),
            correlation_id: Some("c".into()),
            expected_version: Some("3".into()),
            flags: Vec::new(),
        };

        let request = client().request(Some(&"t0k".into()), &call).expect("a request");

        assert_eq!(request.uri(), "http://127.0.0.1:4000/api/v1/recruit/job_orders");
        assert_eq!(request.headers()["authorization"], "Bearer t0k");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.headers()["idempotency-key"], "k");
        assert_eq!(request.headers()["x-correlation-id"], "c");
        assert_eq!(request.headers()["if-match"], "\"3\"");
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_without_showing_it() {
        let server = Server { url: "a".into(), token: Some("s3cret\n".into()), profile: None };

        let trouble = Client::new(&server).expect_err("a line break");

        assert!(trouble.words().contains("the token") && !trouble.words().contains("s3cret"));
    }

    #[test]
    fn a_refusal_prints_its_sentence_its_fields_and_its_code() {
        let trouble = answer(
            422,
            r#"{"detail": "2 fields are not as they should be", "code": "malformed_input",
                "instance": "urn:uuid:7", "errors": [
                    {"pointer": "/headcount", "message": "0 is less than 1"},
                    {"pointer": "", "message": "\"title\" is missing\u001b[2J"}
                ]}"#,
        )
        .expect_err("a refusal");

        assert_eq!(trouble.exit(), Exit::Refused);
        insta::assert_snapshot!(trouble.words(), @r#"
        2 fields are not as they should be
          /headcount: 0 is less than 1
          the input: "title" is missing [2J
          (code malformed_input, request 7, try again in 2 s)
        "#);
    }

    #[test]
    fn a_message_that_only_repeats_the_sentence_is_said_once() {
        let trouble = answer(
            409,
            r#"{"detail": "too late", "errors": [{"pointer": "/slot", "message": "too late"}]}"#,
        );

        let words = trouble.expect_err("a refusal").words();

        assert_eq!(words, "too late\n  /slot\n  (try again in 2 s)");
    }

    #[test]
    fn who_is_not_known_is_told_how_to_pass_a_token() {
        let trouble =
            answer(401, r#"{"detail": "nobody is known by this token"}"#).expect_err("a refusal");

        assert!(trouble.words().contains("FINNEST_TOKEN"), "{}", trouble.words());
    }

    #[test]
    fn outages_pass_and_refusals_do_not() {
        let cases =
            [(503, true), (500, true), (429, true), (401, false), (404, false), (422, false)];

        for (status, is_passing) in cases {
            let trouble = answer(status, r#"{"title": "x"}"#).expect_err("a problem");
            assert_eq!(trouble.is_passing(), is_passing, "{status}");
        }
    }

    #[test]
    fn a_single_complaint_is_made_once() {
        let problem = r#"{"detail": "/headcount: 0 is less than 1", "errors": [
            {"pointer": "/headcount", "message": "0 is less than 1"}]}"#;
        let flags = [("/headcount".to_owned(), "headcount".to_owned())];

        let words = answer(422, problem).expect_err("a refusal").in_flags(&flags).words();

        insta::assert_snapshot!(words, @"
        one field is not as it should be
          --headcount: 0 is less than 1
          (try again in 2 s)
        ");
    }

    #[test]
    fn what_is_not_json_is_not_taken_for_an_answer() {
        for status in [200, 404, 502] {
            assert!(matches!(answer(status, "<html>"), Err(Trouble::Stranger { .. })), "{status}");
        }
        assert_eq!(answer(204, "").expect("nothing to say"), Value::Null);
    }

    #[test]
    fn a_complaint_names_the_flag_that_fills_the_place() {
        let problem = r#"{"detail": "3 fields", "code": "malformed_input", "errors": [
            {"pointer": "/headcount", "message": "0 is less than 1"},
            {"pointer": "/site/city", "message": "too short"},
            {"pointer": "/skills/2", "message": "no code"},
            {"pointer": "/skillset", "message": "unknown"}
        ]}"#;
        let flags = [
            ("/headcount", "headcount"),
            ("/site", "site"),
            ("/site/city", "site.city"),
            ("/skills", "skills"),
        ];
        let flags = flags.map(|(place, flag)| (place.to_owned(), flag.to_owned()));

        let words = answer(422, problem).expect_err("a refusal").in_flags(&flags).words();

        insta::assert_snapshot!(words, @r#"
        3 fields
          --headcount: 0 is less than 1
          --site.city: too short
          --skills 2: no code
          /skillset: unknown
          (code malformed_input, try again in 2 s)
        "#);
    }
}
