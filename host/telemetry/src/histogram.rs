//! A histogram of durations that many may write at once without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How many bounds a histogram has: 1-2-5 over eight decades.
const BOUNDS: usize = 25;

/// Upper bounds in nanoseconds, 1-2-5 from 1 µs to 100 s: a call of `handle` takes a few µs, a compilation some seconds.
const SHORT_NS: [u64; BOUNDS] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

/// Upper bounds in nanoseconds, 1-2-5 from 1 ms to 100 000 s: a command takes milliseconds, a rollout that soaks a day.
const LONG_NS: [u64; BOUNDS] = longer(SHORT_NS);

const fn longer(mut bounds: [u64; BOUNDS]) -> [u64; BOUNDS] {
    let mut index = 0;
    while index < BOUNDS {
        #[expect(clippy::indexing_slicing, reason = "below the array's length, at compile time")]
        {
            bounds[index] *= 1_000;
        }
        index += 1;
    }
    bounds
}

/// Durations, counted by size.
///
/// Recording is two relaxed additions. A reader may see a record in a bucket before it is in the sum, as with any
/// histogram that is scraped while it is written.
#[derive(Debug)]
pub struct DurationHistogram {
    bounds_ns: &'static [u64; BOUNDS],
    /// One per bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl DurationHistogram {
    /// From 1 µs to 100 s: for what one host does.
    #[must_use]
    pub const fn short() -> Self {
        Self::within(&SHORT_NS)
    }

    /// From 1 ms to 100 000 s: for what many hosts do together.
    #[must_use]
    pub const fn long() -> Self {
        Self::within(&LONG_NS)
    }

    const fn within(bounds_ns: &'static [u64; BOUNDS]) -> Self {
        Self { bounds_ns, buckets: [const { AtomicU64::new(0) }; BOUNDS + 1], sum_ns: AtomicU64::new(0) }
    }

    /// Counts one more.
    pub fn record(&self, duration: Duration) {
        // 584 years fit.
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let index = self.bounds_ns.partition_point(|bound| *bound < ns);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Their sum in seconds, and each bucket's bound in seconds with its own count.
    #[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds shown in seconds needs no 64 bits")]
    pub(crate) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let bounds = self.bounds_ns.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        (seconds(self.sum_ns.load(Ordering::Relaxed)), bounds.zip(counts).collect())
    }
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self::short()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_bucket_that_holds_it() {
        let histogram = DurationHistogram::default();
        for ns in [0, 1_000, 1_001, 200_000, u64::MAX] {
            histogram.record(Duration::from_nanos(ns));
        }
        let (_, buckets) = histogram.read();
        let count = |bound: f64| buckets.iter().find(|(le, _)| *le == bound).expect("a bound").1;
        assert_eq!(count(1e-6), 2, "a bound belongs to its bucket");
        assert_eq!(count(2e-6), 1);
        assert_eq!(count(2e-4), 1);
        assert_eq!(count(f64::INFINITY), 1);
        assert_eq!(histogram.count(), 5);
    }

    #[test]
    fn a_long_histogram_has_a_place_for_a_day() {
        let histogram = DurationHistogram::long();
        histogram.record(Duration::from_secs(24 * 60 * 60));
        let (_, buckets) = histogram.read();
        assert_eq!(buckets.iter().find(|(_, count)| *count == 1).map(|(bound, _)| *bound), Some(1e5));
    }
}
