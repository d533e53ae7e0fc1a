//! The node under test: a whole system on a server of the benchmark's own, behind one listener.

use std::net::SocketAddr;

use benches::server::{Database, Server};
use platform::kernel::{OrgId, Scope, UserId};
use platform::otp::config::Tuning;
use platform::otp::{ChildSpec, Clock};
use platform::{
    Catalog, Config, Enrolment, MasterSecret, Profile, PublicUrl, Role, Security, System, Wakes,
};
use socket::Sockets;
use uuid::Uuid;

use crate::domain::{TakeNote, domain};

/// What a client shows.
pub(crate) const TOKEN: &str = "bench-member";

/// Limits of callers stand aside: all clients of the benchmark are one.
const PAGE: &str = "[domains]\non_give_up = \"quarantine\"\n\
    [edge]\ncredential_per_second = 1_000_000\ncredential_burst = 1_000_000\n\
    organisation_per_second = 1_000_000\norganisation_burst = 1_000_000\n\
    address_per_second = 1_000_000\naddress_burst = 1_000_000\n\
    [domain.bench]\nin_flight_max = 512\n[domain.operator]\n";

/// A running system.
pub(crate) struct Node {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
    pub(crate) org_id: OrgId,
    scope: Scope,
}

impl Node {
    pub(crate) async fn start(server: &Server) -> Self {
        let Database { owner, app } = server.create_database("edge").await;
        let catalog = Catalog::part(vec![domain(), platform::operator::domain()]);
        let catalog = catalog.expect("the domains agree");
        let tuning = Tuning::parse(PAGE, "bench", &platform::known(&catalog));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let address = listener.local_addr().expect("it is bound");
        let edge = move |system: &System| {
            let sockets = Sockets::new();
            let router =
                rest::router(system.clone()).merge(socket::router(system.clone(), &sockets));
            let serve = ChildSpec::task("serve", move |context| async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is bound");
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    () = context.stopping() => {}
                }
                Ok(())
            });
            vec![sockets.child(), serve]
        };
        let config = Config {
            database: platform::Database::External { owner, app },
            tuning: tuning.expect("the page is valid"),
            page: std::env::temp_dir().join("no-such-page"),
            clock: Clock::system(),
            node: "bench".to_owned(),
            connections_max: 40,
            wakes: Wakes::Shared,
            shelf: None,
            relay: None,
            edge: Box::new(edge),
            cells: None,
            signing: None,
            security: Security {
                profile: Profile::Commercial,
                secret: MasterSecret::new([7; 32]),
                address: PublicUrl::default(),
                passkeys: None,
            },
        };
        let system = System::start(config, catalog).await.expect("the system starts");
        let (org_id, user_id) = (OrgId::new(), UserId::new());
        let member = Enrolment {
            org_id,
            org_name: "Bench".to_owned(),
            org_slug: "bench".to_owned(),
            user_id,
            name: "Member".to_owned(),
            email: "member@bench.test".to_owned(),
            role: Role::Staff,
            token: TOKEN.to_owned(),
        };
        system.enrol(&member).await.expect("there is room for one");
        let scope = Scope::user(org_id, user_id, Role::Staff, Uuid::now_v7());
        Self { system, address, org_id, scope }
    }

    /// The topic of the domain.
    pub(crate) fn topic(&self) -> String {
        format!("org:{}:bench", self.org_id)
    }

    /// Records one event, of which everybody on the topic is told.
    pub(crate) async fn publish(&self, text: &str) {
        let note = TakeNote { text: text.to_owned() };
        self.system.run(&self.scope, note).await.expect("a note can be taken");
    }
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
    let kibibytes = line.split_whitespace().nth(1).and_then(|count| count.parse::<f64>().ok());
    kibibytes.expect("a count of kibibytes") * 1_024.0
}
