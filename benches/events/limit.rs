//! What the server can do at most: plain durable inserts of single rows.

use benches::server::{Server, Speed};

/// A row of the limit: as many bytes as an event's payload and metadata, and nothing else.
const PLAIN_TABLE: &str = "create table public.plain (
    id bigint generated always as identity primary key, payload bytea not null);
    grant insert on public.plain to finnest_app";
const PLAIN_INSERT: &str =
    "insert into public.plain (payload) values (decode(repeat('61', 500), 'hex'))";

/// Starts a server with the table of the limit.
pub(crate) async fn start_server() -> Server {
    let server = Server::start("events").await;
    server.prepare(PLAIN_TABLE).await;
    server
}

/// What this server reaches with so many clients.
pub(crate) fn measure(server: &Server, clients: usize, seconds: u64) -> Speed {
    server.pgbench(PLAIN_INSERT, clients, seconds)
}
