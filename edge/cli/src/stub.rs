//! A stub of a platform, for the tests of this crate: it says what it was told to say.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use platform::otp::Clock;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::prompt::Person;
use crate::request::Outside;
use crate::tree::tests::now;
use crate::{Exit, Screen, example, request};

/// What the stub says next: a status and a body. The last answer is repeated.
pub(crate) type Says = (u16, Value);

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
    /// Method, target, token and body of each request.
    pub(crate) asked: Vec<String>,
}

/// Empty files, and nothing configured.
pub(crate) const OUTSIDE: Outside<'static> =
    Outside { read: &|_| Ok("{}".into()), config: &|| Ok(Config::default()) };

/// Runs `finnest` with `args` against a platform that says `answers`. After `flushes` the reader of
/// the output goes away, which is how a command that follows for ever comes to an end.
pub(crate) async fn finnest(args: &str, answers: Vec<Says>, flushes: usize) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let mut outcome = tokio::select! {
        outcome = ask(args, &url, flushes) => outcome,
        () = serve(listener, &answers, &asked) => unreachable!("the stub listens for ever"),
    };
    outcome.asked = asked.lock().expect("no panic").clone();
    outcome
}

/// Runs `finnest` with `args` against a platform that says `answers`, with the config file at
/// `file`, in which a profile may say `URL` for the platform's address, and a person there.
pub(crate) async fn at_terminal(
    args: &str,
    file: &Path,
    person: impl Person + 'static,
    answers: Vec<Says>,
) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    if let Ok(page) = std::fs::read_to_string(file) {
        std::fs::write(file, page.replace("URL", &url)).expect("it is written");
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let args = args.replace("URL", &url);
    let mut outcome = tokio::select! {
        outcome = typed(&args, file, person) => outcome,
        () = serve(listener, &answers, &asked) => unreachable!("the stub listens for ever"),
    };
    outcome.asked = asked.lock().expect("no panic").clone();
    outcome.out = outcome.out.replace(&url, "URL");
    outcome.err = outcome.err.replace(&url, "URL");
    outcome
}

/// Runs `finnest` with `args` and the config file at `file`.
pub(crate) async fn typed(args: &str, file: &Path, person: impl Person + 'static) -> Outcome {
    let config = || Config::load(file);
    let outside = Outside { config: &config, ..OUTSIDE };
    let args = format!("finnest {args}");
    let request = request::parse_with(&example::catalog(), args.split_whitespace(), &outside);
    let (out, err) = (Page::new(usize::MAX), Page::new(usize::MAX));
    let remote = match request {
        Ok(request::Request::Remote(remote)) => remote,
        Ok(_) => panic!("a remote one"),
        Err(error) => {
            let err = error.to_string();
            return Outcome { exit: Exit::Refused, out: String::new(), err, asked: Vec::new() };
        }
    };
    let mut screen = Screen::plain(Box::new(out.clone()), Box::new(err.clone()));
    screen.person = Box::new(person);
    let exit = crate::run(&remote, &Clock::manual(now()), &mut screen).await;
    Outcome { exit, out: out.text(), err: err.text(), asked: Vec::new() }
}

/// Runs `finnest` with `args` against whatever is at `url`.
pub(crate) async fn ask(args: &str, url: &str, flushes: usize) -> Outcome {
    let args = format!("finnest {args} --url {url} --token t0k");
    let request = request::parse_with(&example::catalog(), args.split_whitespace(), &OUTSIDE);
    let request::Request::Remote(remote) = request.expect("good usage") else {
        panic!("a remote one")
    };
    let (out, err) = (Page::new(flushes), Page::new(usize::MAX));
    let mut screen = Screen::plain(Box::new(out.clone()), Box::new(err.clone()));
    let exit = crate::run(&remote, &Clock::manual(now()), &mut screen).await;
    Outcome { exit, out: out.text(), err: err.text(), asked: Vec::new() }
}

type Shared<T> = Arc<Mutex<T>>;

async fn serve(
    listener: TcpListener,
    answers: &Shared<VecDeque<Says>>,
    asked: &Shared<Vec<String>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (answers, asked) = (answers.clone(), asked.clone());
        let service = service_fn(move |request| answer(request, answers.clone(), asked.clone()));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Shared<VecDeque<Says>>,
    asked: Shared<Vec<String>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let token = parts.headers.get("authorization").map(|token| token.to_str().expect("text"));
    let token = token.unwrap_or("nobody");
    let body = String::from_utf8_lossy(&body).into_owned();
    let line = format!("{} {} {token} {body}", parts.method, parts.uri);
    asked.lock().expect("no panic").push(line.trim_end().to_owned());
    let mut answers = answers.lock().expect("no panic");
    let (status, body) = answers.front().expect("something to say").clone();
    if answers.len() > 1 {
        answers.pop_front();
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Ok(Response::builder().status(status).body(Full::new(body.into())).expect("a response"))
}

/// Paper to print on, of which some flushes are read.
#[derive(Clone)]
struct Page {
    text: Shared<Vec<u8>>,
    flushes: Shared<usize>,
}

impl Page {
    fn new(flushes: usize) -> Self {
        Self { text: Shared::default(), flushes: Arc::new(Mutex::new(flushes)) }
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.lock().expect("no panic").clone()).expect("text")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.flushes.lock().expect("no panic") == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut flushes = self.flushes.lock().expect("no panic");
        *flushes = flushes.saturating_sub(1);
        Ok(())
    }
}
