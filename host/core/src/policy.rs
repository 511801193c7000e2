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
    /// Close connections gently over this time before the swap instead of keeping them.
    pub drain: Option<Duration>,
    /// Skip the pre-flight and the smoke check's verdict. Digests, limits and state compatibility are never skipped.
    pub force: bool,
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
            drain: None,
            force: false,
            state_from: StateSource::Live,
            preflight: Preflight::default(),
        }
    }
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
