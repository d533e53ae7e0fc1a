//! The cell itself: one domain's subtree under a root of its own, and its end of the line.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt as _};
use kernel::{DomainName, Position};
use otp::config::Tuning;
use otp::{
    ChildSpec, Clock, ExitReason, Process, RunContext, StartError, Strategy, SupervisorSpec,
};
use sqlx::postgres::PgConnectOptions;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::Answered;
use super::wire::{Call, FromCell, Hello, ToCell, hear, say};
use crate::catalog::Catalog;
use crate::config::Security;
use crate::dispatch;
use crate::secret::MasterSecret;
use crate::subtree;
use crate::system::{Here, System};
use crate::tree;
use crate::tuned::Tuned;

/// How long the platform may take to say its first word.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long calls that are being answered may still take when the cell is told to stop.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// The shortest time between two pictures of the subtree.
const PICTURE_EVERY: Duration = Duration::from_millis(100);

/// What a cell is told by its command.
pub struct CellConfig {
    /// The domain it runs.
    pub domain: DomainName,
    /// supervision.toml, read and checked.
    pub tuning: Tuning,
    /// Where it was read.
    pub page: PathBuf,
    /// The wall clock.
    pub clock: Clock,
    /// The socket to the platform that started it.
    pub socket: UnixStream,
}

/// Runs one domain until `asked` to stop, until it gives up, or until the platform is gone.
///
/// # Errors
/// [`StartError`] when the platform says nothing, or the domain cannot start.
pub async fn serve(
    config: CellConfig,
    catalog: Catalog,
    asked: impl Future<Output = ()>,
) -> Result<ExitReason, StartError> {
    let (reader, writer) = config.socket.into_split();
    let mut reader = BufReader::new(reader);
    let hello = hello(&mut reader).await?;
    let app: PgConnectOptions = hello.database_url.parse().map_err(StartError::failed)?;
    // The same name after a restart, so that what its predecessor held is taken back at once.
    let node = format!("{}/{}", hello.node, config.domain);
    let security = Security {
        profile: hello.profile,
        secret: MasterSecret::new(hello.secret),
        address: hello.address,
        passkeys: hello.passkeys,
    };
    let (connections_max, clock) = (hello.connections_max, config.clock);
    let here = Here { clock, node, connections_max, security };
    let tuned = Tuned::new(&catalog, config.tuning, config.page);
    let system = System::new(app, here, tuned, Arc::new(catalog), Vec::new());
    let spec = root(&system, config.domain, (reader, writer))?;
    tokio::pin!(asked);
    tokio::select! {
        started = system.start_root(spec) => started?,
        () = &mut asked => return Ok(ExitReason::Shutdown),
    }
    tokio::select! {
        reason = system.exited() => Ok(match reason {
            // A supervisor that gave up ends in good order; a cell that did is a failure.
            ExitReason::Shutdown => ExitReason::failed("the domain or the platform is gone"),
            other => other,
        }),
        () = &mut asked => Ok(system.stop().await),
    }
}

async fn hello(reader: &mut BufReader<OwnedReadHalf>) -> Result<Hello, StartError> {
    match timeout(HELLO_WITHIN, hear(reader)).await {
        Ok(Ok(Some(ToCell::Hello(hello)))) => Ok(hello),
        Ok(Ok(_)) => Err(StartError::failed("the platform did not begin with a hello")),
        Ok(Err(error)) => Err(StartError::failed(error)),
        Err(_) => Err(StartError::failed("the platform says nothing")),
    }
}

type Socket = (BufReader<OwnedReadHalf>, OwnedWriteHalf);

/// Nothing is restarted above the domain: what it cannot mend itself is the platform's to mend.
fn root(system: &System, name: DomainName, socket: Socket) -> Result<SupervisorSpec, StartError> {
    let unknown = || StartError::failed(format!("there is no domain {name}"));
    let domain = system.catalog().domain(name.as_str()).ok_or_else(unknown)?;
    let strict = || {
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(otp::Intensity::new(0, Duration::from_secs(1)))
    };
    let jobs = system.tuning().section("jobs");
    let jobs = SupervisorSpec::new(jobs.strategy).intensity(jobs.intensity);
    let jobs = jobs
        .child(jobs::duties::lifeline(system.queues()))
        .child(jobs::duties::settings(system.queues()));
    let domains = strict().child(subtree::of_domain(system, domain));
    Ok(strict()
        .child(tree::connections(system))
        .child(ChildSpec::supervisor("jobs", jobs))
        .child(ChildSpec::supervisor("domains", domains))
        // Last, so that the domain is up when its first word is said.
        .child(line(system, name, socket)))
}

fn line(system: &System, domain: DomainName, socket: Socket) -> ChildSpec {
    let (system, socket) = (system.clone(), Arc::new(Mutex::new(Some(socket))));
    ChildSpec::process("line", move || Line {
        system: system.clone(),
        domain,
        socket: socket.lock().unwrap_or_else(PoisonError::into_inner).take(),
    })
}

struct Line {
    system: System,
    domain: DomainName,
    socket: Option<Socket>,
}

type Calls<'a> = FuturesUnordered<BoxFuture<'a, (u64, Answered)>>;
type Words = Pin<Box<dyn Stream<Item = io::Result<ToCell>> + Send>>;

impl Process for Line {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let Some((reader, mut writer)) = self.socket.take() else {
            return Err(ExitReason::failed("the line to the platform is broken"));
        };
        let mut words = words(reader);
        let mut calls = Calls::new();
        let done = self.talk(context, &mut words, &mut writer, &mut calls).await;
        if let Err(error) = done {
            return Err(ExitReason::failed(error));
        }
        // Told to stop: what is being answered is answered first.
        let finishing = async {
            while let Some((id, answered)) = calls.next().await {
                say(&mut writer, &FromCell::Answer(id, answered)).await?;
            }
            io::Result::Ok(())
        };
        // Whoever is not answered by then is told so by the platform.
        drop(timeout(FINISH_WITHIN, finishing).await);
        Ok(())
    }
}

impl Line {
    async fn talk<'a>(
        &'a self,
        context: &RunContext,
        words: &mut Words,
        writer: &mut OwnedWriteHalf,
        calls: &mut Calls<'a>,
    ) -> io::Result<()> {
        let mut changes = self.system.tree().changes();
        let mut picture_due = Some(Instant::now());
        say(writer, &FromCell::Ready).await?;
        loop {
            let due = picture_due.unwrap_or_else(Instant::now);
            tokio::select! {
                () = context.stopping() => return Ok(()),
                word = words.next() => match word {
                    Some(word) => self.heard(word?, calls),
                    None => return Err(io::Error::other("the platform is gone")),
                },
                Some((id, answered)) = calls.next() => {
                    say(writer, &FromCell::Answer(id, answered)).await?;
                }
                () = self.system.log().nudged() => say(writer, &FromCell::Committed).await?,
                Ok(()) = changes.changed(), if picture_due.is_none() => {
                    picture_due = Some(Instant::now() + PICTURE_EVERY);
                }
                () = sleep_until(due), if picture_due.is_some() => {
                    picture_due = None;
                    changes.mark_unchanged();
                    if let Some(node) = self.system.tree().find(&tree::path_of(self.domain)) {
                        say(writer, &FromCell::Tree(Box::new(node))).await?;
                    }
                }
            }
        }
    }

    fn heard<'a>(&'a self, word: ToCell, calls: &mut Calls<'a>) {
        match word {
            ToCell::Call(call) => calls.push(Box::pin(self.answer(call))),
            ToCell::Head(position) => self.system.log().learn_head(Position(position)),
            ToCell::Work => self.system.queues().nudge(self.domain.as_str()),
            // What has ended by itself meanwhile need not be killed any more.
            ToCell::Kill(path) => drop(self.system.tree().kill(&path)),
            // Said once and heard before this process was made.
            ToCell::Hello(_) => {}
        }
    }

    async fn answer(&self, call: Call) -> (u64, Answered) {
        let Call { id, scope, operation, input, key } = call;
        let domain = self.domain.as_str();
        let answered =
            dispatch::relayed(&self.system, &scope, domain, &operation, input, key.as_deref());
        (id, answered.await.into())
    }
}

/// The words as they come. A word that is half heard is kept when the next one is not waited for.
fn words(reader: BufReader<OwnedReadHalf>) -> Words {
    Box::pin(stream::unfold(reader, |mut reader| async move {
        let word = hear(&mut reader).await.transpose()?;
        Some((word, reader))
    }))
}
