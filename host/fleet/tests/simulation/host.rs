//! A model of a host: a workload with generations and held predecessors, and the rules of an agent over the real journal.

use std::{collections::VecDeque, path::Path, time::Duration};

use host_core::{
    fleet::{Busy, FleetRevision, HostInventory, Running, WorkloadInventory},
    id::{CommandId, Digest, Generation, HostId, WorkloadName},
    plan::WayBack,
    rollout::command::{Action, Command, Outcome},
    status::RunState,
    time::UnixNanos,
};
use host_fleet::{
    agent::{Entry, Journal, entry_after, entry_after_local_failure, entry_after_upkeep},
    coordinator::SessionId,
    protocol::{LocalFailure, Task, Upkeep},
};
use semver::Version;

/// What is in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
}

impl Release {
    fn of(revision: &FleetRevision) -> Self {
        Self { version: revision.version.clone(), digest: revision.digest }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Work {
    Command(Box<Command>),
    Upkeep(Box<Upkeep>),
}

impl Work {
    pub(crate) const fn id(&self) -> CommandId {
        match self {
            Self::Command(command) => command.id,
            Self::Upkeep(upkeep) => upkeep.id,
        }
    }
}

pub(crate) struct Host {
    pub(crate) name: HostId,
    workload: WorkloadName,
    // What is on disk.
    pub(crate) journal: Journal,
    pub(crate) generation: u64,
    pub(crate) running: Option<Release>,
    /// On a held probation: what ran before.
    pub(crate) predecessor: Option<Option<Release>>,
    // What dies with the process.
    pub(crate) up: bool,
    /// Counts the starts: what was planned in an earlier one does not happen.
    pub(crate) life: u32,
    pub(crate) session: Option<SessionId>,
    /// What the session began with that went wrong here, until the coordinator has answered.
    pub(crate) confessed: Option<LocalFailure>,
    pub(crate) doing: Option<Work>,
    pub(crate) waiting: VecDeque<(Work, UnixNanos)>,
    /// No way leads to any coordinator.
    pub(crate) cut_off: bool,
    /// The new release is bad here.
    pub(crate) ill: bool,
}

impl Host {
    pub(crate) fn new(name: HostId, workload: WorkloadName) -> Self {
        Self {
            name,
            workload,
            journal: Journal::open(Path::new(":memory:")).expect("a journal in memory"),
            generation: 0,
            running: None,
            predecessor: None,
            up: true,
            life: 0,
            session: None,
            confessed: None,
            doing: None,
            waiting: VecDeque::new(),
            cut_off: false,
            ill: false,
        }
    }

    pub(crate) fn entry(&self) -> Entry {
        self.journal.entry(&self.workload).expect("a journal")
    }

    fn keep(&mut self, entry: &Entry) {
        self.journal.keep(&self.workload, entry).expect("a journal");
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation)
    }

    fn running(&self) -> Option<Running> {
        let entry = self.entry();
        self.running.as_ref().map(|release| {
            let numbered =
                |known: Option<(_, Digest)>| known.filter(|known| known.1 == release.digest).map(|known| known.0);
            Running {
                version: release.version.clone(),
                digest: release.digest,
                generation: self.generation(),
                revision: numbered(entry.revision).or_else(|| numbered(entry.before)),
            }
        })
    }

    pub(crate) fn inventory(&self) -> HostInventory {
        let newest = self.waiting.back().map(|(work, _)| work.id());
        let workload = WorkloadInventory {
            running: self.running(),
            run_state: self.running.as_ref().map(|_| RunState::Running),
            held: self.predecessor.is_some(),
            busy: newest.or_else(|| self.doing.as_ref().map(Work::id)).map(Busy::Command),
            detached: false,
            recent: self.journal.recent(&self.workload).expect("a journal"),
        };
        HostInventory { workloads: [(self.workload.clone(), workload)].into() }
    }

    pub(crate) fn fits(&self, command: &Command) -> bool {
        match (&command.expected, &self.running) {
            (None, None) => true,
            (Some(expected), Some(running)) => {
                (expected.digest, expected.generation) == (running.digest, self.generation())
            }
            _ => false,
        }
    }

    fn raise(&mut self) {
        self.generation += 1;
    }

    pub(crate) fn switch_to(&mut self, release: Release) {
        assert!(self.predecessor.is_none(), "{} is told to swap over a held predecessor", self.name);
        self.raise();
        let before = self.running.replace(release);
        self.predecessor = before.is_some().then_some(before);
    }

    /// The predecessor serves again.
    pub(crate) fn go_back(&mut self) {
        if let Some(before) = self.predecessor.take() {
            self.raise();
            self.running = before;
        }
    }

    /// What became of a command that was written down and begun.
    pub(crate) fn perform(&mut self, command: &Command, expired: bool, fails: bool) -> Outcome {
        if expired {
            return Outcome::Expired;
        }
        if !matches!(command.action, Action::RollBack { .. }) && !self.fits(command) {
            return Outcome::Refused { why: "something else is in place".to_owned() };
        }
        match &command.action {
            Action::Prepare { .. } if fails => Outcome::Refused { why: "the rehearsal failed".to_owned() },
            Action::Prepare { .. } => {
                Outcome::Prepared { way_back: self.running.as_ref().map(|_| WayBack::Downgrade), notes: Vec::new() }
            }
            Action::Switch { .. } if fails && self.running.is_some() => {
                self.raise();
                self.raise();
                Outcome::RolledBack { generation: Some(self.generation()), why: "the smoke check failed".to_owned() }
            }
            Action::Switch { revision, .. } => {
                self.switch_to(Release::of(revision));
                Outcome::Switched { generation: self.generation(), measured: Default::default() }
            }
            Action::Commit => {
                self.predecessor = None;
                Outcome::Committed { generation: self.generation() }
            }
            Action::RollBack { to, .. } => self.roll_back(to.as_ref()),
        }
    }

    fn roll_back(&mut self, to: Option<&Running>) -> Outcome {
        let held = self.predecessor.is_some();
        let back = |generation| Outcome::RolledBack { generation, why: "as it was told".to_owned() };
        match (&self.running, to) {
            (None, None) => back(None),
            (Some(running), Some(to)) if running.digest == to.digest && !held => back(Some(self.generation())),
            (Some(_), None) => {
                (self.running, self.predecessor) = (None, None);
                self.raise();
                back(None)
            }
            (Some(_), Some(to)) => {
                self.raise();
                self.predecessor = None;
                self.running = Some(Release { version: to.version.clone(), digest: to.digest });
                back(Some(self.generation()))
            }
            (None, Some(_)) => Outcome::Stuck { why: "it is not there any more".to_owned() },
        }
    }

    /// Writes down what became of a command.
    pub(crate) fn end(&mut self, command: &Command, outcome: &Outcome) {
        let entry = entry_after(self.entry(), command, outcome);
        self.journal.end(command.id, outcome, &self.workload, &entry).expect("a journal");
    }

    pub(crate) fn keep_up(&mut self, upkeep: &Upkeep) -> Result<(), String> {
        match &upkeep.task {
            Task::Deploy { revision, .. } => {
                // A host would make the held release permanent, and nobody decided that.
                assert!(self.predecessor.is_none(), "{} is told to swap over a held predecessor", self.name);
                self.raise();
                self.running = Some(Release::of(revision));
            }
            Task::Commit => self.predecessor = None,
            Task::Start | Task::Stop | Task::Attach { .. } => {}
            Task::Remove => (self.running, self.predecessor) = (None, None),
        }
        let entry = entry_after_upkeep(self.entry(), &upkeep.task, self.running.as_ref().map(|release| release.digest));
        self.keep(&entry);
        Ok(())
    }

    /// The held release that was left by the host itself, if it was and no coordinator has heard of it.
    pub(crate) fn left(&self) -> Option<LocalFailure> {
        let held = self.entry().holding.filter(|held| self.doing.is_none() && *held != self.generation())?;
        assert!(held < self.generation(), "generations only rise");
        let (workload, generation) = (self.workload.clone(), self.generation());
        Some(LocalFailure { workload, generation, running: self.running(), why: "its probation failed".to_owned() })
    }

    /// A coordinator is told of that.
    pub(crate) fn told(&mut self, failure: &LocalFailure) {
        let after = entry_after_local_failure(self.entry(), failure.running.as_ref());
        self.keep(&after);
    }

    /// What became of a command that the host's death cut off.
    pub(crate) fn fate(&mut self, command: &Command) -> Outcome {
        let cut_off = || "the host was restarted meanwhile".to_owned();
        match &command.action {
            Action::Prepare { .. } => Outcome::Refused { why: cut_off() },
            Action::Commit | Action::RollBack { .. } => self.perform(command, false, false),
            Action::Switch { revision, .. } => match &self.running {
                None if command.expected.is_none() => Outcome::Refused { why: cut_off() },
                None => Outcome::Stuck { why: cut_off() },
                Some(running)
                    if running.digest == revision.digest
                        && (self.predecessor.is_some() || command.expected.is_none()) =>
                {
                    Outcome::Switched { generation: self.generation(), measured: Default::default() }
                }
                Some(_) if command.expected.is_some_and(|expected| expected.generation == self.generation()) => {
                    Outcome::Refused { why: cut_off() }
                }
                Some(_) => Outcome::RolledBack { generation: Some(self.generation()), why: cut_off() },
            },
        }
    }

    /// How long it takes to do something, at most.
    pub(crate) const fn takes(work: &Work) -> Duration {
        match work {
            Work::Command(command) if matches!(command.action, Action::Commit) => Duration::from_millis(300),
            Work::Command(_) | Work::Upkeep(_) => Duration::from_secs(3),
        }
    }
}
