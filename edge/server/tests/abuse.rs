//! What comes over a real socket and should not: each has a clear answer, and none takes more than
//! its own connection down.

#[path = "abuse/origins.rs"]
mod origins;
#[path = "abuse/quarantine.rs"]
mod quarantine;
#[path = "abuse/slow.rs"]
mod slow;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use platform::Role;
use platform::otp::Clock;
use server::origins::WebOrigins;
use server::peer::Proxies;
use server::serve::{PublicHosts, edge};
use testkit::{ACME, GLOBEX, TestSystem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything may take before a test has failed.
const SOON: Duration = Duration::from_mins(1);
const JOB_ORDERS: &str = "/api/v1/recruit/job_orders";

/// All surfaces behind a port of their own.
struct Served {
    system: TestSystem,
    address: SocketAddr,
    token: String,
}

/// What came back before the server ended the connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.unwrap_or(0), text }
    }

    /// What one header says, all its lines together.
    fn header(&self, name: &str) -> Option<String> {
        let lines = self.text.lines().skip(1).take_while(|line| !line.is_empty());
        let said: Vec<&str> = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(said, _)| said.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

async fn serve() -> Served {
    serve_with(&[], "").await
}

/// The same, open to pages of these origins.
async fn serve_open_to(origins: &[&str]) -> Served {
    serve_with(origins, "").await
}

/// The same, with more of supervision.toml.
async fn serve_with(origins: &[&str], tuning: &str) -> Served {
    let origins = WebOrigins::parse(origins).expect("they are origins");
    let bound = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    bound.set_nonblocking(true).expect("a socket can be made non-blocking");
    let address = bound.local_addr().expect("a bound socket has an address");
    let make_edge: platform::MakeEdge = Box::new(move |system| {
        edge(system, &bound, &Proxies::default(), &PublicHosts::default(), &origins)
    });
    let system = testkit::start_with(domains(), Clock::system(), tuning, make_edge).await;
    let token = system.member(ACME, Role::Staff).token().to_owned();
    Served { system, address, token }
}

fn domains() -> Vec<platform::Domain> {
    vec![recruit::domain(), onboard::domain(), pulse::domain(), reach::domain(), payroll::domain()]
}

impl Served {
    /// Sends bytes and reads to the end. A server that refuses early closes before it has read all,
    /// so writing may fail; what matters is what it said.
    async fn raw(&self, bytes: &[u8]) -> Answer {
        let talking = async {
            let mut stream = TcpStream::connect(self.address).await.expect("it listens");
            let mut read = Vec::new();
            let (mut reader, mut writer) = stream.split();
            let write = async {
                let _ = writer.write_all(bytes).await;
            };
            let hear = async {
                let _ = reader.read_to_end(&mut read).await;
            };
            tokio::join!(write, hear);
            read
        };
        let read = tokio::time::timeout(SOON, talking).await.expect("the server ends it soon");
        Answer::of(&read)
    }

    /// A head with the member's token; `more` are further lines.
    fn head(&self, line: &str, more: &str) -> String {
        let token = &self.token;
        format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n{more}\r\n"
        )
    }

    async fn post(&self, body: &[u8]) -> Answer {
        let length = format!("content-length: {}\r\n", body.len());
        let mut bytes = self.head(&format!("POST {JOB_ORDERS}"), &length).into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await
    }

    async fn get(&self, path: &str, more: &str) -> Answer {
        self.raw(self.head(&format!("GET {path}"), more).as_bytes()).await
    }

    /// A request of somebody who did nothing wrong, over another connection.
    async fn must_still_serve(&self, after: &str) {
        let answer = self.get(&format!("{JOB_ORDERS}?limit=1"), "").await;
        assert_eq!(answer.status, 200, "after {after}: {}", answer.text);
    }
}

/// The answer is a problem with this status and code.
fn check(what: &str, answer: &Answer, status: u16, code: &str) {
    let text: String = answer.text.chars().take(2_000).collect();
    assert_eq!(answer.status, status, "{what}: {text}");
    assert!(answer.text.contains("application/problem+json"), "{what}: {text}");
    assert!(answer.text.contains(&format!("\"code\":\"{code}\"")), "{what}: {text}");
}

fn order(title: &str) -> String {
    format!(r#"{{"title":"{title}","headcount":3}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_input_are_refused_in_words() {
    let served = serve().await;
    let malformed = |code| (400, code);
    let wrong = |code| (422, code);
    let mut not_utf8 = order("").into_bytes();
    not_utf8.splice(10..10, [0xff, 0xfe]);
    let big = "9".repeat(400);
    let cases: Vec<(&str, Vec<u8>, (u16, &str))> = vec![
        ("half of an object", b"{".to_vec(), malformed("malformed_json")),
        ("nothing", b"".to_vec(), wrong("malformed_input")),
        ("a list", b"[]".to_vec(), wrong("malformed_input")),
        ("two values", b"{} {}".to_vec(), malformed("malformed_json")),
        ("a number for text", br#"{"title":7,"headcount":3}"#.to_vec(), wrong("malformed_input")),
        (
            "a field nobody knows",
            br#"{"title":"a","headcount":3,"org_id":"x"}"#.to_vec(),
            wrong("malformed_input"),
        ),
        ("text without end", order(&"a".repeat(300_000)).into_bytes(), wrong("malformed_input")),
        ("a NUL", order(r"a\u0000b").into_bytes(), wrong("malformed_input")),
        ("bytes that are no UTF-8", not_utf8, malformed("malformed_json")),
        ("half of a character", order(r"\ud800").into_bytes(), malformed("malformed_json")),
        ("deep lists", "[".repeat(100_000).into_bytes(), malformed("malformed_json")),
        ("deep objects", r#"{"a":"#.repeat(100_000).into_bytes(), malformed("malformed_json")),
        (
            "a number beyond numbers",
            br#"{"title":"a","headcount":1e400}"#.to_vec(),
            malformed("malformed_json"),
        ),
        (
            "400 digits",
            format!(r#"{{"title":"a","headcount":{big}}}"#).into_bytes(),
            malformed("malformed_json"),
        ),
        (
            "30 digits",
            format!(r#"{{"title":"a","headcount":{}}}"#, &big[..30]).into_bytes(),
            wrong("malformed_input"),
        ),
        (
            "a key twice",
            br#"{"title":"a","title":"b","headcount":3}"#.to_vec(),
            wrong("duplicate_field"),
        ),
    ];

    for (what, body, (status, code)) in cases {
        let answer = served.post(&body).await;
        check(what, &answer, status, code);
        served.must_still_serve(what).await;
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_too_large_are_not_read() {
    let served = serve().await;
    let announced = served.head(&format!("POST {JOB_ORDERS}"), "content-length: 20971520\r\n");
    let mut sent = announced.clone().into_bytes();
    sent.resize(sent.len() + 20 * 1024 * 1024, b' ');

    let announced = served.raw(announced.as_bytes()).await;
    let sent = served.raw(&sent).await;

    check("20 MiB announced", &announced, 413, "body_too_large");
    // Whoever goes on sending may be cut off before it reads the answer; it is never served.
    assert!(sent.status == 413 || sent.status == 0, "{}", sent.text);
    served.must_still_serve("20 MiB").await;
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_length_and_nothing_is_smuggled_behind_it() {
    let served = serve().await;
    let post = format!("POST {JOB_ORDERS}");
    let hidden = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
    let body = order("Forklift driver");
    let cases = [
        ("two lengths", "content-length: 2\r\ncontent-length: 40\r\n", body.clone()),
        ("lengths in a list", "content-length: 2, 40\r\n", body.clone()),
        ("a length that is none", "content-length: +2\r\n", body.clone()),
        ("a negative length", "content-length: -1\r\n", body.clone()),
        ("a coding nobody knows", "transfer-encoding: xchunked\r\n", body.clone()),
        ("chunked, but not last", "transfer-encoding: chunked, identity\r\n", body.clone()),
        ("chunks that are none", "transfer-encoding: chunked\r\n", "zz\r\n\r\n".to_owned()),
        ("a chunk beyond sizes", "transfer-encoding: chunked\r\n", "f".repeat(20) + "\r\n"),
        (
            "a length and chunks",
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            format!("0\r\n\r\n{hidden}"),
        ),
        ("a header in two lines", "x-a: b\r\n c: d\r\n", String::new()),
        ("a blank before a colon", "content-length : 2\r\n", body.clone()),
    ];

    for (what, headers, body) in cases {
        let bytes = format!("{}{body}", served.head(&post, headers));
        let answer = served.raw(bytes.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{what}: {}", answer.text);
        assert_eq!(answer.text.matches("HTTP/1.1 ").count(), 1, "{what}: {}", answer.text);
        served.must_still_serve(what).await;
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_no_request_are_refused() {
    let served = serve().await;
    let mut many = String::new();
    for number in 0..10_000 {
        write!(many, "x-{number}: 1\r\n").expect("writing to a string succeeds");
    }
    let cases: [(&str, Vec<u8>, &[u16]); 8] = [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), &[400, 0]),
        ("no version", b"GET /\r\n\r\n".to_vec(), &[400, 0]),
        ("10,000 headers", served.head("GET /health", &many).into_bytes(), &[431]),
        (
            "an address of 9 KB",
            served.head(&format!("GET /api/{}", "a".repeat(9_000)), "").into_bytes(),
            &[414],
        ),
        (
            "an address of 100 KB",
            served.head(&format!("GET /{}", "a".repeat(100_000)), "").into_bytes(),
            &[414, 431],
        ),
        ("a NUL in a header", served.head("GET /health", "x-a: a\0b\r\n").into_bytes(), &[400]),
        ("a NUL in the address", served.head("GET /a\0b", "").into_bytes(), &[400]),
        ("a method of one's own", served.head("BREW /health", "").into_bytes(), &[405]),
    ];

    for (what, bytes, statuses) in cases {
        let answer = served.raw(&bytes).await;
        let text: String = answer.text.chars().take(500).collect();
        assert!(statuses.contains(&answer.status), "{what}: {text}");
        served.must_still_serve(what).await;
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_taken_as_they_are_written() {
    let served = serve().await;
    let id = uuid::Uuid::now_v7();
    let cases = [
        ("/api/v1/recruit/../operator/tree".to_owned(), 404, "no_such_route"),
        ("/api/v1/recruit/%2e%2e/operator/tree".to_owned(), 404, "no_such_route"),
        ("/api/v1//recruit/job_orders".to_owned(), 404, "no_such_route"),
        ("//api/v1/recruit/job_orders".to_owned(), 404, "no_such_route"),
        ("/api/v1/recruit/job_orders;x=1".to_owned(), 404, "no_such_route"),
        ("/api/v1/recruit/job_orders/".to_owned(), 404, "no_such_route"),
        ("/API/v1/recruit/job_orders".to_owned(), 404, "no_such_route"),
        (format!("{JOB_ORDERS}/{id}%00"), 422, "malformed_input"),
        (format!("{JOB_ORDERS}/{id}%2f..%2f"), 422, "malformed_input"),
        (format!("{JOB_ORDERS}/..%5c{id}"), 422, "malformed_input"),
        (format!("{JOB_ORDERS}/%ff"), 400, "malformed_path"),
    ];

    for (path, status, code) in cases {
        let answer = served.get(&path, "").await;
        check(&path, &answer, status, code);
    }
    served.must_still_serve("path tricks").await;
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_that_of_the_credential_whatever_a_request_says() {
    let served = serve().await;
    let created = served.post(order("Forklift driver").as_bytes()).await;
    let id = uuid_in(&created.text).expect("it was created");
    let globex = served.system.member(GLOBEX, Role::Staff).token().to_owned();
    let stranger = Served { token: globex, ..served };
    let org = format!("x-org-id: {ACME}\r\nx-organisation: {ACME}\r\nx-tenant-id: {ACME}\r\n");

    let by_header = stranger.get(&format!("{JOB_ORDERS}/{id}"), &org).await;
    let listed = stranger.get(JOB_ORDERS, &org).await;
    let by_query = stranger.get(&format!("{JOB_ORDERS}?org_id={ACME}"), "").await;
    let body = format!(r#"{{"title":"a","headcount":3,"org_id":"{ACME}"}}"#);
    let by_body = stranger.post(body.as_bytes()).await;

    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(by_header.status, 404, "{}", by_header.text);
    assert!(listed.status == 200 && !listed.text.contains(&id), "{}", listed.text);
    check("by query", &by_query, 422, "malformed_input");
    check("by body", &by_body, 422, "malformed_input");
    stranger.system.stop().await;
}

/// The last part of the address in `Location`.
fn uuid_in(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with("location:"))?;
    line.trim().rsplit('/').next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_none_are_refused_alike() {
    let served = serve().await;
    let get = |authorization: &str| {
        format!("GET {JOB_ORDERS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\r\n")
    };
    let token = &served.token;
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.";
    let cases = [
        (String::new(), "token_missing"),
        ("authorization: Bearer\r\n".to_owned(), "token_missing"),
        ("authorization: Basic YTpi\r\n".to_owned(), "token_missing"),
        (format!("authorization: Bearer {token}\r\nauthorization: Bearer x\r\n"), "token_missing"),
        (format!("authorization: Bearer {}\r\n", "x".repeat(10_000)), "token_unknown"),
        (format!("authorization: Bearer {}\r\n", token.to_uppercase()), "token_unknown"),
        (format!("authorization: Bearer {unsigned}\r\n"), "token_unknown"),
        ("authorization: Bearer \u{e9}\r\n".to_owned(), "token_missing"),
    ];

    for (authorization, code) in cases {
        let answer = served.raw(get(&authorization).as_bytes()).await;
        check(&authorization, &answer, 401, code);
        assert!(answer.text.to_ascii_lowercase().contains("www-authenticate: bearer"));
    }
    served.must_still_serve("false tokens").await;
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_forbids_foreign_scripts_and_frames() {
    let served = serve().await;

    for path in ["/", "/sign-in", "/account", "/jobs", "/api/docs", "/problems"] {
        let answer = served.get(path, "").await;
        let policy = answer.header("content-security-policy").unwrap_or_default();

        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {}", answer.text);
        assert!(policy.starts_with("default-src '"), "{path}: {}", answer.text);
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY".into()), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff".into()), "{path}");
        assert!(answer.header("referrer-policy").is_some(), "{path}");
    }
    let page = served.get("/sign-in", "").await;
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("object-src 'none'") && policy.contains("form-action 'self'"));
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_who_leave_in_the_middle_harm_nobody() {
    let served = serve().await;
    let head = served.head(&format!("POST {JOB_ORDERS}"), "content-length: 1000\r\n");

    for _ in 0..300 {
        let mut stream = TcpStream::connect(served.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        drop(stream);
    }

    served.must_still_serve("300 who left").await;
    served.system.stop().await;
}
