//! Peers: who is at the other end of a request, also where proxies stand in between.
//!
//! What a client writes into `X-Forwarded-For` itself is worth nothing: the header is read from its
//! end, where the nearest proxy has written, and only as far as proxies are trusted that an
//! operator has named.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use cli::Network;
use platform::Peer;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The proxies whose word is believed. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[Network]>);

impl Proxies {
    /// These proxies.
    #[must_use]
    pub fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    /// Who asks over a connection from `connected`.
    #[must_use]
    pub fn peer(&self, connected: IpAddr, headers: &HeaderMap) -> Peer {
        let connected = connected.to_canonical();
        if !self.trust(connected) {
            return Peer { address: connected, is_encrypted: false };
        }
        let mut address = connected;
        for hop in hops(headers) {
            let Ok(hop) = hop.parse::<IpAddr>() else { break };
            address = hop.to_canonical();
            if !self.trust(address) {
                break;
            }
        }
        Peer { address, is_encrypted: is_encrypted(headers) }
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| is_within(network, address))
    }
}

/// What proxies have written, the nearest first.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let written: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("")).collect();
    written.into_iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim)
}

/// What the nearest proxy says of the connection it took.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let last = headers.get_all(FORWARDED_PROTO).iter().next_back();
    let said = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    said.is_some_and(|said| said.trim().eq_ignore_ascii_case("https"))
}

fn is_within(network: &Network, address: IpAddr) -> bool {
    let (first, address, width) = match (network.address, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            (u128::from(first.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    // All bits may differ where none is given.
    let differing = (first ^ address).checked_shr(width - u32::from(network.bits)).unwrap_or(0);
    differing == 0
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies() -> Proxies {
        let network =
            |address: &str, bits| Network { address: address.parse().expect("an address"), bits };
        Proxies::new(&[network("10.0.0.0", 8), network("2001:db8::", 32)])
    }

    fn check(connected: &str, forwarded: &[&'static str], expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let connected = connected.parse().expect("an address");

        let peer = proxies().peer(connected, &headers);

        assert_eq!(peer.address.to_string(), expected, "{connected} {forwarded:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["203.0.113.9"], "192.0.2.1");
        check("10.1.2.3", &["203.0.113.9"], "203.0.113.9");
        check("::ffff:10.1.2.3", &["203.0.113.9"], "203.0.113.9");
        check("2001:db8::7", &["203.0.113.9"], "203.0.113.9");
        check("2001:db9::7", &["203.0.113.9"], "2001:db9::7");
    }

    #[test]
    fn what_a_client_writes_before_its_proxy_counts_for_nothing() {
        check("10.1.2.3", &["198.51.100.1, 203.0.113.9"], "203.0.113.9");
        check("10.1.2.3", &["198.51.100.1", "203.0.113.9, 10.9.9.9"], "203.0.113.9");
        check("10.1.2.3", &["10.8.8.8, 10.9.9.9"], "10.8.8.8");
        check("10.1.2.3", &["203.0.113.9, nonsense"], "10.1.2.3");
        check("10.1.2.3", &[""], "10.1.2.3");
    }

    #[test]
    fn a_way_is_encrypted_when_the_nearest_trusted_proxy_says_so() {
        let said = |value| {
            HeaderMap::from_iter([(
                FORWARDED_PROTO.parse().expect("a header's name"),
                HeaderValue::from_static(value),
            )])
        };
        let asked = |connected: &str, value| {
            proxies().peer(connected.parse().expect("an address"), &said(value)).is_encrypted
        };

        assert!(asked("10.1.2.3", "https"));
        assert!(asked("10.1.2.3", "http, HTTPS"));
        assert!(!asked("10.1.2.3", "https, http"));
        assert!(!asked("192.0.2.1", "https"));
    }

    #[test]
    fn a_network_without_bits_is_everything_of_its_version() {
        let everything = Network { address: "0.0.0.0".parse().expect("an address"), bits: 0 };

        assert!(is_within(&everything, "203.0.113.9".parse().expect("an address")));
        assert!(!is_within(&everything, "2001:db8::1".parse().expect("an address")));
    }
}
