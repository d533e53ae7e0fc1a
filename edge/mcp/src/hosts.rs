//! Our own names: under which a request may come in.
//!
//! A page of somebody else's can have a browser on this machine or in this network ask under the
//! page's own name, by letting that name stand for our address (DNS rebinding). So who asks under a
//! name that is not ours is not answered, and a browser must come from a page of ours.

use std::sync::Arc;

use axum::http::header;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use platform::PublicUrl;

use crate::door::Refused;

/// The names under which the platform is reached from elsewhere; this machine's own always count.
#[derive(Debug, Clone, Default)]
pub struct PublicHosts {
    named: Arc<[Host]>,
    /// Origins whose pages may ask besides those of our own names.
    pages: Arc<[String]>,
    /// The public address of the installation, if an operator has said it.
    public: Option<Arc<Public>>,
}

/// The public address, and the name and port by which it is asked for.
#[derive(Debug)]
struct Public {
    url: String,
    host: Host,
    usual_port: u16,
}

/// One name, with a port if only that one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    port: Option<u16>,
}

/// Text is no name of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadHost(String);

impl std::fmt::Display for BadHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(text) = self;
        write!(f, "`{text}` is no name of a host, as in finnest.example.com or 10.0.0.5:4000")
    }
}
impl std::error::Error for BadHost {}

impl PublicHosts {
    /// Reads names such as `finnest.example.com` or, if only one port counts,
    /// `finnest.example.com:8443`.
    ///
    /// # Errors
    /// [`BadHost`] names the first that is none.
    pub fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, BadHost> {
        let hosts: Result<Vec<Host>, BadHost> = texts
            .into_iter()
            .map(|text| Host::of(text.as_ref()).ok_or_else(|| BadHost(text.as_ref().to_owned())))
            .collect();
        Ok(Self { named: hosts?.into(), ..Self::default() })
    }

    /// The same, open also to pages of these origins, each as `https://app.example`.
    #[must_use]
    pub fn and_pages_of(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.pages = origins.into_iter().collect();
        self
    }

    /// The same, and the public address of the installation, which a caller who asks under its name
    /// is told as it was said.
    #[must_use]
    pub fn reached_at(self, address: &PublicUrl) -> Self {
        let public = address.said().and_then(Public::of).map(Arc::new);
        Self { public, ..self }
    }

    /// Refuses a request under a name that is not ours, or from a page that is not ours; otherwise
    /// the address of this installation as the caller writes it.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<String, Refused> {
        let host = named(parts).ok_or_else(|| {
            Refused::misdirected("the request names no host; send one Host header")
        })?;
        if !self.has(&host) {
            return Err(Refused::misdirected(&format!(
                "this server is not known as {}; its operator adds names with --public-host",
                host.name
            )));
        }
        let mut origins = parts.headers.get_all(header::ORIGIN).iter();
        let is_ours = match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| self.has_origin(origin)),
            (Some(_), Some(_)) => false,
        };
        if !is_ours {
            let message = "pages of other origins may not ask this server";
            return Err(Refused::misdirected(message));
        }
        let public = self.public.as_ref().filter(|public| public.is(&host));
        Ok(public.map_or_else(|| host.base(), |public| public.url.clone()))
    }

    fn has(&self, host: &Host) -> bool {
        let is_named = |known: &Host| {
            known.name == host.name && (known.port.is_none() || known.port == host.port)
        };
        let is_public = self.public.as_ref().is_some_and(|public| public.is(host));
        host.is_loopback() || is_public || self.named.iter().any(is_named)
    }

    /// Pages from elsewhere come encrypted or not at all.
    fn has_origin(&self, origin: &str) -> bool {
        let is_of_public = self.public.as_ref().is_some_and(|public| public.url == origin);
        if is_of_public || self.pages.iter().any(|page| page == origin) {
            return true;
        }
        let Some((scheme, rest)) = origin.split_once("://") else { return false };
        let Some(mut host) = Host::of(rest) else { return false };
        let is_usual = (scheme == "https") || (scheme == "http" && host.is_loopback());
        if scheme == "https" {
            host.port = host.port.or(Some(443));
        }
        is_usual && self.has(&host)
    }
}

impl Public {
    fn of(url: &str) -> Option<Self> {
        let (scheme, host) = url.split_once("://")?;
        let usual_port = if scheme == "https" { 443 } else { 80 };
        Some(Self { url: url.to_owned(), host: Host::of(host)?, usual_port })
    }

    /// Whether it is asked for by this name.
    fn is(&self, host: &Host) -> bool {
        let port = |host: &Host| host.port.unwrap_or(self.usual_port);
        self.host.name == host.name && port(&self.host) == port(host)
    }
}

impl Host {
    fn of(text: &str) -> Option<Self> {
        let authority = text.parse::<Authority>().ok()?;
        let (name, port) = (authority.host(), authority.port_u16());
        // What follows the name is a port or nothing of ours; no user stands before it.
        let rest = text.strip_prefix(name).filter(|_| !name.is_empty())?;
        (rest.is_empty() || port.is_some())
            .then(|| Self { name: name.trim_end_matches('.').to_ascii_lowercase(), port })
    }

    fn is_loopback(&self) -> bool {
        matches!(self.name.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }

    /// The address of this installation. From elsewhere it is reached encrypted, whoever ends it.
    fn base(&self) -> String {
        let scheme = if self.is_loopback() { "http" } else { "https" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.name),
            None => format!("{scheme}://{}", self.name),
        }
    }
}

/// The one name that a request calls us by: HTTP/2 has it in the address, HTTP/1 in a header.
fn named(parts: &Parts) -> Option<Host> {
    let mut headers = parts.headers.get_all(header::HOST).iter();
    match (headers.next(), headers.next()) {
        (Some(host), None) => Host::of(host.to_str().ok()?),
        (None, _) => parts.uri.authority().map(Authority::as_str).and_then(Host::of),
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request, Uri};

    use super::*;

    /// The parts of a request.
    fn parts(uri: &'static str, headers: &[(header::HeaderName, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(uri);
        for (name, value) in headers {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    fn admitted(headers: &[(header::HeaderName, &'static str)]) -> Option<String> {
        let hosts = PublicHosts::parse(["Finnest.example.com", "10.0.0.5:4000"]);
        hosts.expect("both are names").admit(&parts("/mcp", headers)).ok()
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for (host, expected) in [
            ("localhost:4000", Some("http://localhost:4000")),
            ("[::1]:4000", Some("http://[::1]:4000")),
            ("127.0.0.1", Some("http://127.0.0.1")),
            ("finnest.example.com", Some("https://finnest.example.com")),
            ("FINNEST.example.com.:8443", Some("https://finnest.example.com:8443")),
            ("10.0.0.5:4000", Some("https://10.0.0.5:4000")),
            ("10.0.0.5:4001", None),
            ("evil.example.com", None),
            ("localhost.evil.example.com", None),
            ("127.0.0.1@evil.example.com", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("", None),
        ] {
            assert_eq!(admitted(&[(header::HOST, host)]).as_deref(), expected, "{host}");
        }
        assert_eq!(admitted(&[]), None);
        assert_eq!(admitted(&[(header::HOST, "localhost"), (header::HOST, "localhost")]), None);
    }

    #[test]
    fn whoever_asks_under_the_public_name_is_told_the_public_address() {
        let admitted = |url: &str, host: &'static str| {
            let address = PublicUrl::parse(url).expect("an address");
            let hosts = PublicHosts::default().reached_at(&address);
            hosts.admit(&parts("/mcp", &[(header::HOST, host)])).ok()
        };

        for (url, host, expected) in [
            ("http://10.0.0.5:4000", "10.0.0.5:4000", Some("http://10.0.0.5:4000")),
            ("https://f.example.com", "F.example.com", Some("https://f.example.com")),
            ("https://f.example.com", "f.example.com:443", Some("https://f.example.com")),
            ("http://f.example.com", "f.example.com:80", Some("http://f.example.com")),
            ("https://f.example.com", "f.example.com:4000", None),
            ("https://f.example.com", "evil.example.com", None),
            ("https://f.example.com", "localhost:4000", Some("http://localhost:4000")),
        ] {
            assert_eq!(admitted(url, host).as_deref(), expected, "{url} {host}");
        }
    }

    #[test]
    fn a_page_of_the_public_address_may_ask_even_where_it_is_not_encrypted() {
        let address = PublicUrl::parse("http://10.0.0.5:4000").expect("an address");
        let hosts = PublicHosts::default().reached_at(&address);

        for (origin, expected) in [("http://10.0.0.5:4000", true), ("http://10.0.0.5:4001", false)]
        {
            let asked = parts("/mcp", &[(header::HOST, "localhost"), (header::ORIGIN, origin)]);
            assert_eq!(hosts.admit(&asked).is_ok(), expected, "{origin}");
        }
    }

    #[test]
    fn a_page_of_another_origin_may_not_ask() {
        for (origin, expected) in [
            ("https://finnest.example.com", true),
            ("http://localhost:3000", true),
            ("http://finnest.example.com", false),
            ("https://evil.example.com", false),
            ("https://10.0.0.5", false),
            ("null", false),
            ("file://localhost", false),
        ] {
            let admitted = admitted(&[(header::HOST, "localhost"), (header::ORIGIN, origin)]);
            assert_eq!(admitted.is_some(), expected, "{origin}");
        }
    }

    #[test]
    fn a_page_of_an_origin_that_the_operator_named_may_ask() {
        let hosts = PublicHosts::default().and_pages_of(["https://app.example".to_owned()]);
        let is_admitted = |origin| {
            let headers = [(header::HOST, "localhost"), (header::ORIGIN, origin)];
            hosts.admit(&parts("/mcp", &headers)).is_ok()
        };

        assert!(is_admitted("https://app.example"));
        assert!(!is_admitted("https://app.example:8443"));
        assert!(!is_admitted("https://app.example.evil"));
    }

    #[test]
    fn an_address_that_names_a_host_counts_as_the_header_does() {
        let hosts = PublicHosts::default();

        assert!(hosts.admit(&parts("http://localhost:4000/mcp", &[])).is_ok());
        assert!(hosts.admit(&parts("http://evil.example.com/mcp", &[])).is_err());
    }

    #[test]
    fn what_is_no_name_is_refused_before_the_start() {
        for text in ["", "https://finnest.example.com", "a b", "x:99999"] {
            assert!(PublicHosts::parse([text]).is_err(), "{text}");
        }
    }
}
