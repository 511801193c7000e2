//! What a scrape reads: the table of names, filled in.

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::AtomicU64},
};

use host_core::swap::PhaseName;
use host_telemetry::{DurationHistogram, Samples};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    Shared,
    names::{self, Metric},
    workload::{CloseReason, WorkloadMetrics, read},
};

/// Gives all metrics to whoever scrapes.
#[derive(Debug)]
pub(super) struct HostCollector {
    shared: Arc<Shared>,
}

impl HostCollector {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Collector for HostCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Copied out, so that a scrape that is slow to write never holds up a deploy.
        let workloads: Vec<(String, Arc<WorkloadMetrics>)> = {
            let workloads = self.shared.workloads.read().unwrap_or_else(PoisonError::into_inner);
            workloads.iter().map(|(name, metrics)| (name.to_string(), Arc::clone(metrics))).collect()
        };
        Samples::of(&mut encoder, &names::CONNECTION_CAPACITY, |samples| {
            samples.gauge(&[], read(&self.shared.connection_capacity))
        })?;
        // A family without a member would be a heading without a text.
        if workloads.is_empty() {
            return Ok(());
        }
        Table { encoder, workloads: &workloads }.write()
    }
}

/// One family after the other, for all workloads.
struct Table<'e, 'w> {
    encoder: DescriptorEncoder<'e>,
    workloads: &'w [(String, Arc<WorkloadMetrics>)],
}

/// The label besides `workload`, where there is one.
type Label = Option<(&'static str, &'static str)>;

impl<'w> Table<'_, 'w> {
    fn write(mut self) -> fmt::Result {
        self.swaps()?;
        self.gauge(&names::GENERATION, |w| &w.generation)?;
        self.gauge(&names::CONNECTIONS, |w| &w.connections)?;
        self.counter(&names::CONNECTIONS_OPENED, |w| &w.connections_opened)?;
        self.counters(&names::CONNECTIONS_CLOSED, |w| {
            let reasons = CloseReason::ALL.iter().map(|reason| Some(("reason", reason.as_str())));
            reasons.zip(w.connections_closed.iter().map(read)).collect()
        })?;
        self.counter(&names::RECEIVED, |w| &w.received_bytes)?;
        self.counter(&names::SENT, |w| &w.sent_bytes)?;
        self.counter(&names::BATCHES, |w| &w.batches)?;
        self.counter(&names::EVENTS, |w| &w.events)?;
        self.counter(&names::EFFECTS, |w| &w.effects)?;
        self.counter(&names::UNKNOWN_IDS, |w| &w.unknown_ids)?;
        self.durations(&names::HANDLE, |w| vec![(None, &w.handle)])?;
        self.gauge(&names::QUEUED_EVENTS, |w| &w.queued_events)?;
        self.gauge(&names::QUEUED, |w| &w.queued_bytes)?;
        self.gauge(&names::GUEST_MEMORY, |w| &w.guest_memory_bytes)?;
        self.counter(&names::RESTARTS, |w| &w.restarts)?;
        self.counter(&names::INSTANCES_FAILED, |w| &w.instances_failed)?;
        self.counter(&names::CONNECTIONS_REFUSED, |w| &w.connections_refused)?;
        self.counter(&names::EVENTS_LOST, |w| &w.events_lost)?;
        self.counter(&names::SET_ASIDE, |w| &w.set_aside)?;
        self.gauge(&names::JOURNAL, |w| &w.journal_bytes)?;
        self.counters(&names::CHECKPOINTS, |w| {
            vec![
                (Some(("result", "written")), read(&w.checkpoints_written)),
                (Some(("result", "failed")), read(&w.checkpoints_failed)),
            ]
        })?;
        self.durations(&names::CHECKPOINT, |w| vec![(None, &w.checkpoint)])?;
        self.gauge(&names::CHECKPOINT_STATE, |w| &w.checkpoint_state_bytes)?;
        self.durations(&names::COMPILE, |w| {
            vec![(Some(("source", "compiled")), &w.compiled), (Some(("source", "cache")), &w.compiled_before)]
        })
    }

    fn swaps(&mut self) -> fmt::Result {
        let workloads = self.workloads;
        Samples::of(&mut self.encoder, &names::SWAPS, |samples| {
            for (name, metrics) in workloads {
                let swaps = metrics.swaps.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for ((kind, outcome), count) in swaps {
                    let labels = [("workload", name.as_str()), ("kind", kind), ("outcome", outcome)];
                    samples.counter(&labels, count)?;
                }
            }
            Ok(())
        })?;
        self.durations(&names::SWAP_PHASE, |w| {
            let phases = PhaseName::ALL.iter().map(|phase| Some(("phase", phase.as_str())));
            phases.zip(&w.swap_phases).collect()
        })?;
        self.durations(&names::SWAP_PAUSE, |w| vec![(None, &w.swap_pause)])?;
        self.gauge(&names::SWAP_STATE, |w| &w.swap_state_bytes)
    }

    fn counter(&mut self, metric: &Metric, value: impl Fn(&WorkloadMetrics) -> &AtomicU64) -> fmt::Result {
        self.counters(metric, |workload| vec![(None, read(value(workload)))])
    }

    fn counters(&mut self, metric: &Metric, values: impl Fn(&WorkloadMetrics) -> Vec<(Label, u64)>) -> fmt::Result {
        self.family(metric, values, |samples, labels, count| samples.counter(labels, count))
    }

    fn gauge(&mut self, metric: &Metric, value: impl Fn(&WorkloadMetrics) -> &AtomicU64) -> fmt::Result {
        let values = |workload: &WorkloadMetrics| vec![(None, read(value(workload)))];
        self.family(metric, values, |samples, labels, value| samples.gauge(labels, value))
    }

    fn durations(
        &mut self,
        metric: &Metric,
        values: impl Fn(&'w WorkloadMetrics) -> Vec<(Label, &'w DurationHistogram)>,
    ) -> fmt::Result {
        self.family(metric, values, |samples, labels, histogram| samples.durations(labels, histogram))
    }

    fn family<T>(
        &mut self,
        metric: &Metric,
        values: impl Fn(&'w WorkloadMetrics) -> Vec<(Label, T)>,
        write: impl Fn(&mut Samples<'_>, &[(&'static str, &str)], T) -> fmt::Result,
    ) -> fmt::Result {
        let workloads = self.workloads;
        Samples::of(&mut self.encoder, metric, |samples| {
            for (name, metrics) in workloads {
                for (label, value) in values(metrics) {
                    let mut labels = vec![("workload", name.as_str())];
                    labels.extend(label);
                    write(samples, &labels, value)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;

    #[test]
    fn every_metric_of_the_table_is_scraped_under_its_name() {
        let metrics = Metrics::new();
        let workload = metrics.workload(&"counter".parse().expect("a name"));
        workload.swaps.lock().expect("fresh").insert(("deploy", "permanent"), 1);
        let text = metrics.scrape();
        for metric in names::ALL {
            let (name, suffix) = (metric.full_name(), if metric.kind.as_str() == "histogram" { "_count" } else { "" });
            let seen = text.lines().any(|line| line.starts_with(&format!("{name}{suffix}{{workload=\"counter\"")));
            let host_wide = text.lines().any(|line| line.starts_with(&format!("{name} ")));
            assert!(seen || host_wide, "{name} is missing in\n{text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, names::ALL.len(), "a metric is scraped that the table does not name");
    }

    #[test]
    fn what_was_counted_is_what_is_scraped() {
        let metrics = Metrics::new();
        let name = "counter".parse().expect("a name");
        let workload = metrics.workload(&name);
        workload.connection_opened();
        workload.connection_opened();
        workload.connection_closed(CloseReason::TooSlow);
        workload.connection_closed(CloseReason::HostRestarted);
        workload.batch(3, 2, Duration::from_micros(7));
        workload.checkpoint_failed();
        metrics.set_connection_capacity(1000);
        let text = metrics.scrape();
        for wanted in [
            "hotswap_connection_capacity 1000",
            "hotswap_connections{workload=\"counter\"} 1",
            "hotswap_connections_closed_total{workload=\"counter\",reason=\"too-slow\"} 1",
            "hotswap_events_total{workload=\"counter\"} 3",
            "hotswap_handle_seconds_count{workload=\"counter\"} 1",
            "hotswap_handle_seconds_sum{workload=\"counter\"} 0.000007",
            "hotswap_handle_seconds_bucket{le=\"0.00001\",workload=\"counter\"} 1",
            "hotswap_checkpoints_total{workload=\"counter\",result=\"failed\"} 1",
        ] {
            assert!(text.lines().any(|line| line == wanted), "`{wanted}` is missing in\n{text}");
        }
        assert_eq!(workload.counts().slow_closed, 1);
        metrics.forget(&name);
        assert!(!metrics.scrape().contains("workload="), "a removed workload is shown no longer");
    }

    #[test]
    fn the_document_lists_every_metric_and_no_other() {
        let document = include_str!("../../../../docs/TELEMETRY.md");
        let listed: Vec<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `hotswap_")?.split('`').next()).collect();
        // Those of a coordinator stand there too.
        let listed: Vec<&str> = listed.into_iter().filter(|name| !name.starts_with("fleet_")).collect();
        let named: Vec<String> = names::ALL.iter().map(Metric::full_name).collect();
        assert_eq!(listed, named.iter().filter_map(|name| name.strip_prefix("hotswap_")).collect::<Vec<_>>());
        for metric in names::ALL {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{}`", metric.full_name())));
            for label in metric.labels {
                assert!(row.is_some_and(|row| row.contains(&format!("`{label}`"))), "{}: {label}", metric.full_name());
            }
        }
    }
}
