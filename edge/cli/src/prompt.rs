//! The person at the terminal, asked for what is not said on the command line.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// The longest answer, in bytes; what is typed beyond it is not heard.
const ANSWER_BYTES_MAX: usize = 1024;

/// Who answers questions, or whoever stands in for them.
pub(crate) trait Person: Send {
    /// The answer to a question; none if nobody sits at a terminal. A secret is not shown.
    fn asked(&mut self, question: &str, is_secret: bool) -> io::Result<Option<String>>;

    /// The next line of standard input; none at its end.
    fn line(&mut self) -> io::Result<Option<String>>;
}

/// Whoever started this process.
pub(crate) struct Starter;

impl Person for Starter {
    fn asked(&mut self, question: &str, is_secret: bool) -> io::Result<Option<String>> {
        // Not standard input and output: those may be files.
        let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            return Ok(None);
        };
        asked_at(&mut terminal, question, is_secret).map(Some)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let is_end = line.is_empty();
        Ok((!is_end).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Nobody.
pub(crate) struct Nobody;

impl Person for Nobody {
    fn asked(&mut self, _question: &str, _is_secret: bool) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}

fn asked_at(terminal: &mut File, question: &str, is_secret: bool) -> io::Result<String> {
    // Before the question is seen, as somebody may answer at once.
    let quiet = Quiet::make(terminal)?;
    terminal.write_all(question.as_bytes())?;
    terminal.flush()?;
    let answer = typed(terminal, is_secret);
    terminal.write_all(b"\r\n")?;
    drop(quiet);
    answer
}

/// Reads keys until the line is ended, showing what is no secret.
fn typed(terminal: &mut File, is_secret: bool) -> io::Result<String> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const ERASE_LINE: u8 = 21;
    let mut answer: Vec<u8> = Vec::new();
    let show = |terminal: &mut File, bytes: &[u8]| {
        if is_secret { Ok(()) } else { terminal.write_all(bytes) }
    };
    loop {
        let mut key = [0];
        if terminal.read(&mut key)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match key[0] {
            b'\r' | b'\n' => break,
            // The terminal would have ended the process, and stayed without its echo.
            INTERRUPT => return Err(io::ErrorKind::Interrupted.into()),
            END if answer.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            8 | 127 if erase(&mut answer) => show(terminal, b"\x08 \x08")?,
            ERASE_LINE => {
                while erase(&mut answer) {
                    show(terminal, b"\x08 \x08")?;
                }
            }
            0..32 | 127 => {}
            byte if answer.len() < ANSWER_BYTES_MAX => {
                answer.push(byte);
                show(terminal, &[byte])?;
            }
            _ => {}
        }
    }
    String::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Takes the last character away; false if there was none.
fn erase(answer: &mut Vec<u8>) -> bool {
    loop {
        match answer.pop() {
            None => return false,
            // All bytes of a character but its first begin so.
            Some(byte) if byte & 0b1100_0000 == 0b1000_0000 => {}
            Some(_) => return true,
        }
    }
}

/// A terminal that shows nothing by itself and hands over each key, until this is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn make(terminal: &File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// A terminal, and the keyboard and screen before it.
    fn terminal() -> (File, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let person = openpt(flags).expect("there are terminals");
        grantpt(&person).expect("it is ours");
        unlockpt(&person).expect("it is ours");
        let name = ptsname(&person, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("it is text");
        let mut options = File::options();
        let options = options.read(true).write(true);
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).expect("a flag");
        let terminal = options.custom_flags(flags).open(name).expect("it can be opened");
        (terminal, person.into())
    }

    /// What is answered when `keys` are pressed, and what is seen.
    fn check(keys: &str, is_secret: bool) -> (io::Result<String>, String) {
        let (mut terminal, mut person) = terminal();
        let before = modes(&terminal);
        let mut seen = String::new();
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| asked_at(&mut terminal, "who? ", is_secret));
            see_until(&mut person, &mut seen, "who? ");
            person.write_all(keys.as_bytes()).expect("keys are pressed");
            see_until(&mut person, &mut seen, "\n");
            asking.join().expect("asking does not panic")
        });
        assert_eq!(modes(&terminal), before, "the terminal is as it was");
        (answer, seen)
    }

    fn see_until(person: &mut File, seen: &mut String, words: &str) {
        while !seen.contains(words) {
            let mut bytes = [0; 256];
            let count = person.read(&mut bytes).expect("something is shown");
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn modes(terminal: &File) -> LocalModes {
        rustix::termios::tcgetattr(terminal).expect("it is a terminal").local_modes
    }

    #[test]
    fn an_answer_is_shown_and_a_secret_is_not() {
        let (name, seen) = check("rosa\r", false);
        let (secret, unseen) = check("pass word\r", true);

        assert_eq!((name.expect("an answer").as_str(), seen.trim_end()), ("rosa", "who? rosa"));
        assert_eq!(secret.expect("an answer"), "pass word");
        assert_eq!(unseen.trim_end(), "who?");
    }

    #[test]
    fn what_is_taken_back_is_not_answered() {
        let cases =
            [("rob\u{7f}sa\r", "rosa"), ("x\u{15}ros\u{e9}\u{8}a\r", "rosa"), ("\u{8}a\n", "a")];

        for (keys, expected) in cases {
            assert_eq!(check(keys, true).0.expect("an answer"), expected, "{keys:?}");
        }
    }

    #[test]
    fn whoever_gives_up_has_the_terminal_back() {
        let interrupted = check("pass\u{3}", true).0.expect_err("no answer");
        let ended = check("\u{4}", false).0.expect_err("no answer");

        assert_eq!(interrupted.kind(), io::ErrorKind::Interrupted);
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}
