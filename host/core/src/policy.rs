//! What a person may decide about a swap, parsed once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a swap is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapPolicy {
    /// Longest pause: quiesce, snapshot and code-change together. Past it the swap is aborted.
    pub pause_limit: Duration,
    /// How long the predecessor is kept after the switch. Zero makes the swap permanent as soon as it is durable.
    pub probation: Duration,
    /// Probation lasts until somebody commits it or rolls it back, however long that takes.
    #[serde(default)]
    pub hold: bool,
    /// When no other way leads back: go back to the state at the switch and lose what came since.
    #[serde(default)]
    pub allow_loss: bool,
    /// Let the candidate handle a copy of the live traffic before the switch.
    #[serde(default)]
    pub shadow: Option<Shadow>,
    /// Close connections gently over this time before the swap instead of keeping them.
    pub drain: Option<Duration>,
    /// Skip the pre-flight and the smoke check's verdict. Digests, limits and state compatibility are never skipped.
    pub force: bool,
    /// Go even where nothing leads back.
    #[serde(default)]
    pub one_way: bool,
    /// Where a fleet has the workload in its hands on this host: take it out of them. Without it such a swap is refused.
    #[serde(default)]
    pub detach: bool,
    /// Where the old state comes from.
    pub state_from: StateSource,
    /// What the pre-flight wants.
    pub preflight: Preflight,
}

impl SwapPolicy {
    /// Five seconds: longer than any healthy swap takes, shorter than most clients' time-outs.
    pub const DEFAULT_PAUSE_LIMIT: Duration = Duration::from_secs(5);
    /// Ten seconds: enough for a bug that every client meets to show.
    pub const DEFAULT_PROBATION: Duration = Duration::from_secs(10);
    /// A probation longer than a day is a mistake in the unit.
    pub const PROBATION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
    /// A pause longer than ten minutes is no pause.
    pub const PAUSE_LIMIT_LIMIT: Duration = Duration::from_secs(10 * 60);
}

impl Default for SwapPolicy {
    fn default() -> Self {
        Self {
            pause_limit: Self::DEFAULT_PAUSE_LIMIT,
            probation: Self::DEFAULT_PROBATION,
            hold: false,
            allow_loss: false,
            shadow: None,
            drain: None,
            force: false,
            one_way: false,
            detach: false,
            state_from: StateSource::Live,
            preflight: Preflight::default(),
        }
    }
}

/// How a candidate is tried on live traffic. Its effects are compared and never leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// For how long.
    pub period: Duration,
    /// How many of the effects may differ, in percent; beyond it the deploy is refused. None only reports.
    pub limit_percent: Option<u8>,
}

impl Shadow {
    /// A shadow that runs longer than an hour is a deploy that was forgotten.
    pub const PERIOD_LIMIT: Duration = Duration::from_secs(60 * 60);
}

/// Where the state for `code-change` comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateSource {
    /// `snapshot` of the running instance.
    #[default]
    Live,
    /// The last good checkpoint: for a version whose `snapshot` fails. Costs what happened since.
    LastCheckpoint,
}

/// What must hold before a swap begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Least free space on the data directory's file system, in bytes.
    pub min_free_disk_bytes: u64,
    /// Most of the machine's memory that may be in use, in percent.
    pub max_memory_percent: u8,
}

impl Default for Preflight {
    /// 100 MiB and 90 %, erlmcp's thresholds: room for an artifact, its compiled code and a few checkpoints.
    fn default() -> Self {
        Self { min_free_disk_bytes: 100 << 20, max_memory_percent: 90 }
    }
}
