//! Framing that is part of the state, so that half a line received before a swap is still there after it.
//!
//! [`Lines`] and [`Frames`] hold something for a connection only while a piece of it is incomplete. A workload calls `forget`
//! when a connection closes. What a client can make them hold is bounded by the limit; input beyond it is an error, after which
//! the workload closes the connection.

use std::collections::BTreeMap;
use std::fmt;

use crate::{ConnectionId, Schema};
use postcard_schema::schema::{DataModelType, NamedType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod frames;
mod lines;

pub use frames::{FrameChunk, Frames};
pub use lines::{LineChunk, Lines};

/// A line or frame is longer than the limit. It stays an error for that connection until it is forgotten.
///
/// ```
/// use guest_sdk::{ConnectionId, framing::Lines};
/// let mut lines = Lines::with_limit(4);
/// let error = lines.feed(ConnectionId::new(1), b"12345".to_vec()).unwrap_err();
/// assert_eq!(error.to_string(), "longer than 4 bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The limit.
    pub limit_bytes: u32,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longer than {} bytes", self.limit_bytes)
    }
}

impl std::error::Error for TooLong {}

/// What is kept of connections whose last piece is incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
struct Rests(BTreeMap<ConnectionId, Rest>);

/// `None`: the limit was passed. Bytes that were on their way when the connection was closed must not be taken for a new piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
struct Rest(Option<Bytes>);

impl Rests {
    /// The data with what was kept in front of it, and how long that was. Nothing is kept afterwards.
    fn join(&mut self, connection: ConnectionId, data: Vec<u8>, limit_bytes: u32) -> Result<(Vec<u8>, usize), TooLong> {
        // Most connections have nothing here: an empty map costs one comparison.
        let Some(Rest(rest)) = self.0.remove(&connection) else { return Ok((data, 0)) };
        let Some(Bytes(mut rest)) = rest else { return Err(self.overflow(connection, limit_bytes)) };
        let kept = rest.len();
        rest.extend_from_slice(&data);
        Ok((rest, kept))
    }

    fn keep(&mut self, connection: ConnectionId, rest: Vec<u8>) {
        if !rest.is_empty() {
            self.0.insert(connection, Rest(Some(Bytes(rest))));
        }
    }

    fn overflow(&mut self, connection: ConnectionId, limit_bytes: u32) -> TooLong {
        self.0.insert(connection, Rest(None));
        TooLong { limit_bytes }
    }
}

/// Bytes that serialize in one piece instead of one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl Schema for Bytes {
    const SCHEMA: &'static NamedType = &NamedType { name: "Bytes", ty: &DataModelType::ByteArray };
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
