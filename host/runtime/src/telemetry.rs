//! Every span and metric of the host: names, places to count, and what a scrape reads.
//!
//! [`Metrics`] holds one [`WorkloadMetrics`] per workload. The actor keeps its `Arc` and counts with relaxed atomics: no
//! lock, no look-up and no allocation on the path of a message. Text is made when somebody scrapes, never before.
//!
//! [`SwapSpan`] opens the span of a swap and, one after the other, a child per phase. It is a value, not a guard on a
//! thread: it may travel with the swap through any number of tasks.
//!
//! What is named where: [`names`]; for people: `docs/TELEMETRY.md` (a test keeps the two equal).

mod exposition;
pub mod names;
mod span;
mod workload;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use host_core::id::WorkloadName;
use prometheus_client::registry::Registry;

pub use host_telemetry::DurationHistogram;

pub use self::{
    span::{SwapSpan, checkpoint_span, compile_span, restart_span},
    workload::{CloseReason, CodeSource, Counts, WorkloadMetrics},
};

/// All metrics of one host.
///
/// Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
}

/// What [`Metrics`] and the collector in its registry both see.
#[derive(Debug, Default)]
struct Shared {
    workloads: RwLock<BTreeMap<WorkloadName, Arc<WorkloadMetrics>>>,
    connection_capacity: AtomicU64,
}

impl Metrics {
    /// No workload yet, everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let mut registry = Registry::with_prefix(names::PREFIX);
        registry.register_collector(Box::new(exposition::HostCollector::new(Arc::clone(&shared))));
        Self { shared, registry: Arc::new(registry) }
    }

    /// The registry, for an embedder that has metrics of its own to encode beside these.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// What a scrape reads, in the OpenMetrics text format.
    #[must_use]
    pub fn scrape(&self) -> String {
        host_telemetry::scrape(&self.registry)
    }

    /// The places to count for this workload, made when first asked for.
    ///
    /// Takes a lock: ask once, keep the answer.
    #[must_use]
    pub fn workload(&self, name: &WorkloadName) -> Arc<WorkloadMetrics> {
        let mut workloads = self.shared.workloads.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(workloads.entry(name.clone()).or_default())
    }

    /// Shows this workload no longer: it was removed. Whoever still counts for it counts for nobody.
    pub fn forget(&self, name: &WorkloadName) {
        self.shared.workloads.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// States how many connections can be open at once.
    pub fn set_connection_capacity(&self, connections: u64) {
        self.shared.connection_capacity.store(connections, Ordering::Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
