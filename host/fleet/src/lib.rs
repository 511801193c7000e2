//! A fleet of hosts: who belongs to it, what shall run where, and how a release reaches all of them.
#![warn(missing_docs)]

pub mod agent;
pub mod client;
pub mod clock;
pub mod coordinator;
pub mod identity;
pub mod join;
pub mod operator;
pub mod protocol;
pub mod store;
pub mod telemetry;
pub mod transport;

/// The generated messages, clients and servers.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    reason = "generated; proto/ is documented"
)]
pub mod pb {
    tonic::include_proto!("hotswap.fleet.v1");
}
