//! What time it is, asked in one place, so that a test can say it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use host_core::time::UnixNanos;

/// Tells the time. Clones tell the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixNanos + Send + Sync>);

impl Clock {
    /// A clock that reads this.
    #[must_use]
    pub fn new(read: impl Fn() -> UnixNanos + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> UnixNanos {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now().0)
    }
}

/// A point in time as a person reads it, to the second, in UTC.
pub(crate) fn written(at: UnixNanos) -> impl fmt::Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.0))
}
