//! The stage: two nodes on one database, a NATS server, and whoever follows events by all of them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use nats::JetStream;
use nats::relay::Relay;
use platform::bus::{Backend, BusEvent, MemoryPlaces, Subscriber, SubscriptionSpec, Tail};
use platform::otp::{ChildSpec, Clock, Intensity, Root, Strategy, SupervisorSpec};
use platform::{
    Command as Do, Domain, DomainName, Event, EventType, OrgId, Position, Result, Role, Spec,
    System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::TestSystem;
use uuid::Uuid;

pub(crate) const BELLS: DomainName = DomainName::new("bells");
pub(crate) const GONGS: DomainName = DomainName::new("gongs");

/// A bell was rung.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BellRung {
    /// The bell.
    bell_id: Uuid,
}

impl Event for BellRung {
    const TYPE: EventType = BELLS.event("bell_rung", 1);
    fn aggregate_id(&self) -> Uuid {
        self.bell_id
    }
}

/// Ring a bell.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RingBell {
    /// The bell.
    pub(crate) bell_id: Uuid,
}

impl Do for RingBell {
    const SPEC: Spec = Spec::create("ring_bell", "/bells");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&BellRung { bell_id: self.bell_id }).await.map(drop)
    }
}

/// A gong was beaten.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct GongBeaten {
    /// The gong.
    gong_id: Uuid,
}

impl Event for GongBeaten {
    const TYPE: EventType = GONGS.event("gong_beaten", 1);
    fn aggregate_id(&self) -> Uuid {
        self.gong_id
    }
}

/// Beat a gong.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BeatGong {
    /// The gong.
    pub(crate) gong_id: Uuid,
}

impl Do for BeatGong {
    const SPEC: Spec = Spec::create("beat_gong", "/gongs");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&GongBeaten { gong_id: self.gong_id }).await.map(drop)
    }
}

fn domains() -> [Domain; 2] {
    [
        Domain::new(BELLS).emits::<BellRung>().command::<RingBell>(),
        Domain::new(GONGS).emits::<GongBeaten>().command::<BeatGong>(),
    ]
}

/// Two nodes on one database, and the log's copy in NATS.
pub(crate) struct Stage {
    pub(crate) system: TestSystem,
    pub(crate) other: System,
    pub(crate) server: NatsServer,
    pub(crate) relay: Root,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let system = testkit::start(domains()).await;
        let other = system.another_node(domains()).await;
        let server = NatsServer::start();
        let relay = supervise(relay_of(system.system(), &server)).await;
        Self { system, other, server, relay }
    }

    /// Everything that keeps the contract, by name.
    pub(crate) async fn backends(&self) -> [(&'static str, Arc<dyn Backend>); 3] {
        let local = Tail::new(self.system.system().bus(), MemoryPlaces::default());
        let nats = JetStream::connect(&self.server.url()).await.expect("the address is one");
        [
            ("in-process", Arc::new(local)),
            ("postgres", self.other.durable_events()),
            ("nats", Arc::new(nats)),
        ]
    }

    /// Rings a bell of an organisation.
    pub(crate) async fn ring(&self, org_id: OrgId, bell_id: Uuid) {
        let scope = self.system.member(org_id, Role::Staff).scope();
        self.system.system().run(&scope, RingBell { bell_id }).await.expect("staff may ring");
    }

    /// Rings new bells, one after the other.
    pub(crate) async fn ring_some(&self, org_id: OrgId, count: usize) -> Vec<Uuid> {
        let mut rung = Vec::new();
        for _ in 0..count {
            let bell_id = Uuid::now_v7();
            self.ring(org_id, bell_id).await;
            rung.push(bell_id);
        }
        rung
    }

    pub(crate) async fn beat_gong(&self, org_id: OrgId) -> Uuid {
        let gong_id = Uuid::now_v7();
        let scope = self.system.member(org_id, Role::Staff).scope();
        self.system.system().run(&scope, BeatGong { gong_id }).await.expect("staff may beat");
        gong_id
    }

    /// Waits until the stream in NATS holds everything that is sealed, and answers its positions.
    pub(crate) async fn relayed(&self) -> Vec<i64> {
        self.system.settle().await;
        let head = *self.system.system().log().head().borrow();
        within(async {
            loop {
                if self.system.system().places().find("nats").await.ok().flatten() >= Some(head) {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await;
        self.server.positions().await
    }

    pub(crate) async fn strike(self) {
        self.relay.stop().await;
        self.other.stop().await;
        self.system.stop().await;
    }
}

/// How often a waiting test looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A relay of the events of `system`.
pub(crate) fn relay_of(system: &System, server: &NatsServer) -> ChildSpec {
    Relay {
        url: server.url().into(),
        bus: system.bus().clone(),
        places: system.places(),
        is_turn: Arc::new(|| true),
        on_relayed: Arc::new(|_, _| ()),
    }
    .child()
}

pub(crate) async fn supervise(child: ChildSpec) -> Root {
    let often = Intensity { max_restarts: 1_000, within: Duration::from_secs(1) };
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(often).child(child);
    Root::start(spec, Clock::system()).await.expect("the child starts")
}

/// Subscribes as soon as the backend can.
pub(crate) async fn subscribe(
    backend: &Arc<dyn Backend>,
    spec: &SubscriptionSpec,
) -> Box<dyn Subscriber> {
    within(async {
        loop {
            match backend.subscribe(spec).await {
                Ok(subscriber) => return subscriber,
                // The stream is made by the relay, which may have to wait for its server.
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    })
    .await
}

/// The next `count` events, whatever breaks meanwhile.
pub(crate) async fn next(subscriber: &mut Box<dyn Subscriber>, count: usize) -> Vec<Arc<BusEvent>> {
    let mut events = Vec::new();
    within(async {
        while events.len() < count {
            match subscriber.next_batch(count - events.len()).await {
                Ok(batch) => events.extend(batch),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    })
    .await;
    events
}

/// The aggregates of events.
pub(crate) fn aggregates(events: &[Arc<BusEvent>]) -> Vec<Uuid> {
    events.iter().filter_map(|event| event.topic.aggregate_id).collect()
}

/// The place of the last of some events.
pub(crate) fn last(events: &[Arc<BusEvent>]) -> Position {
    events.last().expect("there are some").position
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens within a minute")
}

/// A NATS server of the test's own, on a port and in a directory of its own.
pub(crate) struct NatsServer {
    port: u16,
    directory: PathBuf,
    process: Child,
}

impl NatsServer {
    pub(crate) fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        drop(socket);
        let name = format!("finnest-test-nats-{}", Uuid::now_v7());
        let directory = std::env::temp_dir().join(name);
        let process = spawn(port, &directory);
        Self { port, directory, process }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it with -9.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was killed");
    }

    /// Starts it where it was.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.port, &self.directory);
    }

    /// The positions of all messages on the stream, in their order.
    async fn positions(&self) -> Vec<i64> {
        let client = async_nats::connect(self.url()).await.expect("the server runs");
        let stream = jetstream::new(client).get_stream("FINNEST").await.expect("it was made");
        let state = stream.get_info().await.expect("the server answers").state;
        let mut positions = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("it is there");
            let position = message.headers.get("Finnest-Position").expect("it has a position");
            positions.push(position.as_str().parse().expect("a position is a number"));
        }
        positions
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // It may be dead already; what cannot be removed lies in a temporary directory.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(port: u16, directory: &std::path::Path) -> Child {
    // Debian keeps it where only root looks.
    let installed = ["/usr/sbin/nats-server", "/usr/bin/nats-server"];
    let found = installed.into_iter().find(|path| std::path::Path::new(path).exists());
    Command::new(found.unwrap_or("nats-server"))
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is installed, as scripts/install.sh test does")
}
