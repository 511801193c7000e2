//! From what is wanted and what is known to a plan, complete before the first host changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    policy::{Offline, Strategy},
    request::RolloutRequest,
};
use crate::{
    fleet::{FleetHost, FleetView, HOSTS_LIMIT, RunWanted, Running, Selector, WorkloadInventory},
    id::{Digest, HostId, RolloutId, WorkloadName},
    status::RunState,
};

/// What a rollout will do. It never changes; what happens is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPlan {
    /// The version wanted.
    pub to: Version,
    /// The waves, in order; none of them empty. None at all when every host is there already, and only the assignment changes.
    pub waves: Vec<Vec<PlannedHost>>,
    /// Hosts that run it already.
    pub already: BTreeSet<HostId>,
    /// Hosts that are left out, and why.
    pub skipped: BTreeMap<HostId, Skipped>,
    /// What the rollout is for the assignment.
    pub coverage: Coverage,
}

/// A host that will be switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHost {
    /// Which.
    pub host: HostId,
    /// What runs there; none where the workload will be started.
    pub before: Option<Running>,
}

/// Why a host is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Skipped {
    /// It is not connected; it is brought to what is stable when it returns.
    Offline,
    /// A person took it out of the fleet's hands.
    Detached {
        /// What runs there.
        running: Option<Version>,
    },
    /// The workload does not run there, so that there is no live state to take over.
    NotRunning {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline => f.write_str("not connected; it converges when it returns"),
            Self::Detached { running: Some(version) } => write!(f, "detached by hand, with {version}"),
            Self::Detached { running: None } => f.write_str("detached by hand"),
            Self::NotRunning { why } => write!(f, "not running: {why}"),
        }
    }
}

/// What a rollout is for the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// It is for every host that the assignment chooses: its target becomes stable.
    Whole,
    /// It is for chosen ones: what they run is kept beside what is stable.
    Chosen,
}

/// What planning comes to when it is not refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Planned {
    /// It can begin.
    Plan {
        /// So.
        plan: RolloutPlan,
    },
    /// These hosts are waited for.
    Wait {
        /// They.
        hosts: BTreeSet<HostId>,
    },
}

/// Why a rollout is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Refusal {
    /// One at a time.
    #[error(
        "rollout {other} of {workload} is not over; wait for its end (`host fleet watch {other}`), or cancel it with \
         `host fleet cancel {other}`"
    )]
    OtherRollout {
        /// The workload.
        workload: WorkloadName,
        /// The other one.
        other: RolloutId,
    },
    /// Nobody is meant.
    #[error("no host of the fleet is meant by {wanted}; `host fleet hosts` lists them with their labels")]
    NoHosts {
        /// What was asked for.
        wanted: Selector,
    },
    /// Names of nobody.
    #[error("the fleet has no host named {}; `host fleet hosts` lists them", Names(hosts))]
    UnknownHosts {
        /// Them.
        hosts: BTreeSet<HostId>,
    },
    /// Hosts that the assignment does not choose.
    #[error("{} not among the hosts that {workload} is assigned to: {assigned}", Are(hosts))]
    NotAssigned {
        /// The workload.
        workload: WorkloadName,
        /// Them.
        hosts: BTreeSet<HostId>,
        /// Who is.
        assigned: Selector,
    },
    /// Hosts that are not there.
    #[error(
        "{} not connected; bring them back, or say --offline skip to go without them or --offline wait to wait for them",
        Are(hosts)
    )]
    Offline {
        /// Them.
        hosts: BTreeSet<HostId>,
    },
    /// Everything is as it shall be.
    #[error("{workload} {version} runs on every host that is meant already; there is nothing to do")]
    NothingToDo {
        /// The workload.
        workload: WorkloadName,
        /// The version.
        version: Version,
    },
    /// Whoever is meant is left out.
    #[error("no host that is meant can take part: {}", Reasons(skipped))]
    AllSkipped {
        /// Them, and why.
        skipped: BTreeMap<HostId, Skipped>,
    },
    /// The version has other bytes somewhere.
    #[error(
        "{version} runs on {host} with digest {}, and {} was asked for; a version's bytes never change: give the new \
         build a version of its own",
        running.short(), wanted.short()
    )]
    VersionTaken {
        /// The version.
        version: Version,
        /// Where.
        host: HostId,
        /// What runs.
        running: Digest,
        /// What was asked for.
        wanted: Digest,
    },
    /// A lower version without leave.
    #[error(
        "{to} is lower than {from}, which runs on {}; say --downgrade if that is meant, or use `host fleet rollback \
         {workload}`",
        Names(hosts)
    )]
    LowerVersion {
        /// The workload.
        workload: WorkloadName,
        /// The highest that runs.
        from: Version,
        /// What was asked for.
        to: Version,
        /// Where a higher one runs.
        hosts: BTreeSet<HostId>,
    },
    /// The first deploy of a workload needs an address.
    #[error(
        "{workload} is not there yet on {}, and a new workload needs a listener: add --listen tcp://127.0.0.1:7000",
        Names(hosts)
    )]
    ListenerWanted {
        /// The workload.
        workload: WorkloadName,
        /// Where.
        hosts: BTreeSet<HostId>,
    },
    /// The workload is stopped on the fleet.
    #[error("{workload} is stopped on the fleet; start it first with `host fleet start {workload}`")]
    Stopped {
        /// The workload.
        workload: WorkloadName,
    },
    /// Something is being done there.
    #[error("a swap of {workload} is under way on {}, or held there by hand; end it first", Names(hosts))]
    Busy {
        /// The workload.
        workload: WorkloadName,
        /// Where.
        hosts: BTreeSet<HostId>,
    },
    /// An earlier rollout has not closed with a host.
    #[error(
        "rollout {rollout} has not closed with {host} yet; `host fleet why {rollout}` says what it waits for, and \
         `host fleet resolve {rollout} --host {host} --as …` closes it"
    )]
    Obliged {
        /// Where.
        host: HostId,
        /// Which rollout.
        rollout: RolloutId,
    },
    /// More hosts than one coordinator looks after.
    #[error("{hosts} hosts are meant, and a rollout is for at most {HOSTS_LIMIT}; choose some with --hosts or --label")]
    TooManyHosts {
        /// How many.
        hosts: usize,
    },
}

/// Hosts in words.
struct Names<'a>(&'a BTreeSet<HostId>);

/// How many hosts are named before the rest is counted.
const NAMED_LIMIT: usize = 10;

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().take(NAMED_LIMIT).map(HostId::as_str).collect();
        f.write_str(&names.join(", "))?;
        match self.0.len().saturating_sub(NAMED_LIMIT) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Hosts in words, with their verb.
struct Are<'a>(&'a BTreeSet<HostId>);

impl fmt::Display for Are<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Names(self.0), if self.0.len() == 1 { "is" } else { "are" })
    }
}

/// Hosts in words, each with its reason.
struct Reasons<'a>(&'a BTreeMap<HostId, Skipped>);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().take(NAMED_LIMIT).map(|(host, why)| format!("{host} ({why})")).collect();
        f.write_str(&words.join(", "))?;
        match self.0.len().saturating_sub(NAMED_LIMIT) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Decides what a rollout will do.
///
/// # Errors
/// The refusal, in the words a person reads. Whatever runs goes on.
pub fn plan(request: &RolloutRequest, view: &FleetView) -> Result<Planned, Refusal> {
    let workload = request.workload();
    if let Some(other) = view.other {
        return Err(Refusal::OtherRollout { workload: workload.clone(), other });
    }
    if view.assignment.run == RunWanted::Stopped {
        return Err(Refusal::Stopped { workload: workload.clone() });
    }
    let meant = meant(request, view)?;
    let sorted = Sorted::of(request, &meant)?;
    if let Some(planned) = sorted.offline_hosts(request.policy.offline)? {
        return Ok(planned);
    }
    versions(request, &sorted)?;
    if request.target.listeners.is_empty() {
        let new = |(host, before): (&&HostId, &Option<&Running>)| before.is_none().then(|| (*host).clone());
        let hosts: BTreeSet<_> = sorted.change.iter().filter_map(new).collect();
        if !hosts.is_empty() {
            return Err(Refusal::ListenerWanted { workload: workload.clone(), hosts });
        }
    }
    let coverage = if request.hosts == Selector::All { Coverage::Whole } else { Coverage::Chosen };
    let settled = coverage == Coverage::Chosen || view.assignment.stable.as_ref() == Some(&request.target);
    if sorted.change.is_empty() && sorted.already.is_empty() {
        return Err(Refusal::AllSkipped { skipped: sorted.skipped });
    }
    if sorted.change.is_empty() && settled {
        return Err(Refusal::NothingToDo { workload: workload.clone(), version: request.target.version.clone() });
    }
    let plan = RolloutPlan {
        to: request.target.version.clone(),
        waves: waves(request, ordered(request, &meant, &sorted.change)),
        already: sorted.already,
        skipped: sorted.skipped,
        coverage,
    };
    Ok(Planned::Plan { plan })
}

/// The hosts that are meant.
fn meant<'a>(request: &RolloutRequest, view: &'a FleetView) -> Result<BTreeMap<&'a HostId, &'a FleetHost>, Refusal> {
    let assigned = &view.assignment.selector;
    if let Selector::Names(names) = &request.hosts {
        let unknown: BTreeSet<_> = names.iter().filter(|name| !view.hosts.contains_key(*name)).cloned().collect();
        if !unknown.is_empty() {
            return Err(Refusal::UnknownHosts { hosts: unknown });
        }
        let named = view.hosts.iter().filter(|(name, _)| names.contains(*name));
        let strangers: BTreeSet<_> =
            named.filter(|(name, host)| !assigned.selects(name, &host.labels)).map(|(name, _)| name.clone()).collect();
        if !strangers.is_empty() {
            let (workload, assigned) = (request.workload().clone(), assigned.clone());
            return Err(Refusal::NotAssigned { workload, hosts: strangers, assigned });
        }
    }
    let chosen = |name: &HostId, host: &FleetHost| {
        assigned.selects(name, &host.labels) && request.hosts.selects(name, &host.labels)
    };
    let hosts: BTreeMap<_, _> = view.hosts.iter().filter(|(name, host)| chosen(name, host)).collect();
    match hosts.len() {
        0 => Err(Refusal::NoHosts {
            wanted: if request.hosts == Selector::All { assigned } else { &request.hosts }.clone(),
        }),
        1..=HOSTS_LIMIT => Ok(hosts),
        hosts => Err(Refusal::TooManyHosts { hosts }),
    }
}

/// The hosts that are meant, by what becomes of them.
struct Sorted<'a> {
    change: BTreeMap<&'a HostId, Option<&'a Running>>,
    already: BTreeSet<HostId>,
    skipped: BTreeMap<HostId, Skipped>,
}

impl<'a> Sorted<'a> {
    fn of(request: &RolloutRequest, meant: &BTreeMap<&'a HostId, &'a FleetHost>) -> Result<Self, Refusal> {
        let mut sorted = Self { change: BTreeMap::new(), already: BTreeSet::new(), skipped: BTreeMap::new() };
        let mut busy = BTreeSet::new();
        for (name, host) in meant {
            let inventory = host.inventory.as_ref();
            let Some(inventory) = inventory.filter(|_| host.connected) else {
                sorted.skipped.insert((*name).clone(), Skipped::Offline);
                continue;
            };
            if let Some(rollout) = host.obliged_to {
                return Err(Refusal::Obliged { host: (*name).clone(), rollout });
            }
            if let Some(why) = left_out(inventory) {
                sorted.skipped.insert((*name).clone(), why);
            } else if inventory.running.as_ref().is_some_and(|running| request.target.is(running)) {
                sorted.already.insert((*name).clone());
            } else if inventory.busy.is_some() || inventory.held {
                busy.insert((*name).clone());
            } else {
                sorted.change.insert(name, inventory.running.as_ref());
            }
        }
        if busy.is_empty() {
            Ok(sorted)
        } else {
            Err(Refusal::Busy { workload: request.workload().clone(), hosts: busy })
        }
    }

    /// What the hosts that are not connected mean for the rollout, if they stand in its way.
    fn offline_hosts(&self, offline: Offline) -> Result<Option<Planned>, Refusal> {
        let away = self.skipped.iter().filter(|(_, why)| **why == Skipped::Offline);
        let hosts: BTreeSet<_> = away.map(|(host, _)| host.clone()).collect();
        match offline {
            _ if hosts.is_empty() => Ok(None),
            Offline::Skip => Ok(None),
            Offline::Wait => Ok(Some(Planned::Wait { hosts })),
            Offline::Refuse => Err(Refusal::Offline { hosts }),
        }
    }
}

/// Why a connected host does not take part, if it does not.
fn left_out(inventory: &WorkloadInventory) -> Option<Skipped> {
    if inventory.detached {
        let running = inventory.running.as_ref().map(|running| running.version.clone());
        return Some(Skipped::Detached { running });
    }
    match &inventory.run_state {
        Some(RunState::Stopped) => Some(Skipped::NotRunning { why: "stopped by hand".to_owned() }),
        Some(RunState::Failed { why }) => Some(Skipped::NotRunning { why: why.clone() }),
        Some(RunState::Running) | None => None,
    }
}

/// A version's bytes never change, and a lower one must be meant.
fn versions(request: &RolloutRequest, sorted: &Sorted<'_>) -> Result<(), Refusal> {
    let target = &request.target;
    let running = || sorted.change.iter().filter_map(|(host, before)| before.map(|running| (*host, running)));
    if let Some((host, other)) =
        running().find(|(_, running)| running.version == target.version && running.digest != target.digest)
    {
        return Err(Refusal::VersionTaken {
            version: target.version.clone(),
            host: host.clone(),
            running: other.digest,
            wanted: target.digest,
        });
    }
    let higher: Vec<_> = running().filter(|(_, running)| running.version > target.version).collect();
    let highest = higher.iter().map(|(_, running)| &running.version).max();
    match highest {
        Some(from) if !request.direction.lowers() => Err(Refusal::LowerVersion {
            workload: request.workload().clone(),
            from: from.clone(),
            to: target.version.clone(),
            hosts: higher.iter().map(|(host, _)| (*host).clone()).collect(),
        }),
        _ => Ok(()),
    }
}

/// The hosts to change in the order that was asked for, by name where nothing was.
fn ordered(
    request: &RolloutRequest,
    meant: &BTreeMap<&HostId, &FleetHost>,
    change: &BTreeMap<&HostId, Option<&Running>>,
) -> Vec<PlannedHost> {
    let rank = |host: &HostId| {
        let labels = meant.get(host).map(|host| &host.labels);
        let place = request.order.iter().position(|label| labels.is_some_and(|labels| labels.contains(label)));
        place.unwrap_or(request.order.len())
    };
    let mut hosts: Vec<_> =
        change.iter().map(|(host, before)| PlannedHost { host: (*host).clone(), before: before.cloned() }).collect();
    hosts.sort_by_key(|planned| rank(&planned.host));
    hosts
}

/// Cuts the hosts into waves. The size is a part of all hosts that change, so that it is the same for every wave.
fn waves(request: &RolloutRequest, hosts: Vec<PlannedHost>) -> Vec<Vec<PlannedHost>> {
    let (total, policy) = (hosts.len(), &request.policy);
    let (first, size) = match policy.strategy {
        Strategy::Rolling => (policy.wave.of(total), policy.wave.of(total)),
        Strategy::Canary { size, .. } => (size.of(total), policy.wave.of(total)),
        Strategy::AllAtOnce => (total, total),
    };
    let mut waves: Vec<Vec<PlannedHost>> = Vec::new();
    for host in hosts {
        let limit = if waves.len() == 1 { first } else { size };
        match waves.last_mut() {
            Some(wave) if wave.len() < limit => wave.push(host),
            _ => waves.push(vec![host]),
        }
    }
    waves
}

impl RolloutPlan {
    /// Each host to be switched, with the number of its wave.
    pub fn hosts(&self) -> impl Iterator<Item = (usize, &PlannedHost)> {
        self.waves.iter().enumerate().flat_map(|(wave, hosts)| hosts.iter().map(move |host| (wave, host)))
    }

    /// The report a person reads before anything is done.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (wave, hosts) in self.waves.iter().enumerate() {
            lines.push(format!("wave {} of {}:", wave + 1, self.waves.len()));
            for PlannedHost { host, before } in hosts {
                lines.push(match before {
                    Some(running) => format!("  {host}: {} → {}", running.version, self.to),
                    None => format!("  {host}: start {}", self.to),
                });
            }
        }
        lines.extend(self.already.iter().map(|host| format!("already there: {host}")));
        lines.extend(self.skipped.iter().map(|(host, why)| format!("left out: {host} ({why})")));
        lines
    }
}
