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
