//! How many sessions (instances with a connection each) a host has room for.
//!
//! What bounds it is known before there is one: the system's limit on memory mappings, the limit on open files, the slots of the
//! pool, and, as soon as it is known what is to run, the memory that guests may have. A host that only noticed at the limit would
//! fail in the middle of a swap, which needs each session twice: once for the instance that serves, once for its candidate.

use serde::{Deserialize, Serialize};

/// Memory mappings of one instance's linear memory: what it can use, and what it can still grow by. (Its tables lie in one
/// mapping with everybody's, and its code in one with its release's.)
pub const MAPS_PER_INSTANCE: u64 = 2;

/// Instances of one session while it is swapped.
pub const INSTANCES_PER_SESSION: u64 = 2;

/// Mappings kept for everything else: threads, libraries, compiled code, and the instances of the single topology, which
/// take six each where there are a thousand of them.
pub const MAPS_KEPT: u64 = 8_000;

/// Most sessions, whatever the machine allows: the pool's bookkeeping is a few hundred bytes for each slot, and beyond this
/// one process is the wrong place.
pub const SESSIONS_LIMIT: u64 = 16_384;

/// What an instance has of memory at least: one page.
pub const SESSION_BYTES_LEAST: u64 = 64 << 10;

/// What the machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Mappings that a process may have (`vm.max_map_count`); none where there is no such limit.
    pub maps: Option<u64>,
    /// Connections that may be open at once.
    pub connections: u64,
    /// Memory that new guests may have together.
    pub memory_bytes: u64,
    /// What one session of those that run begins with; 0 while it is not known. One that grows takes more: that memory is there
    /// for all is not promised, and who finds none is refused or ended by itself.
    pub session_bytes: u64,
    /// What whoever runs the host wants there to be at most.
    pub wanted: Option<u64>,
}

/// Sessions that can be there at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCapacity {
    /// How many.
    pub sessions: u64,
    /// Why not more.
    pub bound_by: Bound,
}

/// What bounds the number of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// `vm.max_map_count`.
    MapCount,
    /// The limit on open files.
    OpenFiles,
    /// The pool's own limit, [`SESSIONS_LIMIT`].
    Pool,
    /// The memory that guests may have together.
    GuestMemory,
    /// Whoever runs the host wants no more.
    Option,
}

impl Bound {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MapCount => "map-count",
            Self::OpenFiles => "open-files",
            Self::Pool => "pool",
            Self::GuestMemory => "guest-memory",
            Self::Option => "option",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MapCount => "raise vm.max_map_count and start the host again",
            Self::OpenFiles => "raise the open-file limit and start the host again",
            Self::Pool => "put another host beside this one",
            Self::GuestMemory => "start the host with a higher --guest-memory, or give the guest a smaller stack",
            Self::Option => "start the host with a higher --sessions",
        }
    }
}

impl SessionCapacity {
    /// What these means have room for.
    #[must_use]
    pub fn of(means: Means) -> Self {
        let by_maps = means
            .maps
            .map_or(u64::MAX, |maps| maps.saturating_sub(MAPS_KEPT) / (MAPS_PER_INSTANCE * INSTANCES_PER_SESSION));
        let each_bytes = means.session_bytes.max(SESSION_BYTES_LEAST).saturating_mul(INSTANCES_PER_SESSION);
        let bounds = [
            (SESSIONS_LIMIT, Bound::Pool),
            (means.connections, Bound::OpenFiles),
            (by_maps, Bound::MapCount),
            (means.memory_bytes / each_bytes, Bound::GuestMemory),
            (means.wanted.unwrap_or(u64::MAX), Bound::Option),
        ];
        let mut least = Self { sessions: u64::MAX, bound_by: Bound::Pool };
        for (sessions, bound_by) in bounds {
            if sessions < least.sessions {
                least = Self { sessions, bound_by };
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANS: Means =
        Means { maps: None, connections: 1 << 20, memory_bytes: u64::MAX, session_bytes: 0, wanted: None };

    #[test]
    fn the_tightest_limit_bounds_it_and_is_named() {
        for (maps, connections, wanted, sessions, bound_by) in [
            (Some(65_530), 19_936, None, 14_382, Bound::MapCount),
            (Some(65_530), 960, None, 960, Bound::OpenFiles),
            (Some(1 << 20), 1 << 20, None, SESSIONS_LIMIT, Bound::Pool),
            (None, 1 << 20, None, SESSIONS_LIMIT, Bound::Pool),
            (Some(100), 1 << 20, None, 0, Bound::MapCount),
            (Some(65_530), 19_936, Some(100), 100, Bound::Option),
            (Some(65_530), 960, Some(1_000), 960, Bound::OpenFiles),
        ] {
            let means = Means { maps, connections, wanted, ..MEANS };
            assert_eq!(SessionCapacity::of(means), SessionCapacity { sessions, bound_by }, "{means:?}");
        }
    }

    #[test]
    fn memory_has_room_for_each_session_twice_as_soon_as_its_size_is_known() {
        for (memory_bytes, session_bytes, sessions, bound_by) in [
            (17 << 30, 0, SESSIONS_LIMIT, Bound::Pool),
            (17 << 30, 128 << 10, SESSIONS_LIMIT, Bound::Pool),
            (17 << 30, 1_114_112, 8_192, Bound::GuestMemory),
            (32 << 20, 0, 256, Bound::GuestMemory),
            (32 << 20, 16 << 20, 1, Bound::GuestMemory),
            (32 << 20, 17 << 20, 0, Bound::GuestMemory),
            (u64::MAX, u64::MAX, 1, Bound::GuestMemory),
        ] {
            let means = Means { memory_bytes, session_bytes, ..MEANS };
            assert_eq!(SessionCapacity::of(means), SessionCapacity { sessions, bound_by }, "{means:?}");
        }
    }

    #[test]
    fn ten_thousand_sessions_fit_the_usual_limits_while_they_are_swapped() {
        let means = Means { maps: Some(65_530), connections: 1 << 16, memory_bytes: 4 << 30, ..MEANS };
        let capacity = SessionCapacity::of(Means { session_bytes: 192 << 10, ..means });
        assert!(capacity.sessions >= 10_000);
        assert!(capacity.sessions * INSTANCES_PER_SESSION * MAPS_PER_INSTANCE + MAPS_KEPT <= 65_530);
    }
}
