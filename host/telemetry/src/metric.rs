//! A metric's entry in its table.

use prometheus_client::metrics::MetricType;

/// Begins every metric's name.
pub const PREFIX: &str = "hotswap";

/// A metric: how it is called and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Without prefix, unit and `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What is counted or measured.
    pub unit: Unit,
    /// What kind of metric.
    pub kind: MetricType,
    /// The labels, besides one that all metrics of the table have.
    pub labels: &'static [&'static str],
}

/// A metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number of things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Metric {
    /// The name as a scrape shows it.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = match self.unit {
            Unit::None => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let total = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{PREFIX}_{}{unit}{total}", self.name)
    }
}

/// Something that only grows.
#[must_use]
pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, unit: Unit::None, kind: MetricType::Counter, labels }
}

/// Something that is as it is now.
#[must_use]
pub const fn gauge(name: &'static str, help: &'static str, unit: Unit) -> Metric {
    Metric { name, help, unit, kind: MetricType::Gauge, labels: &[] }
}

/// Lengths of time, by size.
#[must_use]
pub const fn duration(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, unit: Unit::Seconds, kind: MetricType::Histogram, labels }
}
