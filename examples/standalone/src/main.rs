//! An actor under a supervisor: it counts, is broken on purpose, and counts anew.
use otp::{Actor, ChildSpec, Clock, Context, ExitReason, Reply, Root, Strategy, SupervisorSpec};

struct Counter(u64);
type Ask = Option<Reply<u64>>;
impl Actor for Counter {
    type Message = Ask;
    async fn handle(&mut self, ask: Ask, _: &Context<Ask>) -> Result<(), ExitReason> {
        self.0 += 1;
        ask.ok_or(ExitReason::failed("on purpose")).map(|reply| reply.send(self.0))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let child = ChildSpec::worker("counter", || Counter(0));
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(child);
    let root = Root::start(spec, Clock::system()).await?;
    let (tree, mut events) = (root.tree(), root.tree().subscribe());
    let counter = || tree.whereis::<Ask>("root/counter").ok_or("nobody counts");
    println!("it counts: {}", counter()?.request(Some).await?);
    counter()?.cast(None)?;
    for _ in 0..3 {
        let event = events.recv().await?;
        println!("{}, life {}: {:?}", event.path, event.incarnation, event.kind);
    }
    println!("it counts anew: {}", counter()?.request(Some).await?);
    root.stop().await;
    Ok(())
}
