//! What is decided about sessions: thousands of instances that are swapped together.

/// Rounds of migrating ahead: in a workload that is not busy the third finds hardly any; in one that is, more rounds would
/// find as many again.
pub const ROUNDS_LIMIT: u32 = 3;

/// Changed sessions that the pause can deal with in no time.
pub const FEW: usize = 32;

/// Whether to migrate those ahead that changed, before the pause has to: after `round` rounds, of which the last migrated
/// `migrated` sessions, while `changed` did something.
///
/// Each round takes as long as it has sessions, so what changes during the next is a part of what changed during this one. When
/// that is no longer much less, there is nothing to be gained.
#[must_use]
pub const fn another_round(round: u32, migrated: usize, changed: usize) -> bool {
    round < ROUNDS_LIMIT && changed > FEW && changed <= migrated / 2
}

/// Whether so many instances failed on probation that the release is to blame, not a client.
///
/// `limit` is what a workload may restart within its window: a single instance that failed more often would be stopped.
#[must_use]
pub const fn too_many_failures(failures: u64, limit: usize) -> bool {
    failures > limit as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_end_when_few_changed_or_nothing_is_gained() {
        for (round, migrated, changed, again) in [
            (1, 10_000, 1_000, true),
            (2, 1_000, 100, true),
            (3, 100, 40, false),
            (1, 10_000, FEW, false),
            (1, 10_000, 9_000, false),
            (1, 100, 50, true),
            (1, 0, 0, false),
        ] {
            assert_eq!(another_round(round, migrated, changed), again, "{round}: {changed} of {migrated}");
        }
    }

    #[test]
    fn some_failures_are_the_clients_and_many_are_the_releases() {
        assert!(!too_many_failures(5, 5) && too_many_failures(6, 5) && too_many_failures(1, 0));
    }
}
