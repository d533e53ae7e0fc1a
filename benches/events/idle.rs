//! What a node costs that has nothing to do.

use std::time::{Duration, Instant};

use crate::node::Node;
use benches::figures::Session;
use benches::server::{Database, Server, own_seconds};

/// Consumers that wait for events: about as many as the platform has.
const CONSUMERS: usize = 10;

/// Lets a node do nothing for `span`.
pub(crate) async fn measure(
    server: &Server,
    database: &Database,
    span: Duration,
    session: &mut Session,
) {
    let node = Node::start(database, CONSUMERS).await;
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
