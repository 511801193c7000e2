//! The control plane of one host: its protobuf contract, the client, the server, and the one validation door between raw
//! messages and [`host_core`]'s types.
//!
//! - [`Control`] is what a host can be asked; the daemon implements it, [`serve`] puts it on a unix socket.
//! - [`Client`] asks it, in core's types.
//! - [`convert`] is the only place where a raw message becomes a value. What passes it is valid; what does not is answered
//!   with the field's name.
//! - [`Failure`] is an error as a person reads it, the same on both sides of the wire.
#![warn(missing_docs)]

mod client;
mod control;
pub mod convert;
mod failure;
mod protocol;
mod server;
pub mod socket;

pub use client::{Client, ClientError, Swapping, WhileWaiting};
pub use control::{Control, EventSource, Preparation, ProgressSink, Ready, Staging};
pub use failure::{Failure, FailureKind};
pub use protocol::{Identity, MAX_PROTOCOL, MIN_PROTOCOL};
pub use server::{ServeError, serve};

/// The generated messages, client and server. [`convert`] is the way from here to values.
#[expect(
    clippy::all,
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated; proto/ is documented"
)]
pub mod pb {
    tonic::include_proto!("hotswap.host.v1");

    /// The contract itself, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/host.bin"));
}
