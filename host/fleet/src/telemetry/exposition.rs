//! What a scrape reads: the table of names, filled in.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use host_core::rollout::{CommandEnd, command::ActionKind};
use host_telemetry::{DurationHistogram, Samples};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    metrics::{InputKind, Metrics, RESULTS, STANDINGS, STATUSES, UPKEPT, read},
    names::{self, Metric},
};

/// Gives all metrics to whoever scrapes.
#[derive(Debug)]
pub(super) struct FleetCollector(Arc<Metrics>);

impl FleetCollector {
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self(metrics)
    }
}

impl Collector for FleetCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.0;
        let mut table = Table { encoder };
        table.gauges(&names::EPOCH, [(None, &metrics.epoch)])?;
        table.gauges(&names::HOSTS, [(None, &metrics.hosts)])?;
        table.gauges(&names::HOSTS_CONNECTED, [(None, &metrics.connected)])?;
        table.gauges(&names::ROLLOUTS, labelled("state", STANDINGS, &metrics.rollouts))?;
        table.durations(&names::ROLLOUT, labelled("result", RESULTS, &metrics.rollout))?;
        table.counters(&names::ROLLOUT_HOSTS, labelled("status", STATUSES, &metrics.rollout_hosts))?;
        let actions = ActionKind::ALL.map(ActionKind::as_str);
        table.counters(&names::COMMANDS, labelled("action", actions, &metrics.commands))?;
        table.outcomes(metrics)?;
        table.durations(&names::COMMAND, labelled("action", actions, &metrics.command))?;
        table.counters(&names::UPKEEPS, labelled("result", UPKEPT, &metrics.upkeeps))?;
        let kinds = InputKind::ALL.map(InputKind::as_str);
        table.counters(&names::INPUTS, labelled("kind", kinds, &metrics.inputs))?;
        table.gauges(&names::INPUTS_WAITING, [(None, &metrics.inputs_waiting)])?;
        table.durations(&names::STEP, [(None, &metrics.step)])?;
        table.durations(&names::COMMIT, [(None, &metrics.commit)])?;
        table.counters(&names::SLOW_SESSIONS, [(None, &metrics.slow_sessions)])?;
        table.counters(&names::SENT, [(None, &metrics.sent_bytes)])
    }
}

/// The label, where there is one.
type Label = Option<(&'static str, &'static str)>;

/// One sample for each value of a label.
fn labelled<'m, T, const N: usize>(
    label: &'static str,
    values: [&'static str; N],
    samples: &'m [T; N],
) -> impl Iterator<Item = (Label, &'m T)> {
    values.into_iter().map(move |value| Some((label, value))).zip(samples)
}

/// One family after the other.
struct Table<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Table<'_> {
    fn counters<'m>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = (Label, &'m AtomicU64)>,
    ) -> fmt::Result {
        self.family(metric, values, |samples, labels, count| samples.counter(labels, read(count)))
    }

    fn gauges<'m>(&mut self, metric: &Metric, values: impl IntoIterator<Item = (Label, &'m AtomicU64)>) -> fmt::Result {
        self.family(metric, values, |samples, labels, value| samples.gauge(labels, read(value)))
    }

    fn durations<'m>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = (Label, &'m DurationHistogram)>,
    ) -> fmt::Result {
        self.family(metric, values, |samples, labels, histogram| samples.durations(labels, histogram))
    }

    fn outcomes(&mut self, metrics: &Metrics) -> fmt::Result {
        Samples::of(&mut self.encoder, &names::OUTCOMES, |samples| {
            for (action, ends) in ActionKind::ALL.into_iter().zip(&metrics.outcomes) {
                for (end, count) in CommandEnd::ALL.into_iter().zip(ends) {
                    samples.counter(&[("action", action.as_str()), ("result", end.as_str())], read(count))?;
                }
            }
            Ok(())
        })
    }

    fn family<T>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = (Label, T)>,
        write: impl Fn(&mut Samples<'_>, &[(&'static str, &str)], T) -> fmt::Result,
    ) -> fmt::Result {
        Samples::of(&mut self.encoder, metric, |samples| {
            for (label, value) in values {
                let labels: Vec<_> = label.into_iter().collect();
                write(samples, &labels, value)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host_core::{
        id::{CommandId, RolloutId},
        rollout::{Counts, Part, PartKind, Verdict, request::Extent},
        time::UnixNanos,
    };

    use super::super::{Figures, Observed, Telemetry};
    use super::*;

    fn ended(what: PartKind, took: Duration) -> Observed {
        let began = UnixNanos(5);
        Observed::Ended {
            rollout: RolloutId(1),
            workload: "counter".parse().expect("a name"),
            to: "1.1.0".parse().expect("semver"),
            part: Box::new(Part { what, began, ended: began.after(took), span: None }),
        }
    }

    #[test]
    fn every_metric_of_the_coordinators_table_is_scraped_under_its_name() {
        let text = Telemetry::default().scrape();
        for metric in names::ALL {
            let (name, suffix) = (metric.full_name(), if metric.kind.as_str() == "histogram" { "_count" } else { "" });
            let sample = text.lines().find(|line| {
                let rest = line.strip_prefix(&format!("{name}{suffix}"));
                rest.is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
            });
            let sample = sample.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
            assert!(metric.labels.iter().all(|label| sample.contains(&format!("{label}=\""))), "{sample}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, names::ALL.len(), "a metric is scraped that the table does not name");
    }

    #[test]
    fn what_rollouts_came_to_is_what_is_scraped() {
        let telemetry = Telemetry::default();
        let counts = Counts { total: 4, upgraded: 3, rolled_back: 1, ..Counts::default() };
        let whole = |extent, verdict| PartKind::Rollout { extent, verdict, why: None, counts };
        telemetry.observed(vec![
            ended(whole(Extent::Roll, Verdict::Partial), Duration::from_secs(90)),
            ended(whole(Extent::Rehearse, Verdict::Unchanged), Duration::from_secs(3)),
            ended(
                PartKind::Command {
                    host: "h1".parse().expect("a name"),
                    command: CommandId(1),
                    action: ActionKind::Switch,
                    end: CommandEnd::Unknown,
                    why: None,
                },
                Duration::from_millis(40),
            ),
            Observed::Upkept { done: false },
        ]);
        telemetry.metrics().stands(Figures { hosts: 6, connected: 5, waiting: 1, ..Figures::default() });
        telemetry.metrics().commanded(ActionKind::RollBack);
        telemetry.metrics().stepped(InputKind::Heard, Duration::from_micros(50), 3);
        let text = telemetry.scrape();
        for wanted in [
            "hotswap_fleet_rollout_seconds_sum{result=\"partial\"} 90.0",
            "hotswap_fleet_rollout_seconds_bucket{le=\"100.0\",result=\"partial\"} 1",
            "hotswap_fleet_rollout_seconds_count{result=\"rehearsed\"} 1",
            "hotswap_fleet_rollout_seconds_count{result=\"unchanged\"} 0",
            "hotswap_fleet_rollout_hosts_total{status=\"upgraded\"} 3",
            "hotswap_fleet_rollout_hosts_total{status=\"rolled-back\"} 1",
            "hotswap_fleet_outcomes_total{action=\"switch\",result=\"unknown\"} 1",
            "hotswap_fleet_command_seconds_sum{action=\"switch\"} 0.04",
            "hotswap_fleet_upkeeps_total{result=\"failed\"} 1",
            "hotswap_fleet_hosts_connected 5",
            "hotswap_fleet_rollouts{state=\"waiting\"} 1",
            "hotswap_fleet_commands_total{action=\"roll-back\"} 1",
            "hotswap_fleet_inputs_total{kind=\"heard\"} 1",
            "hotswap_fleet_inputs_waiting 3",
        ] {
            assert!(text.lines().any(|line| line == wanted), "`{wanted}` is missing in\n{text}");
        }
    }

    #[test]
    fn the_document_lists_every_metric_of_a_coordinator_and_no_other() {
        let document = include_str!("../../../../docs/TELEMETRY.md");
        let listed: Vec<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `hotswap_fleet_")?.split('`').next()).collect();
        let named: Vec<String> = names::ALL.iter().map(Metric::full_name).collect();
        assert_eq!(listed, named.iter().filter_map(|name| name.strip_prefix("hotswap_fleet_")).collect::<Vec<_>>());
        for metric in names::ALL {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{}`", metric.full_name())));
            for label in metric.labels {
                assert!(row.is_some_and(|row| row.contains(&format!("`{label}`"))), "{}: {label}", metric.full_name());
            }
        }
    }
}
