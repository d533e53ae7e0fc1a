//! Admission: how often a caller may ask, whatever the door it comes in by.
//!
//! Each credential, each organisation and each address of callers without a credential has a bucket
//! that fills at a steady rate ([edge] in supervision.toml). A request takes one piece out of the
//! caller's own bucket and one out of its organisation's; who finds one of them empty is told when
//! to ask again. All surfaces of one node share the buckets; other nodes have their own, so a
//! caller that spreads its requests over the nodes may ask that much more often.
//!
//! **Invariant:** memory is bounded by what is asked for of late: a bucket that is full again is
//! forgotten, and addresses, which anybody can have many of, share a fixed number of buckets.

use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use kernel::OrgId;
use otp::config::{Rate, RateTuning};
use tokio::time::Instant;
use uuid::Uuid;

use crate::identity::Identity;
use crate::refusal::{Error, Result};
use crate::system::System;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// Somebody known by a credential.
    Known(&'a Identity),
    /// Somebody at this address who has shown no credential, or one that nobody has.
    Stranger(IpAddr),
}

impl Caller<'static> {
    /// Whoever sends a request and has shown nothing. Without a listener in front, as in tests,
    /// nobody knows where from, and all are one.
    #[must_use]
    pub fn stranger(peer: Option<&Peer>) -> Self {
        Self::Stranger(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address))
    }
}

/// Who is at the other end of a request, as the listener knows it; it puts this into each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address: that of the connection, or what a trusted proxy says of its own peer.
    pub address: IpAddr,
    /// Whether the way to it is encrypted, as a trusted proxy says.
    pub is_encrypted: bool,
}

/// What a caller may still ask for: the limit that it comes nearest to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Whose limit it is: `credential`, `organisation` or `address`.
    pub policy: &'static str,
    /// Requests at once after a silence.
    pub burst: u32,
    /// How long it takes until an empty bucket is full.
    pub window: Duration,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// How long it takes until the bucket is full again.
    pub full_after: Duration,
}

impl System {
    /// Lets a request in, or tells when it may come again.
    ///
    /// For surfaces, once for each request they take: REST for each HTTP request, MCP for each call
    /// of a tool, sockets for each join and each message that calls an operation. After the
    /// credential was found: with [`Caller::Known`]; where an operation needs none, or the one
    /// shown is unknown, with [`Caller::Stranger`] and the address of the request's [`Peer`].
    ///
    /// # Errors
    /// [`Error::Limited`], which knows when to ask again.
    pub fn admit(&self, caller: Caller<'_>) -> Result<Budget> {
        self.limits().admit(self.tuning().rates(), caller)
    }
}

/// The buckets of this node.
pub(crate) struct Limits {
    clock: TokioClock,
    buckets: RwLock<Arc<Buckets>>,
    hasher: RandomState,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let clock = TokioClock { origin: Instant::now() };
        let buckets = Arc::new(Buckets::new(RateTuning::default(), clock));
        Self { clock, buckets: RwLock::new(buckets), hasher: RandomState::new() }
    }

    fn admit(&self, rates: RateTuning, caller: Caller<'_>) -> Result<Budget> {
        let buckets = self.buckets(rates);
        match caller {
            Caller::Stranger(address) => buckets.addresses.take(&self.place_of(address)),
            Caller::Known(identity) => {
                let credential = &identity.credential;
                // What was made from a session, again and again, asks for that session.
                let own =
                    buckets.credentials.take(&credential.parent_id.unwrap_or(credential.id))?;
                let shared = buckets.organisations.take(&identity.org_id)?;
                Ok(if shared.remaining < own.remaining { shared } else { own })
            }
        }
    }

    /// The buckets for these rates; a page with other ones begins with full buckets.
    fn buckets(&self, rates: RateTuning) -> Arc<Buckets> {
        {
            let held = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
            if held.rates == rates {
                return Arc::clone(&held);
            }
        }
        let fresh = Arc::new(Buckets::new(rates, self.clock));
        let mut held = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if held.rates != rates {
            *held = fresh;
        }
        Arc::clone(&held)
    }

    /// Who has one address of IPv6 has 2⁶⁴ of them.
    fn place_of(&self, address: IpAddr) -> u16 {
        let address = address.to_canonical();
        let network = match address {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                u64::try_from(address.to_bits() >> 64).expect("half of 128 bits are 64")
            }
        };
        let hash = self.hasher.hash_one((address.is_ipv4(), network));
        u16::try_from(hash & u64::from(u16::MAX)).expect("it is masked")
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}

struct Buckets {
    rates: RateTuning,
    credentials: Keyed<Uuid>,
    organisations: Keyed<OrgId>,
    addresses: Keyed<u16>,
}

impl Buckets {
    fn new(rates: RateTuning, clock: TokioClock) -> Self {
        Self {
            credentials: Keyed::new("credential", rates.credential, clock),
            organisations: Keyed::new("organisation", rates.organisation, clock),
            addresses: Keyed::new("address", rates.address, clock),
            rates,
        }
    }
}

/// One bucket for each key that was asked for of late.
struct Keyed<K: Hash + Eq + Clone> {
    policy: &'static str,
    quota: Quota,
    limiter: Limiter<K>,
    taken: AtomicU64,
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, TokioClock, StateInformationMiddleware>;

/// After so many requests, buckets that are full again are forgotten.
const SWEEP_EVERY: u64 = 4_096;

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(policy: &'static str, rate: Rate, clock: TokioClock) -> Self {
        let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst));
        let limiter = RateLimiter::dashmap_with_clock(quota, clock).with_middleware();
        Self { policy, quota, limiter, taken: AtomicU64::new(0) }
    }

    fn take(&self, key: &K) -> Result<Budget> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let burst = self.quota.burst_size().get();
        let taken = self.limiter.check_key(key).map_err(|not| {
            let wait = not.wait_time_from(self.limiter.clock().now());
            let rate = Duration::from_secs(1).div_duration_f64(self.quota.replenish_interval());
            let message = format!(
                "this {} may ask {rate:.0} times a second, and {burst} times at once after a \
                 silence",
                self.policy
            );
            Error::limited(message, wait)
        })?;
        let remaining = taken.remaining_burst_capacity();
        Ok(Budget {
            policy: self.policy,
            burst,
            window: self.quota.burst_size_replenished_in(),
            remaining,
            full_after: self.quota.replenish_interval() * (burst - remaining.min(burst)),
        })
    }
}

/// Tokio's clock, which tests hold still.
#[derive(Debug, Clone, Copy)]
struct TokioClock {
    origin: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use kernel::{Role, SecondFactor, UserId};

    use super::*;
    use crate::identity::{Credential, CredentialKind};
    use crate::refusal::Kind;

    fn rates() -> RateTuning {
        RateTuning {
            credential: Rate { per_second: 2, burst: 3 },
            organisation: Rate { per_second: 4, burst: 5 },
            address: Rate { per_second: 1, burst: 2 },
        }
    }

    fn somebody(org_id: OrgId) -> Identity {
        Identity {
            user_id: UserId::new(),
            name: "Ada".into(),
            email: "ada@acme.test".into(),
            role: Role::Staff,
            org_id,
            org_name: "Acme".into(),
            credential: Credential {
                id: Uuid::now_v7(),
                kind: CredentialKind::Api,
                parent_id: None,
                scopes: None,
                second_factor: SecondFactor::NotAsked,
                valid_until: None,
            },
        }
    }

    /// How many of `count` requests at once are let in, and when the first refused may come again.
    fn ask(limits: &Limits, caller: Caller<'_>, count: u32) -> (u32, Option<Duration>) {
        let answers: Vec<_> = (0..count).map(|_| limits.admit(rates(), caller)).collect();
        let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
        let wait = answers.iter().find_map(|answer| answer.as_ref().err()?.retry_after());
        (u32::try_from(admitted).expect("few were asked"), wait)
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_has_its_burst_and_then_its_rate() {
        let (limits, ada) = (Limits::new(), somebody(OrgId::new()));

        let (at_once, wait) = ask(&limits, Caller::Known(&ada), 5);
        tokio::time::advance(Duration::from_millis(500)).await;
        let (later, _) = ask(&limits, Caller::Known(&ada), 5);

        assert_eq!((at_once, wait), (3, Some(Duration::from_millis(500))));
        assert_eq!(later, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_of_one_organisation_share_its_bucket_and_others_do_not_notice() {
        let (limits, acme) = (Limits::new(), OrgId::new());
        let (ada, bob, eve) = (somebody(acme), somebody(acme), somebody(OrgId::new()));

        let admitted = [&ada, &bob, &eve].map(|who| ask(&limits, Caller::Known(who), 3).0);

        assert_eq!(admitted, [3, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_from_a_session_spends_the_budget_of_that_session() {
        let (limits, ada) = (Limits::new(), somebody(OrgId::new()));
        let mut renewed = ada.clone();
        renewed.credential.id = Uuid::now_v7();
        renewed.credential.parent_id = Some(ada.credential.id);

        let admitted = [&ada, &renewed].map(|who| ask(&limits, Caller::Known(who), 3).0);

        assert_eq!(admitted, [3, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_told_apart_by_address_and_networks_of_ipv6_are_one() {
        let limits = Limits::new();
        let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().expect("an address"));
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        let addresses = [v4(1), mapped, v4(2), v6("2001:db8::1"), v6("2001:db8::2")];

        let admitted = addresses.map(|address| ask(&limits, Caller::Stranger(address), 2).0);

        assert_eq!(admitted, [2, 0, 2, 2, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_tells_what_is_left_and_when_all_of_it_is_back() {
        let (limits, ada) = (Limits::new(), somebody(OrgId::new()));

        let first = limits.admit(rates(), Caller::Known(&ada)).expect("it is the first");

        assert_eq!(
            first,
            Budget {
                policy: "credential",
                burst: 3,
                window: Duration::from_millis(1_500),
                remaining: 2,
                full_after: Duration::from_millis(500),
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn full_buckets_are_forgotten() {
        let limits = Limits::new();
        for _ in 0..SWEEP_EVERY - 1 {
            let admitted = limits.admit(rates(), Caller::Known(&somebody(OrgId::new())));
            admitted.expect("each is new");
        }

        tokio::time::advance(Duration::from_secs(10)).await;
        let ada = somebody(OrgId::new());
        limits.admit(rates(), Caller::Known(&ada)).expect("it is new");

        let buckets = limits.buckets(rates());
        assert_eq!(
            (buckets.credentials.limiter.len(), buckets.organisations.limiter.len()),
            (1, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn other_rates_hold_from_the_next_request_on() {
        let (limits, ada) = (Limits::new(), somebody(OrgId::new()));
        ask(&limits, Caller::Known(&ada), 5);
        let mut generous = rates();
        generous.credential.burst = 4;

        let refused = limits.admit(rates(), Caller::Known(&ada)).map_err(|error| error.kind());
        let admitted = limits.admit(generous, Caller::Known(&ada));

        assert_eq!(refused, Err(Kind::Limited));
        assert_eq!(admitted.map(|budget| budget.burst).ok(), Some(4));
    }
}
