//! A limit on everything that crosses the wire.

use std::time::Duration;

/// Largest component, the runtime's own limit: with a language's interpreter in it one has ten to thirty megabytes.
pub const COMPONENT_LIMIT_BYTES: u64 = 64 << 20;
/// Largest chunk of a component: small enough that an upload does not crowd out other calls on the socket.
pub const CHUNK_LIMIT_BYTES: usize = 256 << 10;
/// Largest config: it is text that a person wrote, and `init` gets it in one piece.
pub const CONFIG_LIMIT_BYTES: usize = 1 << 20;
/// Largest payload of a call, and of its reply: it is copied into the guest in one piece.
pub const PAYLOAD_LIMIT_BYTES: usize = 16 << 20;
/// Longest name of a call's method.
pub const METHOD_LIMIT_BYTES: usize = 256;
/// Longest time a call may wait for its reply.
pub const CALL_TIMEOUT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Most listeners of a workload: one per protocol and address family, with room.
pub const LISTENERS_LIMIT: usize = 16;
/// Longest gentle closing of connections.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Most entries of history in one answer.
pub const HISTORY_LIMIT: usize = 1000;
/// Largest message: a payload with its frame, or a full history.
pub const MESSAGE_LIMIT_BYTES: usize = PAYLOAD_LIMIT_BYTES + (1 << 20);
