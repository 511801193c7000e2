//! The one table of a coordinator's names.
//!
//! No metric has a label for each host: what a single host does is among its own metrics.

pub use host_telemetry::{Metric, PREFIX, Unit};
use host_telemetry::{counter, duration, gauge};

/// Names of spans. A rollout's children bear the names of [`host_core::rollout::StateName`], but for `wave`.
pub mod span {
    /// A rollout, from its beginning to its end. Fields: `workload`, `to`, `rollout.id`, `verdict`, `why`, `hosts`, `upgraded`.
    pub const ROLLOUT: &str = "rollout";
    /// The hosts of a wave are switched. Fields: `rollout.id`, `wave`.
    pub const WAVE: &str = "wave";
    /// A command to a host, from when it was given to its answer. Fields: `rollout.id`, `host`, `command.id`, `action`, `outcome`,
    /// `why`.
    pub const COMMAND: &str = "command";
}

/// Which start of the coordinator this is.
pub const EPOCH: Metric = gauge("fleet_epoch", "Which start of the coordinator this is", Unit::None);
/// Hosts that belong to the fleet.
pub const HOSTS: Metric = gauge("fleet_hosts", "Hosts that belong to the fleet", Unit::None);
/// Those that are connected.
pub const HOSTS_CONNECTED: Metric = gauge("fleet_hosts_connected", "Hosts that are connected", Unit::None);
/// Rollouts that are not closed, by where they stand.
pub const ROLLOUTS: Metric = Metric {
    labels: &["state"],
    ..gauge(
        "fleet_rollouts",
        "Rollouts that are scheduled, under way, wait for a person, or owe a host something",
        Unit::None,
    )
};

/// Length of rollouts that are over, by what they came to.
pub const ROLLOUT: Metric =
    duration("fleet_rollout", "Length of a rollout, from its beginning to its end", &["result"]);
/// Hosts of rollouts that are over, by where each stood.
pub const ROLLOUT_HOSTS: Metric =
    counter("fleet_rollout_hosts", "Hosts of rollouts that are over, by how each stood then", &["status"]);
/// Commands given to hosts.
pub const COMMANDS: Metric = counter("fleet_commands", "Commands sent to hosts", &["action"]);
/// How they ended.
pub const OUTCOMES: Metric = counter("fleet_outcomes", "Commands that ended", &["action", "result"]);
/// How long a host took.
pub const COMMAND: Metric =
    duration("fleet_command", "From a command to its answer, or to when none was waited for", &["action"]);
/// What was done outside of rollouts.
pub const UPKEEPS: Metric =
    counter("fleet_upkeeps", "Hosts brought to their assignment outside of rollouts", &["result"]);

/// Inputs that the coordinator took.
pub const INPUTS: Metric = counter("fleet_inputs", "Inputs that the coordinator's loop took", &["kind"]);
/// Inputs that wait.
pub const INPUTS_WAITING: Metric =
    gauge("fleet_inputs_waiting", "Inputs that wait for the coordinator's loop", Unit::None);
/// Length of a step.
pub const STEP: Metric = duration("fleet_step", "Length of a step of the coordinator's loop, its commit included", &[]);
/// Length of a commit.
pub const COMMIT: Metric = duration("fleet_store_commit", "Time to make a change of the fleet durable", &[]);
/// Sessions that were ended because the host did not take its words.
pub const SLOW_SESSIONS: Metric =
    counter("fleet_slow_sessions", "Sessions ended because the host did not take its words", &[]);
/// Bytes of components sent to hosts.
pub const SENT: Metric =
    Metric { unit: Unit::Bytes, ..counter("fleet_sent", "Bytes of components sent to hosts", &[]) };

/// All of them, in the order of a scrape.
pub const ALL: &[Metric] = &[
    EPOCH,
    HOSTS,
    HOSTS_CONNECTED,
    ROLLOUTS,
    ROLLOUT,
    ROLLOUT_HOSTS,
    COMMANDS,
    OUTCOMES,
    COMMAND,
    UPKEEPS,
    INPUTS,
    INPUTS_WAITING,
    STEP,
    COMMIT,
    SLOW_SESSIONS,
    SENT,
];
