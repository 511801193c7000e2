//! The embeddable engine: artifacts, instances, workloads, connections, checkpoints, swaps.
#![warn(missing_docs)]

pub mod artifact;
pub mod bindings;
mod capability;
mod checkpoint;
mod clock;
mod config;
pub mod engine;
mod error;
mod events;
mod fault;
mod host;
mod ids;
pub mod instance;
mod ledger;
mod mailbox;
mod net;
pub mod telemetry;
mod workload;

pub use self::{
    config::{HostConfig, NetLimits},
    error::{CheckpointError, HostError, LedgerError, StartError},
    events::EventStream,
    host::{Host, PreparedId, ProgressSink},
};
