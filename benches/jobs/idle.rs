//! What a node costs whose queues have nothing to do.

use std::time::{Duration, Instant};

use benches::figures::Session;
use benches::server::{Database, Server, own_seconds};
use jobs::{Outcome, Performed};

use crate::node::{Node, performing};

/// Queues of the node: more domains than the platform has.
const QUEUES: usize = 20;

/// Lets a node do nothing for `span`.
pub(crate) async fn measure(
    server: &Server,
    database: &Database,
    span: Duration,
    session: &mut Session,
) {
    let names: Vec<String> = (0..QUEUES).map(|number| format!("queue_{number}")).collect();
    let performers = performing(|_| async { Ok(Performed::Outcome(Outcome::Complete)) });
    let node = Node::start(database, &names, 10, |_| performers.clone()).await;
    // Connections are open and prepared by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    let (own, servers) = (own_seconds(), server.processor_seconds());
    let transactions = database.transactions().await;
    tokio::time::sleep(span).await;
    let elapsed = began.elapsed().as_secs_f64();
    let own = (own_seconds() - own) / elapsed * 100.0;
    let servers = (server.processor_seconds() - servers) / elapsed * 100.0;
    session.add("idle/node", own);
    session.add("idle/server", servers);
    session.add("idle/all", own + servers);
    let transactions = database.transactions().await - transactions;
    session.add("idle/transactions", transactions as f64 / elapsed);
    node.stop().await;
}
