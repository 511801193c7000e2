//! The fleet's one TCP port: TLS 1.3 in both directions, and who is at the other end.
//!
//! - [`server`] accepts. A client that shows a certificate proves in the handshake that it holds the key; whether the
//!   certificate is believed is decided after it and carried as [`Peer`], so that a refusal reaches the user in words and
//!   not as a TLS alert. A refused client is a stranger: it may ask why, and nothing else.
//! - [`client`] reaches a coordinator and gives a channel for tonic.
//! - Both sides show who they are by certificate, whatever the address: [`trust`].
//!
//! Absent on purpose: TLS 1.2 (both ends are ours) and session resumption (a member proves its key at each connection, and
//! one that was thrown out can't come back with an old ticket).

pub mod client;
pub mod limits;
pub mod peer;
pub mod server;
mod stream;
pub mod trust;

pub use client::{ConnectError, connect};
pub use limits::Limits;
pub use peer::{Caller, Peer};
pub use server::{Counts, Incoming, TransportError};
pub use stream::FleetStream;
pub use trust::Trust;

/// What is spoken inside TLS: HTTP/2, and nothing else is agreed to.
const ALPN: &[u8] = b"h2";
