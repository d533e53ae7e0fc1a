//! Credential: what a client shows when it connects, and in which version of the protocol.
//!
//! The JavaScript client sends its `authToken` as a sub-protocol, since browsers let it set no
//! header; the other clients send a parameter. A token in a query string reaches logs of proxies,
//! so it is looked for there last.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What precedes the token in the list of sub-protocols.
const PREFIX: &str = "base64url.bearer.phx.";
/// The sub-protocol the server confirms; browsers fail the handshake without it.
pub(crate) const PROTOCOL: &str = "phoenix";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token among the sub-protocols of a `Sec-WebSocket-Protocol` header.
///
/// The prefix says base64url, but the client encodes with the standard alphabet; both are read.
pub(crate) fn token_of_protocols(header: &str) -> Option<String> {
    let encoded = header.split(',').find_map(|protocol| protocol.trim().strip_prefix(PREFIX))?;
    let standard = encoded.replace('-', "+").replace('_', "/");
    String::from_utf8(LENIENT.decode(standard).ok()?).ok()
}

/// What the secret of a ticket begins with.
const TICKET: &str = "fin_tkt_";

/// What a client shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A credential that lasts.
    Token(String),
    /// One that opens one connection, once.
    Ticket(String),
}

impl Shown {
    fn new(text: String) -> Self {
        if text.starts_with(TICKET) { Self::Ticket(text) } else { Self::Token(text) }
    }

    /// What is shown in place of a header: as a sub-protocol, or in the header of whoever polls.
    pub(crate) fn in_header(token: String) -> Option<Self> {
        Some(token).filter(|token| !token.is_empty()).map(Self::new)
    }

    /// What is shown among the parameters: `ticket`, where nothing that lasts is taken since
    /// addresses reach logs, or `token` as many clients call it.
    pub(crate) fn in_parameters(parameters: &[(String, String)]) -> Option<Self> {
        let named = |wanted| parameters.iter().find(|(name, _)| name == wanted);
        let filled =
            |(_, text): &(String, String)| Some(text.clone()).filter(|text| !text.is_empty());
        match named("ticket") {
            Some(ticket) => filled(ticket).map(Self::Ticket),
            None => named("token").and_then(filled).map(Self::new),
        }
    }
}

/// Whether the client speaks our version; without the parameter it means version 1.
pub(crate) fn speaks_v2(parameters: &[(String, String)]) -> bool {
    let version = parameters.iter().find(|(name, _)| name == "vsn");
    version.is_some_and(|(_, version)| version.starts_with("2.0."))
}

/// Whether a page of that origin may connect: none at all (no browser), or the host it speaks to.
pub(crate) fn is_same_origin(origin: Option<&str>, host: Option<&str>) -> bool {
    let Some(origin) = origin else { return true };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some() && authority == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_in_either_alphabet_and_with_or_without_padding() {
        let cases = [
            ("phoenix, base64url.bearer.phx.Zm4_fj8+", Some("fn?~?>")),
            ("base64url.bearer.phx.c2VjcmV0MQ==", Some("secret1")),
            ("phoenix,base64url.bearer.phx.c2VjcmV0MQ", Some("secret1")),
            ("phoenix", None),
            ("phoenix, base64url.bearer.phx.!!!", None),
            ("phoenix, base64url.bearer.phx._w", None),
        ];

        for (header, expected) in cases {
            assert_eq!(token_of_protocols(header).as_deref(), expected, "{header}");
        }
    }

    fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_ticket_goes_before_a_token() {
        let both = parameters(&[("token", "t"), ("ticket", "k")]);
        let token = parameters(&[("token", "t")]);
        let empty = parameters(&[("token", "")]);
        let as_token = parameters(&[("token", "fin_tkt_7")]);

        assert_eq!(Shown::in_parameters(&both), Some(Shown::Ticket("k".into())));
        assert_eq!(Shown::in_parameters(&token), Some(Shown::Token("t".into())));
        assert_eq!(Shown::in_parameters(&as_token), Some(Shown::Ticket("fin_tkt_7".into())));
        assert_eq!(Shown::in_parameters(&empty), None);
        assert_eq!(Shown::in_header(String::new()), None);
    }

    #[test]
    fn only_version_two_is_spoken() {
        for (version, spoken) in [("2.0.0", true), ("2.0.7", true), ("1.0.0", false), ("2", false)]
        {
            assert_eq!(speaks_v2(&parameters(&[("vsn", version)])), spoken, "{version}");
        }
        assert!(!speaks_v2(&[]));
    }

    #[test]
    fn pages_of_other_hosts_may_not_connect() {
        let host = Some("finnest.example:4000");

        assert!(is_same_origin(None, host));
        assert!(is_same_origin(Some("http://finnest.example:4000"), host));
        assert!(!is_same_origin(Some("http://finnest.example"), host));
        assert!(!is_same_origin(Some("https://evil.example"), host));
        assert!(!is_same_origin(Some("null"), host));
        assert!(!is_same_origin(Some("http://finnest.example"), None));
    }
}
