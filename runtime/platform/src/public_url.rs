//! The public address: how this installation is reached by those who are sent a link to it.
//!
//! It is a setting and never taken from a request: a caller who could choose the beginning of a
//! link in somebody else's letter would be sent that person's token.

use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where the installation is, without a slash at its end, for example
/// `https://finnest.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicUrl {
    text: String,
    is_said: bool,
}

/// Why text is no public address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address for links: {why}; write it like https://finnest.example.com")]
pub struct BadUrl {
    text: String,
    why: &'static str,
}

impl PublicUrl {
    /// Reads an address: `https://` or `http://`, a name or number, and a port if it is not the
    /// scheme's own.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let wrong = |why| BadUrl { text: text.escape_debug().to_string(), why };
        let (scheme, rest) = text.split_once("://").ok_or(wrong("it has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return Err(wrong("only https:// and http:// are links")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(wrong("nothing but a name and a port may follow the scheme"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority.as_str(), None),
        };
        if !is_host(host) {
            return Err(wrong("there is no name or number of a machine in it"));
        }
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0));
        let port = match port {
            Some(None) => return Err(wrong("its port is no number from 1 to 65535")),
            Some(Some(port)) if port != usual_port => format!(":{port}"),
            _ => String::new(),
        };
        Ok(Self { text: format!("{scheme}://{host}{port}"), is_said: true })
    }

    /// The address on this machine of what listens at `address`, where nobody has said another.
    #[must_use]
    pub fn of_listener(address: SocketAddr) -> Self {
        let text = if address.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        };
        Self { text, is_said: false }
    }

    /// The address, as links begin with it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address, if an operator has said it.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.is_said.then_some(self.text.as_str())
    }
}

impl Default for PublicUrl {
    /// Where a platform listens of which nobody has said anything.
    fn default() -> Self {
        Self { text: "http://127.0.0.1:4000".to_owned(), is_said: false }
    }
}

fn is_host(host: &str) -> bool {
    if let Some(number) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return number.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_plain)
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_name_and_perhaps_a_port() {
        let cases = [
            ("https://finnest.example.com", "https://finnest.example.com"),
            ("HTTPS://Finnest.Example.com/", "https://finnest.example.com"),
            ("https://finnest.example.com:443", "https://finnest.example.com"),
            ("https://finnest.example.com:8443", "https://finnest.example.com:8443"),
            ("http://10.0.0.5:4000", "http://10.0.0.5:4000"),
            ("http://[fd00::5]:80/", "http://[fd00::5]"),
        ];

        for (text, expected) in cases {
            let address = PublicUrl::parse(text).expect(text);
            assert_eq!((address.as_str(), address.said()), (expected, Some(expected)), "{text}");
        }
    }

    #[test]
    fn what_links_cannot_begin_with_is_refused_with_a_reason() {
        let cases = [
            ("", "no scheme"),
            ("finnest.example.com", "no scheme"),
            ("ftp://finnest.example.com", "only https://"),
            ("javascript://alert", "only https://"),
            ("https://", "no name"),
            ("https://a..b", "no name"),
            ("https://a b", "no name"),
            ("https://[fd00::x]", "no name"),
            ("https://ünï.example", "no name"),
            ("https://a/app", "nothing but"),
            ("https://a?x", "nothing but"),
            ("https://rosa@a", "nothing but"),
            ("https://a:0", "its port"),
            ("https://a:65536", "its port"),
            ("https://a:", "its port"),
            ("https://a\r\nx: y", "no name"),
        ];

        for (text, expected) in cases {
            let refused = PublicUrl::parse(text).expect_err(text).to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
            assert!(!refused.contains('\n'), "{text}");
        }
    }

    #[test]
    fn without_a_word_it_is_where_the_platform_listens_on_this_machine() {
        let of = |text: &str| PublicUrl::of_listener(text.parse().expect("an address"));

        assert_eq!(of("0.0.0.0:80").as_str(), "http://127.0.0.1:80");
        assert_eq!(of("[::1]:4001").as_str(), "http://[::1]:4001");
        assert_eq!(of("127.0.0.1:4000"), PublicUrl::default());
        assert_eq!(of("127.0.0.1:4000").said(), None);
    }
}
