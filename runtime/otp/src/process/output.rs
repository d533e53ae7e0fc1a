//! What a process prints, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::LineSink;

/// A longer line is handed on in pieces of this many bytes, so that no output can fill our memory.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Where lines go unless the specification says otherwise.
pub(super) fn log(program: &str, stream: Stream, line: &str) {
    match stream {
        Stream::Out => tracing::debug!(program, "{line}"),
        Stream::Err => tracing::info!(program, "{line}"),
    }
}

/// One of the two streams of a running process.
pub(super) struct Source<R> {
    stream: Stream,
    reader: BufReader<R>,
    line: Vec<u8>,
    last: String,
}

impl<R: AsyncRead + Unpin> Source<R> {
    pub(super) fn new(stream: Stream, reader: R) -> Self {
        Self { stream, reader: BufReader::new(reader), line: Vec::new(), last: String::new() }
    }

    /// The last line that said something.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// Hands on lines until the stream ends.
    ///
    /// # Cancel safety
    ///
    /// A line that is not complete yet is kept for the next call.
    pub(super) async fn follow(&mut self, sink: &LineSink) {
        loop {
            // A broken pipe says the same as its end: there is nothing more to read.
            let chunk = self.reader.fill_buf().await.unwrap_or_default();
            if chunk.is_empty() {
                self.emit(sink);
                return;
            }
            let room = LINE_BYTES_MAX - self.line.len();
            let chunk = &chunk[..chunk.len().min(room)];
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            self.line.extend_from_slice(&chunk[..end.unwrap_or(taken)]);
            self.reader.consume(taken);
            if end.is_some() || self.line.len() == LINE_BYTES_MAX {
                self.emit(sink);
            }
        }
    }

    fn emit(&mut self, sink: &LineSink) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            sink(self.stream, line);
            line.clone_into(&mut self.last);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    async fn lines(text: &[u8]) -> Vec<String> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = Arc::clone(&seen);
            move |_: Stream, line: &str| {
                seen.lock().expect("no test panics here").push(line.to_owned());
            }
        };
        Source::new(Stream::Out, text).follow(&sink).await;
        seen.lock().expect("no test panics here").clone()
    }

    #[tokio::test]
    async fn a_last_line_without_an_end_is_handed_on_and_empty_ones_are_not() {
        assert_eq!(lines(b"one\n\ntwo \xff\r\nthree").await, ["one", "two \u{fffd}", "three"]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_handed_on_in_pieces() {
        let endless = vec![b'x'; LINE_BYTES_MAX * 2 + 1];

        let lengths: Vec<usize> = lines(&endless).await.iter().map(String::len).collect();

        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }
}
