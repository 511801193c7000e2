//! Frames with their length in front.

use super::{Rests, TooLong};
use crate::{ConnectionId, Schema};
use serde::{Deserialize, Serialize};

const DEFAULT_LIMIT_BYTES: u32 = 1024 * 1024;
const PREFIX_BYTES: usize = 4;

/// Puts received chunks together into frames: a big-endian `u32` with the payload's length, then the payload. Part of the state.
///
/// ```
/// use guest_sdk::{ConnectionId, framing::Frames};
///
/// let ann = ConnectionId::new(1);
/// let mut frames = Frames::new();
/// let wire = frames.encode(b"hello")?;
/// let (first, second) = wire.split_at(6);
/// assert!(frames.feed(ann, first.to_vec())?.next_frame().is_none());
/// let mut chunk = frames.feed(ann, second.to_vec())?;
/// assert_eq!(chunk.next_frame(), Some(&b"hello"[..]));
/// # Ok::<(), guest_sdk::framing::TooLong>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Frames {
    limit_bytes: u32,
    rests: Rests,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// Frames of up to 1 MiB.
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT_BYTES)
    }

    /// Frames of up to this many bytes of payload. The limit is part of the state.
    pub fn with_limit(limit_bytes: u32) -> Self {
        Self { limit_bytes, rests: Rests::default() }
    }

    /// Takes a chunk and gives the frames that are now complete. Memory is taken for bytes that came, never for a length that
    /// was only announced.
    ///
    /// # Errors
    /// A frame announces more than the limit. The whole chunk is dropped, and the connection's further input is an error too
    /// until [`forget`](Self::forget): the workload should close the connection.
    pub fn feed(&mut self, connection: ConnectionId, data: Vec<u8>) -> Result<FrameChunk, TooLong> {
        let (mut data, _) = self.rests.join(connection, data, self.limit_bytes)?;
        let mut end = 0;
        while let Some(length) = length_at(&data, end) {
            if length > self.limit_bytes {
                return Err(self.rests.overflow(connection, self.limit_bytes));
            }
            let next = end + PREFIX_BYTES + length as usize;
            if next > data.len() {
                break;
            }
            end = next;
        }
        if end == 0 {
            self.rests.keep(connection, data);
            return Ok(FrameChunk { data: Vec::new(), next: 0 });
        }
        self.rests.keep(connection, data.split_off(end));
        Ok(FrameChunk { data, next: 0 })
    }

    /// A payload with its length in front.
    ///
    /// # Errors
    /// It is longer than the limit.
    pub fn encode(&self, payload: &[u8]) -> Result<Vec<u8>, TooLong> {
        match u32::try_from(payload.len()) {
            Ok(length) if length <= self.limit_bytes => Ok([&length.to_be_bytes(), payload].concat()),
            _ => Err(TooLong { limit_bytes: self.limit_bytes }),
        }
    }

    /// Forgets a connection. To be called when it closes.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.rests.0.remove(&connection);
    }

    /// How many connections have an incomplete frame.
    pub fn incomplete(&self) -> usize {
        self.rests.0.len()
    }
}

/// Complete frames of one chunk; see [`Frames`] for an example.
#[derive(Debug)]
pub struct FrameChunk {
    data: Vec<u8>,
    next: usize,
}

impl FrameChunk {
    /// The next frame's payload.
    pub fn next_frame(&mut self) -> Option<&[u8]> {
        let start = self.next + PREFIX_BYTES;
        let end = start + length_at(&self.data, self.next)? as usize;
        let payload = self.data.get(start..end)?;
        self.next = end;
        Some(payload)
    }
}

fn length_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|prefix| u32::from_be_bytes(*prefix))
}
