//! Latencies: kept one by one for as long as it is not known which belong together, then as a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Most latencies kept one by one: 64 MiB of them. Two minutes at the default rate.
const SAMPLES_LIMIT: usize = 4 << 20;

/// How long one line took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was due to be sent.
    pub(crate) due: Duration,
    /// From then to its answer.
    pub(crate) took: Duration,
}

/// A sample in 16 bytes instead of 32.
#[derive(Clone, Copy, Debug)]
struct Packed {
    due_ns: u64,
    took_ns: u64,
}

/// Latencies one by one.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Packed>);

impl Samples {
    /// Adds one; past the limit it is dropped: the checks go on, only the figures miss it.
    pub(super) fn add(&mut self, due: Duration, arrived: Duration) {
        if self.0.len() < SAMPLES_LIMIT {
            let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            self.0.push(Packed { due_ns: ns(due), took_ns: ns(arrived.saturating_sub(due)) });
        }
    }

    /// All of them; none are left.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let samples = std::mem::take(&mut self.0);
        let unpack = |Packed { due_ns, took_ns }| Sample {
            due: Duration::from_nanos(due_ns),
            took: Duration::from_nanos(took_ns),
        };
        samples.into_iter().map(unpack).collect()
    }
}

/// A distribution of latencies, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Two digits of precision: 1 % is finer than two runs differ.
    const DIGITS: u8 = 2;

    /// No latency yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(Self::DIGITS)?))
    }

    /// The distribution of these.
    pub(crate) fn of(samples: impl IntoIterator<Item = Duration>) -> anyhow::Result<Self> {
        let mut latencies = Self::new()?;
        for took in samples {
            latencies.add(took);
        }
        Ok(latencies)
    }

    /// Adds one.
    pub(crate) fn add(&mut self, took: Duration) {
        // `record` grows the histogram (`saturating_record` would not), up to half of all 64 bits of µs.
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(u64::MAX / 2);
        self.0.record(us).unwrap_or_default();
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share of them, from 0 to 1, does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_knows_its_middle_its_tail_and_its_end() {
        let latencies = Latencies::of((1..=1_000).map(Duration::from_millis)).expect("a histogram");
        let near = |figure: Duration, ms: u64| {
            let wanted = Duration::from_millis(ms);
            assert!(figure.abs_diff(wanted) <= wanted / 50, "{figure:?} is not {wanted:?}");
        };
        assert_eq!(latencies.count(), 1_000);
        near(latencies.quantile(0.5), 500);
        near(latencies.quantile(0.99), 990);
        near(latencies.max(), 1_000);
    }

    #[test]
    fn an_absurd_latency_is_no_panic() {
        let latencies = Latencies::of([Duration::MAX, Duration::ZERO]).expect("a histogram");
        assert_eq!(latencies.count(), 2);
    }
}
