//! Limits of the fleet's port, each with its reason.

use std::time::Duration;

use tonic::transport::{Endpoint, Server};

/// How long the system may take to connect: a coordinator that is there answers within a round trip.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Silence after which the other side is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to say so. With the interval: a host whose machine died, or that a cut cable left behind, is known
/// to be away within 20 s, and the host looks for its coordinator anew within the same time.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls at once on one connection: a host has its stream and a few downloads, an operator a handful.
pub const STREAMS_LIMIT: u32 = 64;
/// Most bytes of headers that either side takes: the three texts of a failure, escaped.
pub const HEADER_LIMIT_BYTES: u32 = 64 << 10;

/// Limits of a coordinator's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a handshake may take: three packets, and a machine that is busy.
    pub handshake: Duration,
    /// Handshakes at once. Each is about a millisecond of work and some kilobytes; at the limit further clients wait in the
    /// system's queue. A client that never finishes holds its place for [`handshake`](Self::handshake) at most.
    pub handshakes: usize,
    /// Connections at once: a file and some tens of kilobytes each. Beyond, a client is closed at once.
    pub connections: usize,
    /// Connections of strangers (no certificate, or one that was refused) at once: few machines join at the same time, and
    /// however many strangers come, members find room.
    pub strangers: usize,
    /// How long a stranger may stay: joining is one call.
    pub stranger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            handshakes: 256,
            connections: 12_000,
            strangers: 128,
            stranger: Duration::from_secs(30),
        }
    }
}

/// A server for this port, to which services are added.
#[must_use]
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_LIMIT)
        .http2_max_header_list_size(HEADER_LIMIT_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// The client's side of the same.
pub(super) fn endpoint() -> Endpoint {
    // The address is not looked at: the connector has it.
    Endpoint::from_static("http://coordinator")
        .http2_max_header_list_size(HEADER_LIMIT_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}
