//! The embeddable engine: artifacts, instances, workloads, connections, checkpoints, swaps.
//!
//! [`Host`] is the library's face. Thirty lines embed one (`examples/embed.rs` is the whole program):
//!
//! ```no_run
//! # async fn embed(component: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! use host_core::{plan::Intent, policy::SwapPolicy, request::{DeployRequest, Extent}};
//! use host_runtime::{Host, HostConfig};
//!
//! let host = Host::start(HostConfig::new("data")).await?;
//! let mut staging = host.stage()?;
//! staging.write(component)?;
//! let request = DeployRequest {
//!     workload: "counter".parse()?,
//!     version: "1.0.0".parse()?,
//!     listeners: Some(vec!["tcp://127.0.0.1:7000".parse()?]),
//!     config: None,
//!     topology: None,
//!     intent: Intent::Deploy { downgrade: false },
//!     policy: SwapPolicy::default(),
//!     extent: Extent::Swap,
//!     trace: None,
//! };
//! let (progress, _) = tokio::sync::mpsc::channel(64);
//! let report = host.deploy(request, staging.finish()?, progress).await?;
//! assert_eq!(report.verdict.as_str(), "started");
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod artifact;
#[doc(hidden)]
pub mod benching;
pub mod bindings;
mod capability;
mod checkpoint;
mod clock;
mod config;
pub mod engine;
mod error;
mod events;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod ids;
pub mod instance;
mod ledger;
mod mailbox;
mod net;
mod sessions;
pub mod telemetry;
mod workload;

pub use self::{
    config::{HostConfig, NetLimits},
    error::{CheckpointError, HostError, LedgerError, StartError},
    events::EventStream,
    host::{Host, PreparedId, ProgressSink},
};
