//! Ids and time. Newtypes, so that a timer is never closed and a connection never answered as a call; ordered and
//! serializable, so that they can be keys in a state.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use crate::Schema;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema)]
        pub struct $name(u64);

        impl $name {
            /// The id with this number.
            pub const fn new(id: u64) -> Self {
                Self(id)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A client's connection. It belongs to the host, outlives every instance and its number is never used again.
    ///
    /// ```
    /// use guest_sdk::ConnectionId;
    /// use std::collections::BTreeMap;
    ///
    /// let mut names = BTreeMap::new();
    /// names.insert(ConnectionId::new(1), "ann");
    /// assert_eq!(names.get(&ConnectionId::new(1)), Some(&"ann"));
    /// ```
    ConnectionId
}

id! {
    /// A timer, named by the workload. Setting a timer that is already set moves it.
    ///
    /// ```
    /// const TICK: guest_sdk::TimerId = guest_sdk::TimerId::new(1);
    /// assert_eq!(TICK.to_string(), "1");
    /// ```
    TimerId
}

id! {
    /// A call from the operator or another program, waiting for one reply.
    ///
    /// ```
    /// assert!(guest_sdk::CallId::new(1) < guest_sdk::CallId::new(2));
    /// ```
    CallId
}

id! {
    /// An HTTP exchange. The host names those that come in, the workload those it starts.
    ///
    /// ```
    /// assert_eq!(guest_sdk::RequestId::new(3).get(), 3);
    /// ```
    RequestId
}

/// A moment: nanoseconds since the Unix epoch, as the host gave it. It never falls from one batch to the next.
///
/// ```
/// use guest_sdk::Timestamp;
/// use std::time::Duration;
///
/// let start = Timestamp::from_nanos(1_000);
/// let later = start + Duration::from_nanos(500);
/// assert_eq!(later.since(start), Duration::from_nanos(500));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment this many nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Stays at the end of time (the year 2554) instead of wrapping around.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}
