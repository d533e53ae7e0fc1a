//! Watching: the tree redrawn on every change, on a screen of its own that leaves no trace.

use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::time::Duration;

use platform::Timestamp;
use platform::operator::ProcessNode;
use platform::otp::Clock;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Client, Trouble};
use crate::exit::Exit;
use crate::options::{Format, Style};
use crate::route::Call;
use crate::run::node;
use crate::screen::{Screen, Size, Tint, tinted};
use crate::tree;
use crate::words::{clipped, padded, width};

const POLL_EVERY: Duration = Duration::from_millis(500);
/// How often keys are looked for; below what a finger notices.
const KEYS_EVERY: Duration = Duration::from_millis(40);
/// A platform that says nothing for so long is shown as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Shows the tree until the person has seen enough.
pub(crate) async fn watch(
    client: &Client,
    call: &Call,
    style: &Style,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let first = client.send(call, PATIENCE).await?;
    match (screen.format(style), screen.is_terminal) {
        (Format::Table, true) => stage(client, call, first, clock, screen).await,
        (format, _) => print_changes(client, call, first, format, clock, screen).await,
    }
}

/// For pipes: the tree again whenever it differs, one JSON document a line.
async fn print_changes(
    client: &Client,
    call: &Call,
    first: Value,
    format: Format,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let mut shown = Value::Null;
    let mut next = first;
    loop {
        if next != shown {
            let lines = match (format, node(&next)) {
                (Format::Table, Some(root)) => {
                    tree::drawing(&root, clock.now(), screen.columns, false)
                }
                _ => vec![next.to_string()],
            };
            screen.lines(&lines)?;
            shown = next;
        }
        next = loop {
            tokio::time::sleep(POLL_EVERY).await;
            match client.send(call, PATIENCE).await {
                Err(trouble) if trouble.is_passing() => {}
                answer => break answer?,
            }
        };
    }
}

/// What is on the screen.
struct View {
    url: String,
    root: Option<ProcessNode>,
    /// Why the tree is not up to date.
    trouble: Option<String>,
    /// Lines scrolled away at the top.
    offset: usize,
}

type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Value, Trouble>> + 'a>>;

fn fetch<'a>(client: &'a Client, call: &'a Call) -> Fetch<'a> {
    Box::pin(async move {
        tokio::time::sleep(POLL_EVERY).await;
        client.send(call, PATIENCE).await
    })
}

async fn stage(
    client: &Client,
    call: &Call,
    first: Value,
    clock: &Clock,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let mut view =
        View { url: client.url().to_owned(), root: node(&first), trouble: None, offset: 0 };
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut resized = signal(SignalKind::window_change())?;
    let keyboard = Keyboard::listen();
    let mut keys = tokio::time::interval(KEYS_EVERY);
    let mut next = fetch(client, call);
    let curtain = Curtain::open()?;
    let mut shown = Vec::new();
    loop {
        let size = Size::of_terminal().unwrap_or(Size { rows: 24, columns: 80 });
        let lines = view.frame(clock.now(), size, screen.has_colour);
        if lines != shown {
            screen.out.write_all(painted(&lines).as_bytes())?;
            screen.out.flush()?;
            shown = lines;
        }
        tokio::select! {
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            _ = resized.recv() => shown.clear(),
            _ = keys.tick(), if keyboard.is_some() => {
                if pressed().into_iter().any(|key| view.obey(key, size)) {
                    break;
                }
            }
            answer = &mut next => {
                next = fetch(client, call);
                view.hear(answer)?;
            }
        }
    }
    drop(curtain);
    Ok(Exit::Done)
}

impl View {
    fn hear(&mut self, answer: Result<Value, Trouble>) -> Result<(), Trouble> {
        match answer {
            Ok(answer) => {
                self.root = node(&answer);
                self.trouble = None;
                Ok(())
            }
            // The platform may be restarting, which is what one wants to watch.
            Err(trouble) if trouble.is_passing() => {
                self.trouble = Some("no answer; what you see is old. Trying again …".into());
                Ok(())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the key means the end.
    fn obey(&mut self, key: Key, size: Size) -> bool {
        let page = size.rows.saturating_sub(3).max(1);
        match key {
            Key::Quit => return true,
            Key::Up => self.offset = self.offset.saturating_sub(1),
            Key::Down => self.offset += 1,
            Key::PageUp => self.offset = self.offset.saturating_sub(page),
            Key::PageDown => self.offset += page,
        }
        false
    }

    /// A title, as much of the tree as there are rows, and a line about what is hidden or wrong.
    fn frame(&mut self, now: Timestamp, size: Size, has_colour: bool) -> Vec<String> {
        let help = "↑ ↓ scroll, q quits";
        let title = format!("finnest  {}  {}", self.url, now.format("%H:%M:%S UTC"));
        let title_columns = size.columns.saturating_sub(width(help) + 2);
        let title = if width(&title) <= title_columns {
            format!("{}  {help}", padded(&title, title_columns))
        } else {
            title
        };
        let mut lines = vec![tinted(&clipped(&title, size.columns), Tint::Strong, has_colour)];
        let tree = match &self.root {
            Some(root) => tree::drawing(root, now, Some(size.columns), has_colour),
            None => vec!["the answer is no tree; is this program as new as the platform?".into()],
        };
        let rows = size.rows.saturating_sub(2).max(1);
        let hidden = tree.len().saturating_sub(rows);
        self.offset = self.offset.min(hidden);
        lines.extend(tree.into_iter().skip(self.offset).take(rows));
        let (note, tint) = match &self.trouble {
            Some(trouble) => (trouble.clone(), Tint::Bad),
            None if hidden > 0 => (
                format!("{} lines above, {} below", self.offset, hidden - self.offset),
                Tint::Faint,
            ),
            None => (String::new(), Tint::Faint),
        };
        if !note.is_empty() {
            lines.push(tinted(&clipped(&note, size.columns), tint, has_colour));
        }
        lines
    }
}

/// The lines from the top left, each without what stood there before, then nothing.
fn painted(lines: &[String]) -> String {
    format!("\u{1b}[H{}\u{1b}[K\u{1b}[J", lines.join("\u{1b}[K\r\n"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
}

/// The keys in what the terminal sent.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    const KEYS: [(&[u8], Key); 12] = [
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"k", Key::Up),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"j", Key::Down),
        (b"\x1b[6~", Key::PageDown),
        (b" ", Key::PageDown),
        (b"q", Key::Quit),
        (b"Q", Key::Quit),
        (b"\x03", Key::Quit),
    ];
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let known = KEYS.iter().find(|(sequence, _)| bytes.starts_with(sequence));
        keys.extend(known.map(|(_, key)| *key));
        bytes = &bytes[known.map_or(1, |(sequence, _)| sequence.len())..];
    }
    keys
}

/// What was pressed since the last time; never waits, thanks to [`Keyboard`].
fn pressed() -> Vec<Key> {
    let mut bytes = [0; 64];
    let count = rustix::io::read(rustix::stdio::stdin(), &mut bytes).unwrap_or_default();
    keys(&bytes[..count])
}

/// A terminal that hands over each key at once and does not echo it, until this is dropped.
struct Keyboard {
    before: Termios,
}

impl Keyboard {
    /// None when there is no keyboard.
    fn listen() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // Zero and zero: a read answers at once, with nothing if nothing was pressed.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ =
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The alternate screen without a cursor, until this is dropped, even by a panic.
struct Curtain;

impl Curtain {
    fn open() -> io::Result<Self> {
        let mut out = io::stdout();
        out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        Ok(Self)
    }
}

impl Drop for Curtain {
    fn drop(&mut self) {
        let mut out = io::stdout();
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::{now, tree};

    fn view() -> View {
        View { url: "http://127.0.0.1:4000".into(), root: Some(tree()), trouble: None, offset: 0 }
    }

    #[test]
    fn a_frame_fills_the_terminal_and_no_more() {
        let size = Size { rows: 8, columns: 90 };

        let lines = view().frame(now(), size, false);

        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_frame_always_fits() {
        for rows in 2..20 {
            for columns in 1..60 {
                let lines = view().frame(now(), Size { rows, columns }, false);

                assert!(lines.len() <= rows.max(3), "{rows}");
                assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            }
        }
    }

    #[test]
    fn scrolling_stops_at_both_ends() {
        let size = Size { rows: 8, columns: 90 };
        let mut view = view();

        view.obey(Key::Up, size);
        view.frame(now(), size, false);
        assert_eq!(view.offset, 0);

        for _ in 0..9 {
            view.obey(Key::PageDown, size);
        }
        let lines = view.frame(now(), size, false);
        assert!(lines[6].contains("processes"), "{lines:?}");
        assert!(lines[7].ends_with("0 below"), "{lines:?}");
    }

    #[test]
    fn a_lost_platform_leaves_its_last_tree_and_says_so() {
        let mut view = view();

        let lost = Trouble::NotReachable { url: view.url.clone() };
        assert!(view.hear(Err(lost)).is_ok());

        let lines = view.frame(now(), Size { rows: 40, columns: 90 }, false).join("\n");
        assert!(
            lines.contains("scoring_engine") && lines.contains("what you see is old"),
            "{lines}"
        );
    }

    #[test]
    fn keys_are_told_apart_in_whatever_pieces_they_come() {
        let cases: [(&[u8], &[Key]); 5] = [
            (b"", &[]),
            (b"jk", &[Key::Down, Key::Up]),
            (b"\x1b[B\x1b[6~x\x1bOAq", &[Key::Down, Key::PageDown, Key::Up, Key::Quit]),
            (b"\x1b", &[]),
            (b"\x03", &[Key::Quit]),
        ];

        for (bytes, expected) in cases {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }
}
