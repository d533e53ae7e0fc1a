//! The recorder: writes down starts, failures and stops in the order in which they happen.
//!
//! Starts and stops come from the tree's own stream of events; failed starts from the child that
//! fails. Before a child writes anything, what the tree has told so far is taken over, so both
//! sources keep one order.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use otp::{Pid, Strategy, SupervisionEvent, SupervisionEventKind as Kind, Tree};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::json::Json;
use super::script::Outcome;

/// What a worker is asked to end with.
pub type Command = otp::ExitReason;

/// Shared by everything that takes part in one scenario.
#[derive(Clone)]
pub struct Recorder {
    pub tree: Tree,
    book: Arc<Mutex<Book>>,
}

struct Book {
    stream: broadcast::Receiver<Arc<SupervisionEvent>>,
    entries: Vec<Entry>,
    recorded: u64,
    incarnations: HashMap<String, u64>,
    /// By path in the tree and incarnation there: path in the scenario, incarnation there.
    live: HashMap<(String, u64), (String, u64)>,
    /// The same for everything that died, with how much had been recorded by then.
    dead: HashMap<(String, u64), (String, u64, u64)>,
    mark: u64,
    plans: HashMap<String, VecDeque<Outcome>>,
    simple: HashSet<String>,
    supervisors: HashSet<String>,
    newest: HashMap<String, (Pid, mpsc::UnboundedSender<Command>)>,
    hold: Option<Hold>,
    /// What dies at once after its start.
    doomed: Vec<Pid>,
}

/// A start that is to be held open.
pub struct Hold {
    pub path: String,
    pub supervisor: Pid,
    pub entered: oneshot::Sender<()>,
    pub released: oneshot::Receiver<()>,
}

struct Entry {
    event: Json,
    /// The simple `one_for_one` supervisor above, if it is a stop under one.
    stop_under: Option<String>,
}

impl Recorder {
    pub fn new(tree: Tree) -> Self {
        let book = Book {
            stream: tree.subscribe_to_everything(),
            entries: Vec::new(),
            recorded: 0,
            incarnations: HashMap::new(),
            live: HashMap::new(),
            dead: HashMap::new(),
            mark: 0,
            plans: HashMap::new(),
            simple: HashSet::new(),
            supervisors: HashSet::new(),
            newest: HashMap::new(),
            hold: None,
            doomed: Vec::new(),
        };
        Self { tree, book: Arc::new(Mutex::new(book)) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock().unwrap();
        book.catch_up();
        book
    }

    /// How much has been recorded so far.
    pub fn count(&self) -> u64 {
        self.book().recorded
    }

    /// Everything since the last call, in canonical form.
    pub fn take(&self) -> Json {
        Json::List(canonical(&std::mem::take(&mut self.book().entries)))
    }

    pub fn plan(&self, path: &str, outcomes: &[Outcome]) {
        self.book().plans.insert(path.to_owned(), outcomes.iter().copied().collect());
    }

    /// The outcome of the next start attempt of a path.
    pub fn pop(&self, path: &str) -> Outcome {
        let mut book = self.book();
        let plan = book.plans.get_mut(path);
        plan.and_then(VecDeque::pop_front).unwrap_or(Outcome::Ok)
    }

    pub fn fail(&self, path: &str, how: &str) {
        let event = Json::List(vec!["fail".into(), path.into(), how.into()]);
        self.book().push(event, None);
    }

    pub fn hold(&self, hold: Hold) {
        self.book().hold = Some(hold);
    }

    pub fn drop_hold(&self) {
        self.book().hold = None;
    }

    /// The hold on the start of `path`, if this is the supervisor that it is meant for.
    pub fn take_hold(&self, path: &str, supervisor: &str) -> Option<Hold> {
        let supervisor = self.tree.pid(supervisor);
        let mut book = self.book();
        let is_meant =
            |hold: &mut Hold| hold.path == path && supervisor.as_ref() == Some(&hold.supervisor);
        book.hold.take_if(is_meant)
    }

    /// Notes that a path is a supervisor's from now on.
    pub fn supervisor(&self, path: &str, strategy: Strategy) {
        let mut book = self.book();
        book.supervisors.insert(path.to_owned());
        book.newest.remove(path);
        if strategy == Strategy::SimpleOneForOne {
            book.simple.insert(path.to_owned());
        }
    }

    pub fn is_simple(&self, path: &str) -> bool {
        self.book().simple.contains(path)
    }

    pub fn is_supervisor(&self, path: &str) -> bool {
        self.book().supervisors.contains(path)
    }

    /// Notes the newest process of a worker's path.
    pub fn worker(&self, path: &str, pid: Pid) -> mpsc::UnboundedReceiver<Command> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut book = self.book();
        book.supervisors.remove(path);
        book.newest.insert(path.to_owned(), (pid, sender));
        receiver
    }

    /// The newest process of a path, dead or alive.
    pub fn newest(&self, path: &str) -> Option<Pid> {
        if let Some((pid, _)) = self.book().newest.get(path) {
            return Some(pid.clone());
        }
        self.tree.pid(path)
    }

    /// Asks a worker to end by itself; says whether there is one at this path.
    pub fn command(&self, path: &str, command: Command) -> bool {
        let book = self.book();
        let Some((_, sender)) = book.newest.get(path) else { return false };
        // A worker that is dead by now has done as it was told.
        let _ = sender.send(command);
        true
    }

    /// A process that is just starting will die at once. On Erlang it does so before anybody else
    /// gets to do anything.
    pub fn doom(&self, pid: Pid) {
        self.book().doomed.push(pid);
    }

    /// Waits until what is doomed and up is dead.
    pub async fn fate(&self) {
        while self.book().doomed.iter().any(Pid::is_alive) {
            tokio::task::yield_now().await;
        }
    }

    /// What is dead by now will be called dead in the answers that follow.
    pub fn mark(&self) {
        let mut book = self.book();
        book.mark = book.recorded;
    }

    /// `#INC` of a process, with its path in the scenario; nothing for one that was dead at the
    /// last mark. What dies after that was alive in the answer that names it: on Erlang whoever
    /// gets an answer looks the names up before the supervisor does anything else.
    pub fn name(&self, pid: &Pid) -> Option<(String, String)> {
        let key = (pid.path().to_owned(), pid.incarnation());
        let book = self.book();
        if book.doomed.contains(pid) {
            return None;
        }
        let (path, incarnation) = match (book.live.get(&key), book.dead.get(&key)) {
            (Some((path, incarnation)), _) => (path, incarnation),
            (_, Some((path, incarnation, died))) if *died >= book.mark => (path, incarnation),
            _ => return None,
        };
        Some((path.clone(), format!("#{incarnation}")))
    }

    /// The supervisors that are up, by path.
    pub fn live_supervisors(&self) -> Vec<String> {
        let book = self.book();
        let paths: BTreeSet<_> = book.live.values().map(|(path, _)| path.clone()).collect();
        paths.into_iter().filter(|path| book.supervisors.contains(path)).collect()
    }
}

impl Book {
    fn catch_up(&mut self) {
        while let Ok(event) = self.stream.try_recv() {
            let key = (event.path.clone(), event.incarnation);
            match &event.kind {
                Kind::Started => {
                    let path = self.scenario_path(&event.path);
                    let incarnation = self.incarnations.entry(path.clone()).or_default();
                    *incarnation += 1;
                    let incarnation = *incarnation;
                    self.live.insert(key, (path.clone(), incarnation));
                    let event = vec!["start".into(), path.into(), incarnation.into()];
                    self.push(Json::List(event), None);
                }
                Kind::Exited { reason } | Kind::Terminated { reason } => {
                    let Some((path, incarnation)) = self.live.remove(&key) else { continue };
                    let died = (path.clone(), incarnation, self.recorded);
                    self.dead.insert(key, died);
                    let above = path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
                    let above = self.simple.contains(&above).then_some(above);
                    let reason = reason.to_string();
                    let event = vec!["stop".into(), path.into(), incarnation.into(), reason.into()];
                    self.push(Json::List(event), above);
                }
                _ => {}
            }
        }
    }

    /// Instances of one specification are numbered in the tree and nameless in a scenario.
    fn scenario_path(&self, path: &str) -> String {
        match (path.rsplit_once('/'), path.rsplit_once('#')) {
            (Some((above, _)), Some((tagged, _))) if self.simple.contains(above) => {
                tagged.to_owned()
            }
            _ => path.to_owned(),
        }
    }

    fn push(&mut self, event: Json, stop_under: Option<String>) {
        self.recorded += 1;
        self.entries.push(Entry { event, stop_under });
    }
}

/// Sorts each run of stops under one simple `one_for_one` supervisor, which have no defined order.
fn canonical(entries: &[Entry]) -> Vec<Json> {
    let mut events = Vec::with_capacity(entries.len());
    for run in
        entries.chunk_by(|one, next| one.stop_under.is_some() && one.stop_under == next.stop_under)
    {
        let mut run: Vec<_> = run.iter().map(|entry| entry.event.clone()).collect();
        if run.len() > 1 {
            run.sort();
        }
        events.extend(run);
    }
    events
}
