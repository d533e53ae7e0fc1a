//! A store that speaks S3, as a place for checkpoints: each object with a retention in compliance
//! mode, so that nobody deletes or overwrites it before its time, not even who owns the bucket.
//!
//! Two requests are all it takes, so they are signed here (AWS Signature Version 4) and sent by the
//! HTTP client that is in the tree anyway. The signature covers the content, so a listener on a
//! plain connection can read hashes and the ids of organisations, but change nothing.

use std::fmt::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::kernel::{Digest, Timestamp};
use platform::otp::Clock;
use platform::store::checkpoint::{CheckpointStore, ExportError};
use sha2::Sha256;

/// The largest object that is read back, in bytes.
const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Who signs requests.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half; never printed.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Credentials").field(&self.access_key_id).finish()
    }
}

/// A folder of a bucket with object lock.
#[derive(Debug, Clone)]
pub struct Bucket {
    http: Client<HttpConnector, Full<Bytes>>,
    authority: String,
    /// From the bucket on, with a slash at both ends.
    folder: String,
    region: String,
    credentials: Credentials,
    retention: Duration,
    clock: Clock,
}

/// An address that names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no bucket: expected is http://host:port/bucket or http://host:port/bucket/folder, of \
     letters, digits, `-`, `_` and `.`; for https, put a proxy in between"
)]
pub struct BadAddress(String);

/// What a store said when it did not keep an object.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the store cannot be reached")]
    NotReachable(#[from] hyper_util::client::legacy::Error),
    #[error("the answer of the store broke off")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the request cannot be made")]
    Request(#[from] hyper::http::Error),
    #[error("the store says {status}: {words}")]
    Refused { status: StatusCode, words: String },
}

impl Bucket {
    /// The folder at `address`, whose objects are kept for `retention`.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn new(
        address: &str,
        region: &str,
        credentials: Credentials,
        retention: Duration,
        clock: Clock,
    ) -> Result<Self, BadAddress> {
        let refuse = || BadAddress(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| refuse())?;
        let path = uri.path().trim_matches('/');
        let is_plain = |step: &str| {
            let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !step.is_empty() && step.bytes().all(is_known)
        };
        if uri.scheme_str() != Some("http") || !path.split('/').all(is_plain) {
            return Err(refuse());
        }
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            authority: uri.authority().ok_or_else(refuse)?.to_string(),
            folder: format!("/{path}/"),
            region: region.to_owned(),
            credentials,
            retention,
            clock,
        })
    }

    /// Puts an object that is not there yet; answers whether it was put.
    async fn put(&self, file: &str, bytes: &[u8]) -> Result<bool, Trouble> {
        let now = self.clock.now();
        let until = now + self.retention;
        let headers = [
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", STANDARD.encode(Digest::of(bytes).as_bytes())),
            ("x-amz-object-lock-mode", "COMPLIANCE".to_owned()),
            ("x-amz-object-lock-retain-until-date", until.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ];
        match self.send(&Method::PUT, file, &headers, bytes, now).await {
            Ok(_) => Ok(true),
            Err(Trouble::Refused { status: StatusCode::PRECONDITION_FAILED, .. }) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    async fn get(&self, file: &str) -> Result<Bytes, Trouble> {
        self.send(&Method::GET, file, &[], &[], self.clock.now()).await
    }

    async fn send(
        &self,
        method: &Method,
        file: &str,
        headers: &[(&'static str, String)],
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Bytes, Trouble> {
        let path = format!("{}{file}", self.folder);
        let mut signed: Vec<(&str, String)> = headers.to_vec();
        signed.push(("host", self.authority.clone()));
        signed.push(("x-amz-content-sha256", Digest::of(bytes).to_string()));
        signed.push(("x-amz-date", now.format("%Y%m%dT%H%M%SZ").to_string()));
        signed.sort_unstable();
        let authorization = authorization(
            &self.credentials,
            &self.region,
            (method.as_str(), &path),
            &signed,
            now,
            &Digest::of(bytes),
        );
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
            .header("authorization", authorization);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(bytes)))?;
        let answer = self.http.request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), OBJECT_BYTES_MAX).collect().await;
        let body = body.map_err(Trouble::Lost)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let words: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        Err(Trouble::Refused { status, words })
    }
}

impl CheckpointStore for Bucket {
    fn name(&self) -> String {
        format!("bucket http://{}{}", self.authority, self.folder)
    }

    fn keep(
        &self,
        file: String,
        bytes: Vec<u8>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + '_>> {
        Box::pin(async move {
            let refuse = |trouble: Trouble| ExportError::Refused {
                file: file.clone(),
                source: trouble.into(),
            };
            if self.put(&file, &bytes).await.map_err(refuse)? {
                return Ok(());
            }
            // It may be ours, from before a crash or an answer that was lost.
            let kept = self.get(&file).await.map_err(refuse)?;
            if kept == bytes { Ok(()) } else { Err(ExportError::Taken { file }) }
        })
    }
}

/// The header that proves who sends this request, and that nobody changed it on the way.
///
/// `headers` are all that are signed, in lower case and sorted.
fn authorization(
    credentials: &Credentials,
    region: &str,
    (method, path): (&str, &str),
    headers: &[(&str, String)],
    now: Timestamp,
    content: &Digest,
) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{method}\n{path}\n\n");
    for (name, value) in headers {
        writeln!(canonical, "{name}:{value}").expect("writing to a string cannot fail");
    }
    write!(canonical, "\n{names}\n{content}").expect("writing to a string cannot fail");
    let day = now.format("%Y%m%d").to_string();
    let scope = format!("{day}/{region}/s3/aws4_request");
    let instant = now.format("%Y%m%dT%H%M%SZ");
    let canonical = Digest::of(canonical.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{instant}\n{scope}\n{canonical}");
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [day.as_str(), region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| keyed(&key, part).as_bytes().to_vec());
    let signature = keyed(&key, &to_sign);
    let id = &credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

fn keyed(key: &[u8], text: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length of key will do");
    mac.update(text.as_bytes());
    Digest(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use axum::response::IntoResponse;

    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        }
    }

    #[test]
    fn a_request_is_signed_as_the_documentation_of_s3_signs_it() {
        let content = Digest::of(b"Welcome to Amazon S3.");
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", content.to_string()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
        ];
        let now = "2013-05-24T00:00:00Z".parse().expect("an instant");

        let header = authorization(
            &credentials(),
            "us-east-1",
            ("PUT", "/test%24file.text"),
            &headers,
            now,
            &content,
        );

        let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        assert!(header.ends_with(&format!("Signature={signature}")), "{header}");
    }

    #[test]
    fn an_address_names_a_bucket_over_http() {
        let bucket = |address: &str| {
            let retention = Duration::from_secs(1);
            Bucket::new(address, "us-east-1", credentials(), retention, Clock::system())
        };

        let named = bucket("http://store:9000/audit/finnest/").expect("a bucket");

        assert_eq!(named.name(), "bucket http://store:9000/audit/finnest/");
        for wrong in ["https://store/audit", "http://store", "store/audit", "http://store/a b"] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
    }

    /// Objects by their paths, with the headers they came with.
    type Objects = Arc<Mutex<HashMap<String, (HeaderMap, Bytes)>>>;

    /// Keeps what is signed rightly, once, as a bucket with object lock does.
    async fn answer(
        State(objects): State<Objects>,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> impl IntoResponse {
        let text = |name: &str| headers[name].to_str().expect("text").to_owned();
        let given = text("authorization");
        let names = given.split("SignedHeaders=").nth(1).expect("there are some");
        let names = names.split(',').next().expect("there are some");
        let signed: Vec<(&str, String)> = names.split(';').map(|name| (name, text(name))).collect();
        let now = chrono_of(&text("x-amz-date"));
        let request = (method.as_str(), uri.path());
        let content = Digest::of(&body);
        let expected = authorization(&credentials(), "eu-test-1", request, &signed, now, &content);
        let is_true = given == expected && text("x-amz-content-sha256") == content.to_string();
        let mut objects = objects.lock().expect("no panic");
        match objects.get(uri.path()) {
            _ if !is_true => (StatusCode::FORBIDDEN, Bytes::from_static(b"SignatureDoesNotMatch")),
            Some((_, kept)) if method == Method::GET => (StatusCode::OK, kept.clone()),
            Some(_) => (StatusCode::PRECONDITION_FAILED, Bytes::new()),
            None => {
                objects.insert(uri.path().to_owned(), (headers, body));
                (StatusCode::OK, Bytes::new())
            }
        }
    }

    fn chrono_of(instant: &str) -> Timestamp {
        let (day, time) = instant.trim_end_matches('Z').split_once('T').expect("an instant");
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &day[..4],
            &day[4..6],
            &day[6..],
            &time[..2],
            &time[2..4],
            &time[4..]
        );
        text.parse().expect("an instant")
    }

    #[tokio::test]
    async fn an_object_is_locked_and_never_overwritten() {
        let objects = Objects::default();
        let router = Router::new().fallback(answer).with_state(objects.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}/audit/log", listener.local_addr().expect("an address"));
        let served = std::future::IntoFuture::into_future(axum::serve(listener, router));
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("an instant"));
        let bucket = |secret: &str| {
            let credentials = Credentials { secret_access_key: secret.to_owned(), ..credentials() };
            let retention = Duration::from_hours(24);
            Bucket::new(&address, "eu-test-1", credentials, retention, clock.clone())
                .expect("an address")
        };
        let ours = bucket(&credentials().secret_access_key);
        let stranger = bucket("guessed");

        let kept = async {
            let refused = stranger.keep("one".into(), b"forged".to_vec()).await;
            let first = ours.keep("one".into(), b"checkpoint".to_vec()).await;
            let again = ours.keep("one".into(), b"checkpoint".to_vec()).await;
            let other = ours.keep("one".into(), b"another".to_vec()).await;
            (refused, first, again, other)
        };
        let (refused, first, again, other) = tokio::select! {
            kept = kept => kept,
            _ = served => unreachable!("it serves for ever"),
        };

        assert!(matches!(refused, Err(ExportError::Refused { .. })), "{refused:?}");
        assert!(first.is_ok() && again.is_ok(), "{first:?} {again:?}");
        assert!(matches!(other, Err(ExportError::Taken { .. })), "{other:?}");
        let objects = objects.lock().expect("no panic");
        let (headers, _) = &objects["/audit/log/one"];
        assert_eq!(headers["x-amz-object-lock-mode"], "COMPLIANCE");
        assert_eq!(headers["x-amz-object-lock-retain-until-date"], "2026-01-02T00:00:00Z");
        let checksum = STANDARD.encode(Digest::of(b"checkpoint").as_bytes());
        assert_eq!(headers["x-amz-checksum-sha256"], checksum.as_str());
    }
}
