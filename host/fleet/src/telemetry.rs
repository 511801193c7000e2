//! What a coordinator tells of itself: its metrics, and the spans of its rollouts.
//!
//! Metrics are counted with relaxed atomics by the coordinator's one task and read by whoever scrapes. A rollout's spans are told
//! when they end, after what they tell of was written: the machine itself keeps when they began and under which number, so that
//! a coordinator that starts again goes on with the same trace. What ended in the very step that was not written is told by the
//! next coordinator; what was written and not yet told when it died is lost to the trace, and to nothing else.
//!
//! What is named where: [`names`]; for people: `docs/TELEMETRY.md` (a test keeps the two equal).

mod exposition;
mod metrics;
pub mod names;
mod spans;

use std::sync::Arc;

use host_core::{
    id::{RolloutId, WorkloadName},
    rollout::Part,
    trace::TraceContext,
};
use prometheus_client::registry::Registry;
use semver::Version;

pub use self::{
    metrics::{Figures, InputKind, Metrics},
    spans::{Span, Value},
};

/// Takes spans that are over, and gives traces to what begins.
pub trait Tracer: std::fmt::Debug + Send + Sync {
    /// The span of a rollout that begins now, in a trace of its own; none if that trace shall not be recorded.
    fn begin(&self) -> Option<TraceContext>;

    /// A span is over. Must not wait.
    fn ended(&self, span: Span);
}

/// Something that a step of the coordinator found, and that is told once the step is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A part of a rollout is over.
    Ended {
        /// Of which rollout.
        rollout: RolloutId,
        /// Of which workload.
        workload: WorkloadName,
        /// To which version.
        to: Version,
        /// Which part.
        part: Box<Part>,
    },
    /// A host answered to an upkeep.
    Upkept {
        /// Whether it was done.
        done: bool,
    },
}

/// A coordinator's metrics, and where its spans go. Clones are the same.
#[derive(Clone, Debug)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    tracer: Option<Arc<dyn Tracer>>,
}

impl Telemetry {
    /// Everything at zero; spans go to `tracer`, if there is one.
    #[must_use]
    pub fn new(tracer: Option<Arc<dyn Tracer>>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let mut registry = Registry::with_prefix(names::PREFIX);
        registry.register_collector(Box::new(exposition::FleetCollector::new(metrics.clone())));
        Self { metrics, registry: Arc::new(registry), tracer }
    }

    /// The places to count.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who gives a new rollout its trace.
    #[must_use]
    pub fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        self.tracer.clone()
    }

    /// What a scrape reads, in the OpenMetrics text format.
    #[must_use]
    pub fn scrape(&self) -> String {
        host_telemetry::scrape(&self.registry)
    }

    /// What a step found, once it is written.
    pub(crate) fn observed(&self, observed: Vec<Observed>) {
        for observed in observed {
            match observed {
                Observed::Upkept { done } => self.metrics.upkept(done),
                Observed::Ended { rollout, workload, to, part } => {
                    self.metrics.ended(&part);
                    if let Some(tracer) = &self.tracer
                        && let Some(span) = spans::of(rollout, &workload, &to, *part)
                    {
                        tracer.ended(span);
                    }
                }
            }
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new(None)
    }
}
