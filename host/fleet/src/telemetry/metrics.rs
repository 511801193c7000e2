//! Where a coordinator counts.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use host_core::rollout::{CommandEnd, Counts, Part, PartKind, Verdict, command::ActionKind, request::Extent};
use host_telemetry::DurationHistogram;

use crate::coordinator::Input;

/// What came to the coordinator's loop, as the label `kind` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// A host's session began.
    Opened,
    /// A host's word.
    Heard,
    /// A session ended.
    Closed,
    /// A host joined.
    Joined,
    /// A release was published.
    Published,
    /// An operator asked.
    Asked,
    /// The clock.
    Tick,
}

impl InputKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Opened, Self::Heard, Self::Closed, Self::Joined, Self::Published, Self::Asked, Self::Tick];

    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Heard => "heard",
            Self::Closed => "closed",
            Self::Joined => "joined",
            Self::Published => "published",
            Self::Asked => "asked",
            Self::Tick => "tick",
        }
    }
}

impl From<&Input> for InputKind {
    fn from(input: &Input) -> Self {
        match input {
            Input::Opened { .. } => Self::Opened,
            Input::Heard { .. } => Self::Heard,
            Input::Closed { .. } => Self::Closed,
            Input::Joined { .. } => Self::Joined,
            Input::Published { .. } => Self::Published,
            Input::Asked { .. } => Self::Asked,
            Input::Tick => Self::Tick,
        }
    }
}

/// How a fleet stands, for the gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Which start of the coordinator this is.
    pub epoch: u64,
    /// Hosts that belong to the fleet.
    pub hosts: u64,
    /// Those that are connected.
    pub connected: u64,
    /// Rollouts that wait for their time.
    pub scheduled: u64,
    /// Rollouts that go on by themselves.
    pub under_way: u64,
    /// Rollouts that wait for a person.
    pub waiting: u64,
    /// Rollouts that are over and owe a host something.
    pub owing: u64,
}

/// What rollouts come to, as the label `result` has it.
pub(super) const RESULTS: [&str; 6] = ["done", "partial", "unchanged", "rolled-back", "incomplete", "rehearsed"];
/// Where hosts stand when their rollout is over, as the label `status` has it.
pub(super) const STATUSES: [&str; 10] =
    ["upgraded", "already", "switched", "untouched", "failed", "rolled-back", "unknown", "stuck", "drifted", "skipped"];
/// The label `result` of an upkeep.
pub(super) const UPKEPT: [&str; 2] = ["done", "failed"];
/// The label `state` of rollouts.
pub(super) const STANDINGS: [&str; 4] = ["scheduled", "under-way", "waiting", "owing"];

const ACTIONS: usize = ActionKind::ALL.len();

/// The places to count for one coordinator: all begins at zero when it starts.
#[derive(Debug)]
pub struct Metrics {
    pub(super) epoch: AtomicU64,
    pub(super) hosts: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) rollouts: [AtomicU64; STANDINGS.len()],
    pub(super) rollout: [DurationHistogram; RESULTS.len()],
    pub(super) rollout_hosts: [AtomicU64; STATUSES.len()],
    pub(super) commands: [AtomicU64; ACTIONS],
    pub(super) outcomes: [[AtomicU64; CommandEnd::ALL.len()]; ACTIONS],
    pub(super) command: [DurationHistogram; ACTIONS],
    pub(super) upkeeps: [AtomicU64; UPKEPT.len()],
    pub(super) inputs: [AtomicU64; InputKind::ALL.len()],
    pub(super) inputs_waiting: AtomicU64,
    pub(super) step: DurationHistogram,
    pub(super) commit: DurationHistogram,
    pub(super) slow_sessions: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            epoch: AtomicU64::default(),
            hosts: AtomicU64::default(),
            connected: AtomicU64::default(),
            rollouts: array::from_fn(|_| AtomicU64::default()),
            rollout: array::from_fn(|_| DurationHistogram::long()),
            rollout_hosts: array::from_fn(|_| AtomicU64::default()),
            commands: array::from_fn(|_| AtomicU64::default()),
            outcomes: array::from_fn(|_| array::from_fn(|_| AtomicU64::default())),
            command: array::from_fn(|_| DurationHistogram::long()),
            upkeeps: array::from_fn(|_| AtomicU64::default()),
            inputs: array::from_fn(|_| AtomicU64::default()),
            inputs_waiting: AtomicU64::default(),
            step: DurationHistogram::short(),
            commit: DurationHistogram::short(),
            slow_sessions: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
        }
    }
}

impl Metrics {
    /// The loop took a step, and so many inputs wait.
    pub(crate) fn stepped(&self, kind: InputKind, took: Duration, waiting: usize) {
        count(&self.inputs, kind as usize, 1);
        self.step.record(took);
        set(&self.inputs_waiting, waiting as u64);
    }

    /// How the fleet stands.
    pub(crate) fn stands(&self, figures: Figures) {
        set(&self.epoch, figures.epoch);
        set(&self.hosts, figures.hosts);
        set(&self.connected, figures.connected);
        let rollouts = [figures.scheduled, figures.under_way, figures.waiting, figures.owing];
        for (place, value) in self.rollouts.iter().zip(rollouts) {
            set(place, value);
        }
    }

    /// A change is durable.
    pub(crate) fn committed(&self, took: Duration) {
        self.commit.record(took);
    }

    /// A command left.
    pub(crate) fn commanded(&self, action: ActionKind) {
        count(&self.commands, index(action), 1);
    }

    /// A host was told no more words, since it took none.
    pub(crate) fn session_was_slow(&self) {
        self.slow_sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of a component left for a host.
    pub(crate) fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn upkept(&self, done: bool) {
        count(&self.upkeeps, usize::from(!done), 1);
    }

    /// A part of a rollout is over.
    pub(super) fn ended(&self, part: &Part) {
        let took = part.ended.since(part.began);
        match &part.what {
            PartKind::Rollout { extent, verdict, counts, .. } => {
                if let Some(histogram) = result(*extent, *verdict).and_then(|result| self.rollout.get(result)) {
                    histogram.record(took);
                }
                // A rehearsal leaves every host as it was.
                if *extent == Extent::Roll {
                    for (place, hosts) in by_status(*counts).into_iter().enumerate() {
                        count(&self.rollout_hosts, place, hosts as u64);
                    }
                }
            }
            PartKind::State { .. } => {}
            PartKind::Command { action, end, .. } => {
                let place = index(*action);
                if let Some(outcomes) = self.outcomes.get(place) {
                    count(outcomes, *end as usize, 1);
                }
                if let Some(histogram) = self.command.get(place) {
                    histogram.record(took);
                }
            }
        }
    }
}

/// The place in [`RESULTS`]; none of a rollout that is not over.
fn result(extent: Extent, verdict: Verdict) -> Option<usize> {
    let word = match extent {
        Extent::Rehearse => "rehearsed",
        Extent::Roll => verdict.as_str(),
    };
    RESULTS.iter().position(|result| *result == word)
}

/// In the order of [`STATUSES`].
const fn by_status(counts: Counts) -> [usize; STATUSES.len()] {
    [
        counts.upgraded,
        counts.already,
        counts.switched,
        counts.waiting,
        counts.failed,
        counts.rolled_back,
        counts.unknown,
        counts.stuck,
        counts.drifted,
        counts.skipped,
    ]
}

/// The place in [`ActionKind::ALL`].
fn index(action: ActionKind) -> usize {
    ActionKind::ALL.iter().position(|other| *other == action).unwrap_or_default()
}

fn count(places: &[AtomicU64], place: usize, more: u64) {
    if let Some(place) = places.get(place) {
        place.fetch_add(more, Ordering::Relaxed);
    }
}

fn set(place: &AtomicU64, value: u64) {
    place.store(value, Ordering::Relaxed);
}

pub(super) fn read(place: &AtomicU64) -> u64 {
    place.load(Ordering::Relaxed)
}
