//! The embeddable engine: artifacts, instances, workloads, connections, checkpoints, swaps.
#![warn(missing_docs)]

pub mod artifact;
pub mod bindings;
mod capability;
pub mod engine;
pub mod instance;
pub mod telemetry;
