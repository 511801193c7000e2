//! What a deploy will do, decided completely before anything is done.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    id::{Digest, SwapId, WorkloadName},
    policy::{StateSource, SwapPolicy},
    release::{ListenAddress, Revision, StateFormat, Topology},
};

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// `host deploy`.
    Deploy {
        /// A lower version is wanted.
        downgrade: bool,
    },
    /// `host rollback`: a lower version is meant.
    Rollback,
}

/// What is known when a plan is made.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// What runs, or ran before it was stopped.
    pub current: Option<Running<'a>>,
    /// The digest stored under the candidate's version, if that version was stored before.
    pub stored: Option<Digest>,
}

/// The revision in place.
#[derive(Clone, Debug)]
pub struct Running<'a> {
    /// It.
    pub revision: &'a Revision,
    /// It is running, not stopped.
    pub live: bool,
    /// A swap that is not over. One on probation is: a new swap makes it permanent.
    pub swap: Option<SwapId>,
}

/// What a deploy will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Plan {
    /// Version, digest and revision are what runs already.
    Nothing,
    /// The workload is not there yet.
    Start,
    /// Change what runs.
    Swap(SwapPlan),
}

/// How a swap will go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapPlan {
    /// The version that runs.
    pub from: Version,
    /// Which way.
    pub direction: Direction,
    /// How the state gets across.
    pub state: StatePath,
    /// How the predecessor could be reinstated.
    pub way_back: WayBack,
    /// What changes besides the code.
    pub changes: Vec<Change>,
}

/// Which way a swap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To a higher version.
    Upgrade,
    /// To a lower version.
    Downgrade,
    /// The same release with another revision.
    Reconfigure,
}

/// How the state gets from one component to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StatePath {
    /// Both write the same format.
    Same {
        /// The format.
        format: StateFormat,
    },
    /// The candidate takes over an older format.
    Upgrade {
        /// What the running component writes.
        from: StateFormat,
        /// What the candidate writes.
        to: StateFormat,
    },
    /// The running component writes an older format for the candidate.
    Downgrade {
        /// What the running component writes on its own.
        from: StateFormat,
        /// What it is asked to write.
        to: StateFormat,
    },
    /// The last checkpoint is used, not the live state.
    Checkpoint {
        /// The checkpoint's format.
        from: StateFormat,
        /// What the candidate writes.
        to: StateFormat,
    },
}

impl StatePath {
    /// The schema in which the running component's `snapshot` is wanted.
    #[must_use]
    pub const fn snapshot_schema(&self) -> u32 {
        self.snapshot_format().schema
    }

    /// The format in which the state is handed over.
    #[must_use]
    pub const fn snapshot_format(&self) -> StateFormat {
        match self {
            Self::Same { format } => *format,
            Self::Upgrade { from, .. } | Self::Checkpoint { from, .. } => *from,
            Self::Downgrade { to, .. } => *to,
        }
    }
}

/// How the predecessor can be reinstated after the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// The new version writes the old format: nothing is lost.
    Downgrade,
    /// It can't: the old version handles the events since the switch again.
    #[serde(alias = "checkpoint")]
    Replay,
    /// Each connection has an instance: those that handled nothing since the switch go back, the others are closed.
    Unchanged,
    /// Not at all: what is handed over is in a format that the predecessor writes and does not take.
    None,
}

/// Something that changes besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Change {
    /// The config.
    Config,
    /// A new listener opens at the switch.
    Opens {
        /// Where.
        listener: ListenAddress,
    },
    /// A listener closes at the switch; its connections stay.
    Closes {
        /// Where.
        listener: ListenAddress,
    },
}

/// Why a deploy is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The version is stored with other bytes.
    #[error(
        "{workload} {version} is already stored with digest {}, this file has {}; \
         a version's bytes never change: give the new build a version of its own",
        stored.short(), given.short()
    )]
    VersionTaken {
        /// The workload.
        workload: WorkloadName,
        /// The version.
        version: Version,
        /// Stored bytes.
        stored: Digest,
        /// Bytes in the file.
        given: Digest,
    },
    /// A lower version without leave.
    #[error(
        "{to} is lower than {from}, which runs; say --downgrade if that is meant, or use `host rollback {workload}`"
    )]
    LowerVersion {
        /// The workload.
        workload: WorkloadName,
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
    },
    /// A new workload without a listener.
    #[error("{workload} is not there yet, and a new workload needs a listener: add --listen tcp://127.0.0.1:7000")]
    ListenerWanted {
        /// The workload.
        workload: WorkloadName,
    },
    /// Another swap is under way.
    #[error(
        "swap {swap} of {workload} is under way; wait for its end (`host events --follow --filter 'swap.*'`) and try again"
    )]
    SwapUnderWay {
        /// The workload.
        workload: WorkloadName,
        /// The other one.
        swap: SwapId,
    },
    /// The workload was stopped by hand or by its restarts.
    #[error("{workload} is stopped; start it first with `host start {workload}`")]
    Stopped {
        /// The workload.
        workload: WorkloadName,
    },
    /// Another number of instances. One state can't be divided among many, nor many be made one, by itself.
    #[error(
        "{workload} is {from}, and a swap can't make it {to}: how one state becomes many, or many one, is not defined; \
         deploy it under another name, or remove it first"
    )]
    TopologyChanged {
        /// The workload.
        workload: WorkloadName,
        /// What it is.
        from: Topology,
        /// What was asked for.
        to: Topology,
    },
    /// Instances that live as long as their connections are not checkpointed.
    #[error("{workload} is per-connection, which is not checkpointed: there is no checkpoint to take the state from")]
    NoCheckpoints {
        /// The workload.
        workload: WorkloadName,
    },
    /// A shadow begins with a copy of the one state there is.
    #[error(
        "{workload} is per-connection: its state is in its sessions, and there is no one state that a shadow could begin with; \
         deploy it without --shadow"
    )]
    NoShadow {
        /// The workload.
        workload: WorkloadName,
    },
    /// A state type changed under the same number.
    #[error(
        "both {from} and {to} write schema {schema}, but the state's type is not the same; \
         raise the number in #[state(version = …)] and write the step from {schema}"
    )]
    FingerprintChanged {
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
        /// The number both have.
        schema: u32,
    },
    /// Once there, nothing leads back.
    #[error(
        "nothing leads back from {to} to {from}: the state is handed over in schema {schema}, which {from} writes but does not \
         take; say --one-way if that is meant"
    )]
    NoWayBack {
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
        /// What the state is handed over in.
        schema: u32,
    },
    /// The formats don't meet.
    #[error(
        "{from} writes schema {writes}{}, and {to} takes {}; no step leads from one to the other",
        Also(downgrades_to),
        List(accepts)
    )]
    NoStatePath {
        /// What runs.
        from: Version,
        /// What was asked for.
        to: Version,
        /// What the running one writes.
        writes: u32,
        /// What it can also write.
        downgrades_to: Vec<u32>,
        /// What the candidate takes.
        accepts: Vec<u32>,
    },
}

/// Schemas in words.
struct List<'a>(&'a [u32]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(u32::to_string).collect();
        write!(f, "{}", if words.is_empty() { "none".to_owned() } else { words.join(", ") })
    }
}

/// Schemas in words, as an afterthought.
struct Also<'a>(&'a [u32]);

impl fmt::Display for Also<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (or {})", List(self.0)) }
    }
}

/// Decides what a deploy of `candidate` will do.
///
/// # Errors
/// The refusal, in the words a person reads. Whatever runs goes on.
pub fn plan(
    situation: &Situation<'_>,
    candidate: &Revision,
    intent: Intent,
    source: StateSource,
) -> Result<Plan, Refusal> {
    let release = &candidate.release;
    if let Some(stored) = situation.stored.filter(|stored| *stored != release.digest) {
        return Err(Refusal::VersionTaken {
            workload: release.workload.clone(),
            version: release.version.clone(),
            stored,
            given: release.digest,
        });
    }
    let Some(running) = &situation.current else {
        return if candidate.listeners.is_empty() {
            Err(Refusal::ListenerWanted { workload: release.workload.clone() })
        } else {
            Ok(Plan::Start)
        };
    };
    if let Some(swap) = running.swap {
        return Err(Refusal::SwapUnderWay { workload: release.workload.clone(), swap });
    }
    if !running.live {
        return Err(Refusal::Stopped { workload: release.workload.clone() });
    }
    let (from, to) = (running.revision.topology, candidate.topology);
    if from != to {
        return Err(Refusal::TopologyChanged { workload: release.workload.clone(), from, to });
    }
    if to == Topology::PerConnection && source == StateSource::LastCheckpoint {
        return Err(Refusal::NoCheckpoints { workload: release.workload.clone() });
    }
    if running.revision == candidate && source == StateSource::Live {
        return Ok(Plan::Nothing);
    }
    let direction = direction(running.revision, candidate, intent)?;
    let state = state_path(running.revision, candidate, source)?;
    Ok(Plan::Swap(SwapPlan {
        from: running.revision.release.version.clone(),
        direction,
        state,
        way_back: way_back(running.revision, candidate, &state),
        changes: changes(running.revision, candidate),
    }))
}

/// Whether a plan may be carried out under this policy. A plan that is only looked at always may.
///
/// # Errors
/// It leads where nothing leads back from, and nobody said that this is meant; or a shadow is wanted where there can't be one.
pub fn admit(plan: &Plan, candidate: &Revision, policy: &SwapPolicy) -> Result<(), Refusal> {
    match plan {
        Plan::Swap(swap) if swap.way_back == WayBack::None && !policy.one_way => Err(Refusal::NoWayBack {
            from: swap.from.clone(),
            to: candidate.release.version.clone(),
            schema: swap.state.snapshot_format().schema,
        }),
        Plan::Swap(_) if candidate.topology == Topology::PerConnection && policy.shadow.is_some() => {
            Err(Refusal::NoShadow { workload: candidate.release.workload.clone() })
        }
        _ => Ok(()),
    }
}

fn direction(running: &Revision, candidate: &Revision, intent: Intent) -> Result<Direction, Refusal> {
    let (from, to) = (&running.release.version, &candidate.release.version);
    match to.cmp_precedence(from) {
        std::cmp::Ordering::Greater => Ok(Direction::Upgrade),
        std::cmp::Ordering::Equal if from == to => Ok(Direction::Reconfigure),
        std::cmp::Ordering::Equal => Ok(Direction::Upgrade),
        std::cmp::Ordering::Less if matches!(intent, Intent::Rollback | Intent::Deploy { downgrade: true }) => {
            Ok(Direction::Downgrade)
        }
        std::cmp::Ordering::Less => Err(Refusal::LowerVersion {
            workload: candidate.release.workload.clone(),
            from: from.clone(),
            to: to.clone(),
        }),
    }
}

/// The formats decide which step is taken, not the labels: it is the newer code that knows both.
fn state_path(running: &Revision, candidate: &Revision, source: StateSource) -> Result<StatePath, Refusal> {
    let (old, new) = (&running.release.description, &candidate.release.description);
    let from = old.writes;
    if new.accepts(from) {
        return Ok(match source {
            StateSource::LastCheckpoint => StatePath::Checkpoint { from, to: new.writes },
            StateSource::Live if from == new.writes => StatePath::Same { format: from },
            StateSource::Live => StatePath::Upgrade { from, to: new.writes },
        });
    }
    // A checkpoint is in the running component's own format: it can't be written anew in an older one.
    let older = old.downgrades_to.iter().copied().filter(|format| new.accepts(*format)).max();
    if let (Some(to), StateSource::Live) = (older, source) {
        return Ok(StatePath::Downgrade { from, to });
    }
    let (from_version, to_version) = (running.release.version.clone(), candidate.release.version.clone());
    if from.schema == new.writes.schema {
        return Err(Refusal::FingerprintChanged { from: from_version, to: to_version, schema: from.schema });
    }
    let accepts = std::iter::once(&new.writes).chain(&new.upgrades_from).map(|format| format.schema).collect();
    Err(Refusal::NoStatePath {
        from: from_version,
        to: to_version,
        writes: from.schema,
        downgrades_to: old.downgrades_to.iter().map(|format| format.schema).collect(),
        accepts,
    })
}

/// The format in which `running` can hand its state to `target`, if there is one.
#[must_use]
pub fn common_format(running: &Revision, target: &Revision) -> Option<StateFormat> {
    let (new, old) = (&running.release.description, &target.release.description);
    if old.accepts(new.writes) {
        return Some(new.writes);
    }
    new.downgrades_to.iter().copied().filter(|format| old.accepts(*format)).max()
}

fn way_back(running: &Revision, candidate: &Revision, state: &StatePath) -> WayBack {
    if common_format(candidate, running).is_some() {
        WayBack::Downgrade
    } else if !running.release.description.accepts(state.snapshot_format()) {
        WayBack::None
    } else if candidate.topology == Topology::PerConnection {
        WayBack::Unchanged
    } else {
        WayBack::Replay
    }
}

fn changes(running: &Revision, candidate: &Revision) -> Vec<Change> {
    let mut changes = Vec::new();
    if running.config != candidate.config {
        changes.push(Change::Config);
    }
    let added = candidate.listeners.iter().filter(|listener| !running.listeners.contains(listener));
    changes.extend(added.map(|listener| Change::Opens { listener: *listener }));
    let removed = running.listeners.iter().filter(|listener| !candidate.listeners.contains(listener));
    changes.extend(removed.map(|listener| Change::Closes { listener: *listener }));
    changes
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::policy::Shadow;
    use crate::release::{Description, Release, Topology};

    fn format(schema: u32) -> StateFormat {
        StateFormat { schema, fingerprint: u64::from(schema) * 7 }
    }

    fn revision(version: &str, schema: u32, from: &[u32], to: &[u32]) -> Revision {
        Revision {
            release: Release {
                workload: "counter".parse().expect("a name"),
                version: version.parse().expect("semver"),
                digest: Digest::new([u8::try_from(version.len()).expect("short") + version.as_bytes()[0]; 32]),
                description: Description {
                    writes: format(schema),
                    upgrades_from: from.iter().copied().map(format).collect(),
                    downgrades_to: to.iter().copied().map(format).collect(),
                    protocols: vec![],
                },
                capabilities: BTreeSet::new(),
            },
            config: String::new(),
            listeners: vec!["tcp://127.0.0.1:7000".parse().expect("a listener")],
            topology: Topology::Single,
        }
    }

    fn check(running: &Revision, candidate: &Revision, intent: Intent) -> Result<Plan, Refusal> {
        let current = Some(Running { revision: running, live: true, swap: None });
        plan(&Situation { current, stored: None }, candidate, intent, StateSource::Live)
    }

    const UP: Intent = Intent::Deploy { downgrade: false };

    #[test]
    fn a_chain_of_upgrades_is_taken_in_one_swap() {
        let Plan::Swap(plan) =
            check(&revision("1.0.0", 1, &[], &[]), &revision("2.0.0", 3, &[1, 2], &[1, 2]), UP).expect("a plan")
        else {
            panic!("a swap")
        };
        assert_eq!(plan.state, StatePath::Upgrade { from: format(1), to: format(3) });
        assert_eq!((plan.direction, plan.way_back), (Direction::Upgrade, WayBack::Downgrade));
    }

    #[test]
    fn a_lower_version_needs_leave_and_asks_the_newer_code_for_the_older_format() {
        let (new, old) = (revision("2.0.0", 3, &[1, 2], &[1, 2]), revision("1.1.0", 2, &[1], &[1]));
        assert!(matches!(check(&new, &old, UP), Err(Refusal::LowerVersion { .. })));
        for intent in [Intent::Rollback, Intent::Deploy { downgrade: true }] {
            let Plan::Swap(plan) = check(&new, &old, intent).expect("a plan") else { panic!("a swap") };
            assert_eq!(plan.state, StatePath::Downgrade { from: format(3), to: format(2) });
            assert_eq!(plan.state.snapshot_schema(), 2);
        }
    }

    #[test]
    fn a_downgrade_to_a_format_that_the_newer_version_does_not_take_is_one_way() {
        let old = revision("1.0.0", 1, &[], &[]);
        for (takes, way_back) in [(&[1][..], WayBack::Downgrade), (&[][..], WayBack::None)] {
            let new = revision("2.0.0", 3, takes, &[1]);
            let plan = check(&new, &old, Intent::Rollback).expect("a plan");
            let Plan::Swap(swap) = &plan else { panic!("a swap") };
            assert_eq!(swap.way_back, way_back, "2.0.0 takes {takes:?}");
            let admitted = |one_way| admit(&plan, &old, &SwapPolicy { one_way, ..SwapPolicy::default() });
            assert_eq!(admitted(false).is_ok(), way_back != WayBack::None);
            assert_eq!(admitted(true), Ok(()));
        }
        let up = check(&old, &revision("2.0.0", 3, &[1], &[]), UP).expect("a plan");
        assert!(matches!(&up, Plan::Swap(SwapPlan { way_back: WayBack::Replay, .. })), "{up:?}");
        assert_eq!(admit(&up, &old, &SwapPolicy::default()), Ok(()), "the checkpoint is the predecessor's own");
    }

    #[test]
    fn formats_that_do_not_meet_are_refused_by_name() {
        let error = check(&revision("1.0.0", 1, &[], &[]), &revision("2.0.0", 9, &[8], &[]), UP).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "1.0.0 writes schema 1, and 2.0.0 takes 9, 8; no step leads from one to the other"
        );
    }

    #[test]
    fn a_type_that_changed_without_a_new_number_is_refused() {
        let mut changed = revision("1.0.1", 1, &[], &[]);
        changed.release.description.writes.fingerprint = 99;
        let error = check(&revision("1.0.0", 1, &[], &[]), &changed, UP).expect_err("refused");
        assert!(matches!(error, Refusal::FingerprintChanged { schema: 1, .. }), "{error}");
    }

    #[test]
    fn a_version_keeps_its_bytes() {
        let candidate = revision("1.0.0", 1, &[], &[]);
        let situation = Situation { current: None, stored: Some(Digest::new([0; 32])) };
        let error = plan(&situation, &candidate, UP, StateSource::Live).expect_err("refused");
        assert!(matches!(error, Refusal::VersionTaken { .. }));
    }

    #[test]
    fn the_same_revision_is_nothing_to_do_and_another_config_is_a_swap() {
        let running = revision("1.0.0", 1, &[], &[]);
        assert_eq!(check(&running, &running, UP), Ok(Plan::Nothing));
        let mut other = running.clone();
        other.config = "rows = 5".to_owned();
        other.listeners = vec!["tcp://127.0.0.1:7001".parse().expect("a listener")];
        let Plan::Swap(plan) = check(&running, &other, UP).expect("a plan") else { panic!("a swap") };
        assert_eq!(plan.direction, Direction::Reconfigure);
        assert_eq!(plan.changes.len(), 3);
    }

    #[test]
    fn a_new_workload_needs_a_listener() {
        let mut candidate = revision("1.0.0", 1, &[], &[]);
        let nothing = Situation { current: None, stored: None };
        assert_eq!(plan(&nothing, &candidate, UP, StateSource::Live), Ok(Plan::Start));
        candidate.listeners.clear();
        assert!(matches!(plan(&nothing, &candidate, UP, StateSource::Live), Err(Refusal::ListenerWanted { .. })));
    }

    #[test]
    fn a_second_swap_is_refused_by_the_first_ones_number() {
        let running = revision("1.0.0", 1, &[], &[]);
        let current = Some(Running { revision: &running, live: true, swap: Some(SwapId(4)) });
        let candidate = revision("1.1.0", 2, &[1], &[1]);
        let error = plan(&Situation { current, stored: None }, &candidate, UP, StateSource::Live).expect_err("refused");
        assert!(error.to_string().starts_with("swap 4 of counter is under way"), "{error}");
    }

    #[test]
    fn a_checkpoint_is_taken_only_where_the_candidate_reads_it() {
        let running = revision("2.0.0", 3, &[1, 2], &[1, 2]);
        let current = || Some(Running { revision: &running, live: true, swap: None });
        let situation = Situation { current: current(), stored: None };
        let upgrade = plan(&situation, &revision("3.0.0", 4, &[3], &[]), UP, StateSource::LastCheckpoint);
        assert!(matches!(upgrade, Ok(Plan::Swap(SwapPlan { state: StatePath::Checkpoint { .. }, .. }))));
        let down = plan(&situation, &revision("1.0.0", 1, &[], &[]), Intent::Rollback, StateSource::LastCheckpoint);
        assert!(matches!(down, Err(Refusal::NoStatePath { .. })));
    }

    #[test]
    fn the_topology_stays_and_sessions_have_no_checkpoint() {
        let single = revision("1.0.0", 1, &[], &[]);
        let many = Revision { topology: Topology::PerConnection, ..revision("1.1.0", 1, &[], &[]) };
        let refused = check(&single, &many, UP).expect_err("another topology");
        assert!(matches!(refused, Refusal::TopologyChanged { .. }));
        assert!(
            refused.to_string().contains("counter is single, and a swap can't make it per-connection"),
            "{refused}"
        );

        let before = Revision { topology: Topology::PerConnection, ..single };
        let Ok(Plan::Swap(plan)) = check(&before, &many, UP) else { panic!("a swap") };
        assert_eq!(plan.way_back, WayBack::Downgrade);
        let one_way = Revision { topology: Topology::PerConnection, ..revision("1.1.0", 2, &[1], &[]) };
        let Ok(Plan::Swap(plan)) = check(&before, &one_way, UP) else { panic!("a swap") };
        assert_eq!(plan.way_back, WayBack::Unchanged, "there is no journal to replay");
        let current = Some(Running { revision: &before, live: true, swap: None });
        let situation = Situation { current, stored: None };
        let refused = super::plan(&situation, &many, UP, StateSource::LastCheckpoint).expect_err("no checkpoint");
        assert_eq!(refused, Refusal::NoCheckpoints { workload: "counter".parse().expect("a name") });
        let shadow = Some(Shadow { period: Duration::from_secs(1), limit_percent: None });
        let policy = SwapPolicy { shadow, ..SwapPolicy::default() };
        let refused = admit(&check(&before, &many, UP).expect("a plan"), &many, &policy).expect_err("no shadow");
        assert_eq!(refused, Refusal::NoShadow { workload: "counter".parse().expect("a name") });
    }
}
