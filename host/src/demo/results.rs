//! What the demo found out, as programs read it.

use std::time::Duration;

use host_core::history::SwapReport;
use serde::Serialize;

use super::{check::Tally, load::Latencies, plan::Wanted};

/// The shape of [`Results`]; raised when a field changes its meaning or goes.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) schema_version: u32,
    /// Nothing was lost, dropped, doubled, wrong or out of order, and every deploy ended as it should.
    pub(crate) passed: bool,
    /// What did not go as it should, in words.
    pub(crate) problems: Vec<String>,
    pub(crate) connections: Connections,
    pub(crate) lines: Tally,
    /// The workload's own total in the end; equal to `lines.sent` if nothing was lost or doubled.
    pub(crate) total: u64,
    pub(crate) lines_per_second: u64,
    pub(crate) rows: u32,
    pub(crate) took_ms: u64,
    /// Of the host, swap for swap.
    pub(crate) memory: Option<Memory>,
    pub(crate) swaps: Vec<SwapResult>,
}

/// Connections, at the end.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Connections {
    pub(crate) wanted: u32,
    pub(crate) open: u64,
    pub(crate) dropped: u64,
}

/// One deploy or rollback.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SwapResult {
    /// From 1.
    pub(crate) number: usize,
    /// In words.
    pub(crate) what: String,
    /// What had to come of it.
    pub(crate) wanted: Wanted,
    /// Whether it did.
    pub(crate) as_wanted: bool,
    /// How it ended, in a word.
    pub(crate) outcome: &'static str,
    /// Why, where it failed.
    pub(crate) why: Option<String>,
    /// The version that ran afterwards.
    pub(crate) running: Option<String>,
    /// Each phase and its length.
    pub(crate) phases: Vec<PhaseLength>,
    /// The host's own figure.
    pub(crate) pause_us: Option<u64>,
    /// State that crossed.
    pub(crate) state_bytes: Option<u64>,
    /// What the clients saw in steady time before it.
    pub(crate) before: Seen,
    /// What the clients saw around the pause.
    pub(crate) during: Seen,
    /// How long the time around the pause was that `during` covers.
    pub(crate) window_ms: u64,
    /// While it was prepared, which is where a component is compiled.
    pub(crate) preparing: Preparing,
    /// What the host used meanwhile; unknown where the system does not say.
    pub(crate) used: Option<Used>,
}

/// The time from the call to the pause, beside the steady time before.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Preparing {
    pub(crate) took_ms: u64,
    /// What was due in it.
    pub(crate) seen: Seen,
    /// Answers that came in it.
    pub(crate) answers_per_second: u64,
    pub(crate) before_per_second: u64,
}

/// The host's processor time and memory over the whole call, and before it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Used {
    /// Of one processor.
    pub(crate) cpu_percent: u64,
    pub(crate) cpu_percent_before: u64,
    pub(crate) resident_bytes_before: u64,
    pub(crate) resident_bytes_peak: u64,
    pub(crate) resident_bytes_after: u64,
}

/// Whether the host's memory stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) first_bytes: u64,
    pub(crate) last_bytes: u64,
    pub(crate) most_bytes: u64,
    /// Of the line that fits best through the second half of the swaps: the first fills caches.
    pub(crate) slope_bytes_per_swap: f64,
}

impl Memory {
    /// From what was resident after each swap.
    pub(crate) fn of(resident: &[u64]) -> Option<Self> {
        let (first, last, most) = (resident.first()?, resident.last()?, resident.iter().max()?);
        let settled = resident.get(resident.len() / 2..)?;
        Some(Self { first_bytes: *first, last_bytes: *last, most_bytes: *most, slope_bytes_per_swap: slope(settled) })
    }
}

/// Least squares; level where there is nothing to fit.
#[expect(clippy::cast_precision_loss, reason = "some thousand swaps, and bytes to a page or two")]
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().map(|value| *value as f64).sum::<f64>() / count);
    let (mut over, mut under) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let from_middle = at as f64 - middle;
        over += from_middle * (*value as f64 - mean);
        under += from_middle * from_middle;
    }
    if under > 0.0 { over / under } else { 0.0 }
}

/// A phase and its length.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PhaseLength {
    pub(crate) phase: &'static str,
    pub(crate) took_us: u64,
}

/// Latencies as clients saw them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) lines: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

impl From<&Latencies> for Seen {
    fn from(latencies: &Latencies) -> Self {
        Self {
            lines: latencies.count(),
            p50_us: micros(latencies.quantile(0.5)),
            p99_us: micros(latencies.quantile(0.99)),
            max_us: micros(latencies.max()),
        }
    }
}

/// The phases of a report.
pub(crate) fn phases(report: &SwapReport) -> Vec<PhaseLength> {
    let length =
        |time: &host_core::swap::PhaseTime| PhaseLength { phase: time.phase.as_str(), took_us: micros(time.took) };
    report.phases.iter().map(length).collect()
}

/// In microseconds; 584 000 years fit.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_level_where_only_the_first_half_grew() {
        let level: Vec<u64> = (0..100).map(|swap| 1_000 + swap.min(40)).collect();
        let memory = Memory::of(&level).expect("there are some");
        assert_eq!((memory.first_bytes, memory.last_bytes, memory.most_bytes), (1_000, 1_040, 1_040));
        assert!(memory.slope_bytes_per_swap.abs() < 1e-9, "{memory:?}");
        let growing: Vec<u64> = (0..100).map(|swap| 1_000 + 3 * swap).collect();
        assert!((Memory::of(&growing).expect("there are some").slope_bytes_per_swap - 3.0).abs() < 1e-9);
        assert_eq!(Memory::of(&[]), None);
    }
}
