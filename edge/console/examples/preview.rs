//! Serves the console over a small system without business domains, to look at pages while
//! working on them: `cargo run -p console --example preview`.

use std::time::Duration;

use platform::Role;
use platform::otp::{ChildSpec, Clock, ExitReason, Process, RunContext, Strategy, SupervisorSpec};
use testkit::ACME;

/// A process that does nothing until it is stopped.
struct Idle;

impl Process for Idle {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.report_backlog(context.path().len() as u64 % 7);
        context.stopping().await;
        Ok(())
    }
}

/// A process that fails from time to time.
struct Fragile(u64);

impl Process for Fragile {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        tokio::select! {
            () = context.stopping() => Ok(()),
            () = tokio::time::sleep(Duration::from_secs(self.0)) => {
                Err(ExitReason::failed("the provider does not answer"))
            }
        }
    }
}

fn recruit() -> ChildSpec {
    let children = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::process("scoring_engine", || Idle).label("scores candidates"))
        .child(ChildSpec::process("pool_refresh", || Fragile(20)))
        .child(ChildSpec::process("outreach_service", || Idle));
    let queue = SupervisorSpec::new(Strategy::RestForOne)
        .child(ChildSpec::process("producer", || Idle))
        .child(ChildSpec::supervisor("attempts", SupervisorSpec::dynamic()));
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::supervisor("queue", queue))
        .child(ChildSpec::supervisor("children", children));
    ChildSpec::supervisor("recruit", spec)
}

fn payroll() -> ChildSpec {
    let spec = SupervisorSpec::new(Strategy::OneForAll)
        .child(ChildSpec::process("ledger", || Idle))
        .child(ChildSpec::process("rates", || Idle))
        .child(ChildSpec::process("bank_files", || Fragile(45)));
    ChildSpec::supervisor("payroll", spec)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let edge = Box::new(|_: &platform::System| vec![recruit(), payroll()]);
    let system = testkit::start_with([], Clock::system(), "", edge).await;
    let router = console::router(system.system().clone(), [7; 32]);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4321".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    for role in [Role::Operator, Role::Director, Role::Worker] {
        let token = system.member(ACME, role).token().to_owned();
        #[allow(clippy::print_stderr, reason = "this is for whoever runs the example")]
        {
            eprintln!("{:<9} http://{address}/sign-in?token={token}", role.name());
        }
    }
    axum::serve(listener, router).await?;
    Ok(())
}
