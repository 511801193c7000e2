//! A histogram of durations that many may write at once without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds in nanoseconds, 1-2-5 from 1 µs to 100 s: a call of `handle` takes a few µs, a compilation some seconds.
const BOUNDS_NS: [u64; 25] = [
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

/// Durations, counted by size.
///
/// Recording is two relaxed additions. A reader may see a record in a bucket before it is in the sum, as with any
/// histogram that is scraped while it is written.
#[derive(Debug)]
pub struct DurationHistogram {
    /// One per bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl DurationHistogram {
    /// Counts one more.
    pub fn record(&self, duration: Duration) {
        // 584 years fit.
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let index = BOUNDS_NS.partition_point(|bound| *bound < ns);
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
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let bounds = BOUNDS_NS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        (seconds(self.sum_ns.load(Ordering::Relaxed)), bounds.zip(counts).collect())
    }
}

impl Default for DurationHistogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BOUNDS_NS.len() + 1], sum_ns: AtomicU64::new(0) }
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
}
