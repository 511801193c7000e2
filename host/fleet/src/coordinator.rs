//! The coordinator of a fleet: what shall run where, and who was told what.
//!
//! [`Coordinator::handle`] takes what happened and gives a [`Step`]: what must be written in one transaction, and what may be sent
//! only then. It waits for nothing, opens nothing and reads no clock, so that every order of failure can be tried on it. The
//! shell around it, [`serve`], is a task that performs steps one after the other: persist, then send.
//!
//! Rollouts are decided by [`host_core::rollout`]; here they meet the hosts' sessions, the assignments and the operators. What
//! lies outside of a rollout is *upkeep*: a host that joined, returned or was stopped is brought to its assignment by an ordinary
//! guarded swap, a few at a time.
//!
//! Costs: an input that touches a rollout writes the whole machine anew, some 300 bytes for each of its hosts.

mod answer;
mod declare;
mod hosts;
mod rollouts;
pub mod serve;
mod upkeep;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use host_api::Failure;
use host_core::{
    fleet::{Assignment, FleetRevision, HostInventory},
    id::{Digest, Epoch, HostId, RevisionId, RolloutId, WorkloadName},
    label::Labels,
    rollout::{Input as RolloutInput, Rollout, State, request::Source},
    status::HostStatus,
    time::UnixNanos,
};
use semver::Version;

use self::upkeep::Upkeeping;
use crate::{
    identity::Kind,
    operator::{Ask, Told},
    protocol::{Down, Up},
    store::{Changes, Loaded, NewAudit, NewEvent, ReleaseRecord, RolloutRecord},
    telemetry::{Figures, Observed, Tracer},
};

/// A host's session, counted within a coordinator's life. A host's newest is the one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A host's session began, with its first word.
    Opened {
        /// Which.
        session: SessionId,
        /// Whose certificate it is.
        host: HostId,
        /// The word.
        hello: Up,
    },
    /// A word of a host.
    Heard {
        /// Over which session.
        session: SessionId,
        /// The word.
        up: Up,
    },
    /// A session ended.
    Closed {
        /// Which.
        session: SessionId,
    },
    /// A host joined, or joined again.
    Joined {
        /// Its name.
        host: HostId,
        /// What is said of it.
        labels: Labels,
    },
    /// A release was published; its bytes are in the store.
    Published {
        /// Who did it.
        by: String,
        /// It.
        release: ReleaseRecord,
    },
    /// An operator asks.
    Asked {
        /// Who.
        by: String,
        /// What.
        ask: Ask,
    },
    /// Look at the clock.
    Tick,
}

/// What shall happen: first all of `changes` is written, then the rest is done in order.
#[derive(Debug, Default)]
pub struct Step {
    /// To write, in one transaction.
    pub changes: Changes,
    /// To send.
    pub sends: Vec<(SessionId, Down)>,
    /// Sessions to end after that.
    pub ends: Vec<SessionId>,
    /// What is told to whoever measures, once it is written.
    pub observed: Vec<Observed>,
    /// The answer to [`Input::Asked`] and [`Input::Published`].
    pub answer: Option<Result<Told, Failure>>,
}

/// The coordinator's state.
#[derive(Debug)]
pub struct Coordinator {
    epoch: Epoch,
    since: UnixNanos,
    hosts: BTreeMap<HostId, Host>,
    sessions: BTreeMap<SessionId, HostId>,
    releases: BTreeMap<(WorkloadName, Version), ReleaseRecord>,
    assignments: BTreeMap<WorkloadName, Assignment>,
    /// Those that are not over, or owe a host something.
    rollouts: BTreeMap<RolloutId, Rollout>,
    last_rollout: RolloutId,
    last_revision: RevisionId,
    upkeeps: BTreeMap<(HostId, WorkloadName), Upkeeping>,
    last_upkeep: u64,
    /// When all of it was last looked at.
    looked: UnixNanos,
    /// Rollouts that changed in this step.
    touched: BTreeSet<RolloutId>,
    /// Who gives a new rollout its trace.
    tracer: Option<Arc<dyn Tracer>>,
}

/// A host of the fleet.
#[derive(Debug, Default)]
struct Host {
    labels: Labels,
    session: Option<SessionId>,
    /// Since when it is connected, or not.
    since: Option<UnixNanos>,
    inventory: Option<HostInventory>,
    /// Something was done there since: another inventory is on its way.
    stale: bool,
    status: Option<Box<HostStatus>>,
}

/// A stored value that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} in the fleet's database can't be read; was it written by a newer coordinator?")]
pub struct Unreadable {
    what: String,
    #[source]
    source: serde_json::Error,
}

impl Coordinator {
    /// Takes up what an earlier coordinator left, and what follows from it. No host is connected yet.
    ///
    /// # Errors
    /// When a stored value can't be read.
    pub fn begin(epoch: Epoch, loaded: Loaded, now: UnixNanos) -> Result<(Self, Step), Unreadable> {
        let read = |what: String| move |source| Unreadable { what, source };
        let mut assignments = BTreeMap::new();
        for document in loaded.assignments {
            let assignment: Assignment =
                serde_json::from_str(&document.text).map_err(read(format!("the assignment of {}", document.key)))?;
            assignments.insert(assignment.workload.clone(), assignment);
        }
        let mut rollouts = BTreeMap::new();
        for document in loaded.rollouts {
            let rollout: Rollout =
                serde_json::from_str(&document.text).map_err(read(format!("rollout {}", document.key)))?;
            rollouts.insert(rollout.id(), rollout);
        }
        let hosts = loaded
            .members
            .into_iter()
            .filter(|member| member.kind == Kind::Host)
            .map(|member| (member.name.into(), Host { labels: member.labels, ..Host::default() }));
        let releases =
            loaded.releases.into_iter().map(|release| ((release.workload.clone(), release.version.clone()), release));
        let mut coordinator = Self {
            epoch,
            since: now,
            hosts: hosts.collect(),
            sessions: BTreeMap::new(),
            releases: releases.collect(),
            assignments,
            rollouts,
            last_rollout: loaded.last_rollout,
            last_revision: loaded.last_revision,
            upkeeps: BTreeMap::new(),
            last_upkeep: 0,
            looked: now,
            touched: BTreeSet::new(),
            tracer: None,
        };
        let mut step = Step::default();
        let known: Vec<_> = coordinator.rollouts.keys().copied().collect();
        for id in known {
            coordinator.drive(id, RolloutInput::Recovered { epoch }, now, &mut step);
        }
        let message = format!("a coordinator begins its epoch {epoch}");
        step.changes.events.push(event("coordinator.started", message));
        coordinator.finish(&mut step);
        Ok((coordinator, step))
    }

    /// From now on a rollout that begins gets a trace of its own.
    #[must_use]
    pub fn traced_by(mut self, tracer: Option<Arc<dyn Tracer>>) -> Self {
        self.tracer = tracer;
        self
    }

    /// How the fleet stands.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures {
            epoch: self.epoch.0,
            hosts: self.hosts.len() as u64,
            connected: self.sessions.len() as u64,
            ..Figures::default()
        };
        for rollout in self.rollouts.values() {
            let standing = match rollout.state() {
                State::Scheduled { .. } => &mut figures.scheduled,
                state if state.is_over() => &mut figures.owing,
                state if state.waits_for_a_person() => &mut figures.waiting,
                _ => &mut figures.under_way,
            };
            *standing += 1;
        }
        figures
    }

    /// Takes what happened at `now` and says what shall happen.
    pub fn handle(&mut self, input: Input, now: UnixNanos) -> Step {
        let mut step = Step::default();
        match input {
            Input::Opened { session, host, hello } => self.opened(session, host, hello, now, &mut step),
            Input::Heard { session, up } => self.heard(session, up, now, &mut step),
            Input::Closed { session } => self.closed(session, now, &mut step),
            Input::Joined { host, labels } => self.joined(host, labels, &mut step),
            Input::Published { by, release } => self.published(by, release, &mut step),
            Input::Asked { by, ask } => {
                let answer = self.asked(&by, ask, now, &mut step);
                step.answer = Some(answer);
            }
            Input::Tick => self.tick(now, &mut step),
        }
        self.forget_removed(&mut step);
        self.keep_up(now, &mut step);
        self.finish(&mut step);
        self.looked = now;
        step
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn wakes_at(&self) -> Option<UnixNanos> {
        let rollouts = self.rollouts.values().filter_map(Rollout::wakes_at);
        // One that was due at the last look and was not begun waits for something else than time: for its host, or a rollout.
        let upkeeps = self.upkeeps.values().filter_map(Upkeeping::wakes_at).filter(|at| *at > self.looked);
        rollouts.chain(upkeeps).min()
    }

    fn tick(&mut self, now: UnixNanos, step: &mut Step) {
        let due = |rollout: &Rollout| rollout.wakes_at().is_some_and(|at| at <= now);
        let due: Vec<_> = self.rollouts.iter().filter(|(_, rollout)| due(rollout)).map(|(id, _)| *id).collect();
        for id in due {
            self.drive(id, RolloutInput::Tick, now, step);
        }
    }

    /// Writes every rollout that changed, once. One that is over and owes nothing is only in the store from here on.
    fn finish(&mut self, step: &mut Step) {
        for id in std::mem::take(&mut self.touched) {
            let Some(rollout) = self.rollouts.get(&id) else { continue };
            let over = rollout.is_over() && rollout.obligations().is_empty();
            step.changes.rollouts.push(RolloutRecord {
                id,
                workload: rollout.workload().clone(),
                began: rollout.began(),
                over,
                text: document(rollout),
            });
            if over {
                self.rollouts.remove(&id);
            }
        }
    }

    /// A revision's number: the one that the same content has already.
    fn revision(&mut self, mut wanted: FleetRevision, step: &mut Step) -> FleetRevision {
        let known = self.assignments.get(&wanted.workload).into_iter().flat_map(Assignment::revisions);
        for known in known {
            if (FleetRevision { id: known.id, ..wanted.clone() }) == *known {
                wanted.id = known.id;
                return wanted;
            }
        }
        self.last_revision = RevisionId(self.last_revision.0 + 1);
        step.changes.last_revision = Some(self.last_revision);
        wanted.id = self.last_revision;
        wanted
    }

    /// Where a host gets a revision's bytes.
    fn source_of(&self, revision: &FleetRevision) -> Source {
        match self.releases.get(&(revision.workload.clone(), revision.version.clone())) {
            Some(release) => release.from.as_deref().and_then(|from| from.parse().ok()).unwrap_or_default(),
            None => Source::Host,
        }
    }

    /// Whether the store has the bytes.
    fn is_stored(&self, digest: Digest) -> bool {
        self.releases.values().any(|release| release.digest == digest && release.from.is_none())
    }
}

fn event(name: &str, message: String) -> NewEvent {
    NewEvent { name: name.to_owned(), workload: None, rollout: None, host: None, message }
}

fn audit(by: &str, what: &str, target: impl Into<String>, result: impl Into<String>) -> NewAudit {
    NewAudit { who: by.to_owned(), what: what.to_owned(), target: target.into(), result: result.into() }
}

/// A value of core's as it is stored. Core's values are made to be written: maps have text keys, numbers are finite.
fn document<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("a value of core's can be written: {error}"))
}
