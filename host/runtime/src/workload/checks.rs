//! The smoke check that runs after every swap: health, instances reachable, tables, connections continuous, latency
//! against the baseline before.

use std::{collections::VecDeque, time::Duration};

use host_core::{
    history::{Check, ConnectionCount},
    status::HealthStatus,
};

use super::actor::Actor;
pub(crate) use super::actor::ms;

/// Batches whose time is kept: enough for a median, few enough to sort on demand.
const KEPT: usize = 256;
/// A new release may take this many times as long as the one before, …
const SLOWER_FACTOR: u32 = 10;
/// … and below this nobody notices.
const SLOWER_FLOOR: Duration = Duration::from_millis(5);
/// A median of fewer batches is whatever the machine did besides, …
const FEW: usize = 16;
/// … so that only what no machine explains is held against the release.
const SLOWER_FLOOR_OF_FEW: Duration = Duration::from_millis(250);

/// How long batches take, and an event in them: a batch after a pause holds all that was parked, so batches don't compare.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: VecDeque<(Duration, Duration)>,
}

impl Pace {
    pub(crate) fn note(&mut self, took: Duration, events: usize) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        let events = u32::try_from(events.max(1)).unwrap_or(u32::MAX);
        self.last.push_back((took, took / events));
    }

    pub(super) fn longest(&self) -> Duration {
        self.last.iter().map(|(batch, _)| *batch).max().unwrap_or_default()
    }

    /// The median per event; none before the first batch.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.last.iter().map(|(_, event)| *event).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Whether it is slower than `before`, beyond what is allowed and what is chance. False without batches to compare.
    fn is_much_slower_than(&self, before: &Self) -> bool {
        let (Some(now), Some(usual)) = (self.median(), before.median()) else { return false };
        let floor = if self.last.len() < FEW { SLOWER_FLOOR_OF_FEW } else { SLOWER_FLOOR };
        now > (usual * SLOWER_FACTOR).max(floor)
    }

    /// Begins anew, and gives what was: sorting it is not a pause's work.
    pub(super) fn begin_anew(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// What held at the switch.
#[derive(Debug)]
pub(crate) struct Baseline {
    pub(super) connections: u64,
    pub(super) pace: Pace,
}

impl Actor {
    /// The five parts, and the connections.
    pub(super) async fn checks(&mut self, baseline: Option<&Baseline>) -> (Vec<Check>, ConnectionCount) {
        let began = std::time::Instant::now();
        let health = self.health().await;
        let answered = began.elapsed();
        let running = self.instance.is_some();
        let details: Vec<_> = health.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let before = baseline.map_or(self.connections.len() as u64, |baseline| baseline.connections);
        let dropped = baseline.map_or(0, |_| self.connections.dropped());
        let checks = vec![
            Check {
                name: "health".to_owned(),
                passed: health.status != HealthStatus::Failed,
                seen: format!("{} {}", health.status.as_str(), details.join(" ")).trim_end().to_owned(),
            },
            Check {
                name: "instances".to_owned(),
                passed: running,
                seen: if running {
                    format!("1 of 1 answered in {}", ms(answered))
                } else {
                    "0 of 1 answered".to_owned()
                },
            },
            Check { name: "tables".to_owned(), passed: true, seen: "the workload has none".to_owned() },
            Check {
                name: "connections".to_owned(),
                passed: dropped == 0,
                seen: format!("{before} at the switch, {dropped} dropped since, {} open", self.connections.len()),
            },
            latency(baseline.map(|baseline| &baseline.pace), &self.pace),
        ];
        (checks, ConnectionCount { before, kept: before.saturating_sub(dropped) })
    }
}

/// Whether the pace now is much slower than the one before.
pub(crate) fn latency(before: Option<&Pace>, pace: &Pace) -> Check {
    let passed = !before.is_some_and(|before| pace.is_much_slower_than(before));
    let seen = match (before.and_then(Pace::median), pace.median()) {
        (Some(before), Some(now)) => format!("an event takes {}, before the swap {}", ms(now), ms(before)),
        (_, Some(now)) => format!("an event takes {}", ms(now)),
        (_, None) => "no event yet".to_owned(),
    };
    Check { name: "latency".to_owned(), passed, seen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(batches: usize, took_ms: u64) -> Pace {
        let mut pace = Pace::default();
        (0..batches).for_each(|_| pace.note(Duration::from_millis(took_ms), 1));
        pace
    }

    #[test]
    fn a_slow_release_is_held_against_and_a_slow_moment_is_not() {
        let before = pace(100, 1);
        for (batches, took_ms, slow) in
            [(0, 0, false), (1, 100, false), (1, 300, true), (FEW, 4, false), (FEW, 10, false), (FEW, 11, true)]
        {
            assert_eq!(pace(batches, took_ms).is_much_slower_than(&before), slow, "{batches} of {took_ms} ms");
        }
        assert!(!pace(FEW, 100).is_much_slower_than(&pace(0, 0)), "nothing to compare with");
    }
}
