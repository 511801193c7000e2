//! What a scrape reads: a family's heading and its samples.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    registry::{Registry, Unit as EncodedUnit},
};

use crate::{DurationHistogram, Metric, Unit};

/// A label with its value.
type Label<'a> = (&'static str, &'a str);

/// Takes the samples of one metric.
#[derive(Debug)]
pub struct Samples<'e>(MetricEncoder<'e>);

impl<'e> Samples<'e> {
    /// Writes the metric's heading, then what `fill` gives.
    ///
    /// # Errors
    /// When the text can't be written.
    pub fn of(
        encoder: &mut DescriptorEncoder<'_>,
        metric: &Metric,
        fill: impl FnOnce(&mut Samples<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = match metric.unit {
            Unit::None => None,
            Unit::Seconds => Some(EncodedUnit::Seconds),
            Unit::Bytes => Some(EncodedUnit::Bytes),
        };
        fill(&mut Samples(encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric.kind)?))
    }

    /// A count so far.
    ///
    /// # Errors
    /// When the text can't be written.
    pub fn counter(&mut self, labels: &[Label<'_>], count: u64) -> fmt::Result {
        self.sample(labels, |sample| sample.encode_counter::<NoLabelSet, _, u64>(&count, None))
    }

    /// A value as it is now.
    ///
    /// # Errors
    /// When the text can't be written.
    pub fn gauge(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        self.sample(labels, |sample| sample.encode_gauge(&value))
    }

    /// Lengths of time.
    ///
    /// # Errors
    /// When the text can't be written.
    pub fn durations(&mut self, labels: &[Label<'_>], histogram: &DurationHistogram) -> fmt::Result {
        let (sum, buckets) = histogram.read();
        // From the buckets just read, so that `_count` and the last bucket agree.
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.sample(labels, |sample| sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None))
    }

    fn sample(
        &mut self,
        labels: &[Label<'_>],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() { write(&mut self.0) } else { write(&mut self.0.encode_family(&labels)?) }
    }
}

/// What a scrape reads, in the OpenMetrics text format.
#[must_use]
pub fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    // Only the writer could fail, and a String takes everything.
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap_or_default();
    text
}
