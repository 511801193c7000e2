//! The one place that reads the clocks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use host_core::time::{Moment, UnixNanos};

/// The host's clocks: a monotonic one for durations and deadlines, and wall time that never falls.
///
/// A guest's `now` comes from [`Clock::unix`]: a wall clock that is set back stands still for the guests until it has caught up.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    latest_unix: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), latest_unix: AtomicU64::new(0) }
    }

    /// Now, for durations and deadlines.
    pub(crate) fn moment(&self) -> Moment {
        self.moment_of(Instant::now())
    }

    /// Now, in nanoseconds since the epoch, never less than before.
    pub(crate) fn unix(&self) -> UnixNanos {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(now.max(self.latest_unix.fetch_max(now, Ordering::Relaxed)))
    }

    /// The runtime's instant for a moment.
    pub(crate) fn instant_of(&self, moment: Moment) -> Instant {
        self.start + moment.since(Moment(0))
    }

    fn moment_of(&self, instant: Instant) -> Moment {
        Moment(0).after(instant.duration_since(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_never_falls() {
        let clock = Clock::new();
        let far = u64::MAX / 2;
        clock.latest_unix.store(far, Ordering::Relaxed);
        assert_eq!(clock.unix(), UnixNanos(far));
    }

    #[test]
    fn a_moment_and_its_instant_agree() {
        let clock = Clock::new();
        let now = clock.moment();
        assert_eq!(clock.moment_of(clock.instant_of(now)), now);
    }
}
