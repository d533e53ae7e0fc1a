//! The server of a whole test run: `start` says where its socket is, `stop` ends it.

use std::io::Write as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("start") => {
            let socket_dir = testkit::database::start_server().await?;
            writeln!(std::io::stdout(), "{}", socket_dir.display())?;
            Ok(())
        }
        Some("stop") => testkit::database::stop_server().await,
        _ => anyhow::bail!("say `start` or `stop`"),
    }
}
