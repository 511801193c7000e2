//! Lines that end in `\n` or `\r\n`.

use super::{Rests, TooLong};
use crate::{ConnectionId, Schema};
use serde::{Deserialize, Serialize};

/// Enough for commands and chat, small enough that 10 000 clients which never end a line can't fill a gibibyte.
const DEFAULT_LIMIT_BYTES: u32 = 64 * 1024;

/// Puts received chunks together into lines. Part of the state.
///
/// ```
/// use guest_sdk::{ConnectionId, framing::Lines};
///
/// let ann = ConnectionId::new(1);
/// let mut lines = Lines::new();
/// let mut chunk = lines.feed(ann, b"one\r\ntw".to_vec())?;
/// assert_eq!(chunk.next_line(), Some(&b"one"[..]));
/// assert_eq!(chunk.next_line(), None);
/// let mut chunk = lines.feed(ann, b"o\n".to_vec())?;
/// assert_eq!(chunk.next_line(), Some(&b"two"[..]));
/// # Ok::<(), guest_sdk::framing::TooLong>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Lines {
    limit_bytes: u32,
    rests: Rests,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Lines {
    /// Lines of up to 64 KiB.
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT_BYTES)
    }

    /// Lines of up to this many bytes, their end not counted. The limit is part of the state.
    pub fn with_limit(limit_bytes: u32) -> Self {
        Self { limit_bytes, rests: Rests::default() }
    }

    /// Takes a chunk and gives the lines that are now complete. It copies only what belongs to a line in pieces.
    ///
    /// # Errors
    /// A line is longer than the limit. The whole chunk is dropped, and the connection's further input is an error too until
    /// [`forget`](Self::forget): the workload should close the connection.
    pub fn feed(&mut self, connection: ConnectionId, data: Vec<u8>) -> Result<LineChunk, TooLong> {
        let (mut data, kept) = self.rests.join(connection, data, self.limit_bytes)?;
        // What was kept has no line's end in it, so only the new part is searched.
        let end = data.iter().skip(kept).rposition(|byte| *byte == b'\n').map_or(0, |at| kept + at + 1);
        if data.len() > self.limit_bytes as usize && self.has_too_long(&data) {
            return Err(self.rests.overflow(connection, self.limit_bytes));
        }
        if end == 0 {
            self.rests.keep(connection, data);
            return Ok(LineChunk { data: Vec::new(), next: 0 });
        }
        self.rests.keep(connection, data.split_off(end));
        Ok(LineChunk { data, next: 0 })
    }

    /// Forgets a connection. To be called when it closes.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.rests.0.remove(&connection);
    }

    /// How many connections have an incomplete line.
    pub fn incomplete(&self) -> usize {
        self.rests.0.len()
    }

    fn has_too_long(&self, data: &[u8]) -> bool {
        data.split(|byte| *byte == b'\n').any(|line| trim(line).len() > self.limit_bytes as usize)
    }
}

/// Complete lines of one chunk.
///
/// It gives them out one by one from the chunk itself, so it is no `Iterator`: `while let Some(line) = chunk.next_line()`.
///
/// ```
/// # use guest_sdk::{ConnectionId, framing::Lines};
/// let mut chunk = Lines::new().feed(ConnectionId::new(1), b"a\nb\n".to_vec())?;
/// let mut count = 0;
/// while let Some(line) = chunk.next_line() {
///     assert_eq!(line.len(), 1);
///     count += 1;
/// }
/// assert_eq!(count, 2);
/// # Ok::<(), guest_sdk::framing::TooLong>(())
/// ```
#[derive(Debug)]
pub struct LineChunk {
    data: Vec<u8>,
    next: usize,
}

impl LineChunk {
    /// The next line without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        let rest = self.data.get(self.next..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        self.next += length + 1;
        rest.get(..length).map(trim)
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
