//! The machine that brings a revision to a fleet.
//!
//! ```text
//! scheduled → discovering → preparing → switching ⇄ verifying (→ resting) → committing → complete
//!                  │            └───────────┴───────────┴─ failure ─┬─ rolling-back → rolled-back | rollback-incomplete
//!               refused                                             └─ held          → failed, when nothing had switched
//! ```
//!
//! [`Rollout::handle`] takes what happened and gives what shall happen next; the coordinator writes the machine and all that
//! is to be kept in one transaction, and sends only then. The machine is plain data: after a crash it is read back, told
//! [`Input::Recovered`], and decides anew from what hosts report; no queue is replayed. What it promises, and the tests check
//! over random and over all small orders of failure:
//!
//! - no host switches before every host has prepared, and no wave is larger than planned;
//! - no predecessor is let go anywhere before every switched host was verified: until then all of them can be put back;
//! - a host never has two commands open; what answers an older one changes nothing;
//! - a host that does not answer is *unknown*, never failed, and stays owed what was decided meanwhile ([`Obligation`]);
//! - a rollback reaches every host that may have switched, or says which it did not;
//! - every rollout ends, or says which person's word it waits for; after its end it sends nothing but what it owes.
//!
//! Each call costs a walk over the hosts of the rollout.

mod clock;
pub mod command;
mod drive;
mod effect;
mod facts;
mod orders;
mod part;
pub mod planner;
pub mod policy;
mod record;
pub mod request;
mod state;
mod summary;
mod watch;
mod why;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use self::{
    command::{Action, ActionKind, Command, Expected},
    part::Measure,
    planner::{Coverage, RolloutPlan},
    policy::OnFailure,
    request::{Extent, RolloutRequest},
};
pub use self::{
    effect::{AuditRow, Effect, EventKind, HealthAnswer, Input, Obligation, Order, RolloutEvent},
    part::{CommandEnd, Part, PartKind, PartSpan},
    record::{HostRecord, HostState, Link, Open, Resolution},
    state::{Cause, PauseReason, State, StateName},
    summary::{Counts, HostSummary, Summary, Verdict},
    watch::{Ask, Watch},
    why::{Advice, Next, Waiting, Why},
};
use crate::{
    fleet::AssignmentChange,
    id::{CommandId, Epoch, HostId, QuestionId, RolloutId, WorkloadName},
    time::UnixNanos,
};

/// A rehearsal is worth this long: what it showed of a live state an hour ago says little. Older ones are repeated before
/// their wave.
pub const PREPARED_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long an answer about health is waited for: longer than the longest call into a healthy guest.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Hosts are asked this often while they are watched: a second's illness in a long soak may be missed, and a fleet of
/// thousands is not busy with answers.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// One rollout.
///
/// Inputs: [`handle`](Self::handle). Outputs: the effects it returns. Getters: the others. [`why`](Self::why) and
/// [`summary`](Self::summary) are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    id: RolloutId,
    epoch: Epoch,
    request: RolloutRequest,
    plan: Option<RolloutPlan>,
    state: State,
    /// When the state was entered.
    since: UnixNanos,
    /// When something last moved.
    progress: UnixNanos,
    began: UnixNanos,
    ended: Option<UnixNanos>,
    hosts: BTreeMap<HostId, HostRecord>,
    /// Who cancelled it and keeps what is switched: no further wave is begun.
    cut: Option<String>,
    commands: u32,
    asks: u64,
    /// The latest moment it has seen: a clock that was set back does not turn it back.
    now: UnixNanos,
    timer: Option<UnixNanos>,
    #[serde(default)]
    measure: Measure,
}

impl Rollout {
    /// A rollout that waits for [`Input::Begin`]. The request has passed [`RolloutRequest::checked`].
    #[must_use]
    pub fn new(id: RolloutId, request: RolloutRequest, epoch: Epoch, now: UnixNanos) -> Self {
        let (at, latest) = request.schedule.map_or((now, UnixNanos(u64::MAX)), |schedule| {
            (schedule.not_before, schedule.not_before.after(schedule.late_limit))
        });
        Self {
            id,
            epoch,
            request,
            plan: None,
            state: State::Scheduled { at, latest },
            since: now,
            progress: now,
            began: now,
            ended: None,
            hosts: BTreeMap::new(),
            cut: None,
            commands: 0,
            asks: 0,
            now,
            timer: None,
            measure: Measure::default(),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> RolloutId {
        self.id
    }

    /// What is rolled out.
    #[must_use]
    pub const fn workload(&self) -> &WorkloadName {
        self.request.workload()
    }

    /// What was asked for.
    #[must_use]
    pub const fn request(&self) -> &RolloutRequest {
        &self.request
    }

    /// The plan, once there is one.
    #[must_use]
    pub const fn plan(&self) -> Option<&RolloutPlan> {
        self.plan.as_ref()
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Since when it stands there.
    #[must_use]
    pub const fn since(&self) -> UnixNanos {
        self.since
    }

    /// When it was made.
    #[must_use]
    pub const fn began(&self) -> UnixNanos {
        self.began
    }

    /// When it was over.
    #[must_use]
    pub const fn ended(&self) -> Option<UnixNanos> {
        self.ended
    }

    /// What is known of its hosts.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeMap<HostId, HostRecord> {
        &self.hosts
    }

    /// Whether its time has come: one that is only scheduled stands in nobody's way.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !matches!(self.state, State::Scheduled { .. })
    }

    /// Whether it has ended. Hosts may still be owed something.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// Whether this host is its own: it takes part while the rollout goes on, or is owed something afterwards. Nobody else
    /// gives it commands about the workload until then.
    #[must_use]
    pub fn holds(&self, host: &HostId) -> bool {
        if self.is_over() { self.obligation(host).is_some() } else { self.hosts.contains_key(host) }
    }

    /// What a host is still owed after the end.
    #[must_use]
    pub fn obligation(&self, host: &HostId) -> Option<Obligation> {
        let record = self.hosts.get(host).filter(|record| record.resolved.is_none())?;
        let kept = match self.state {
            State::Complete | State::Cancelled { kept: true } => true,
            State::RolledBack { .. }
            | State::RollbackIncomplete { .. }
            | State::Failed { .. }
            | State::Cancelled { kept: false } => false,
            _ => return None,
        };
        match &record.state {
            HostState::Stuck { .. } => Some(Obligation::Resolve),
            _ if record.may_be_switched() && kept => Some(Obligation::Commit),
            _ if record.may_be_switched() => Some(Obligation::RollBack),
            _ => None,
        }
    }

    /// The hosts that are still owed something after the end.
    #[must_use]
    pub fn obligations(&self) -> BTreeMap<HostId, Obligation> {
        self.hosts.keys().filter_map(|host| Some((host.clone(), self.obligation(host)?))).collect()
    }

    /// Takes what happened at `now` and says what shall happen. Input that the state has no use for changes nothing.
    ///
    /// What is returned must be written, together with the machine itself, before any of it is sent.
    pub fn handle(&mut self, input: Input, now: UnixNanos) -> Vec<Effect> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        match input {
            Input::Begin | Input::Tick => {}
            Input::Discovered { view } => self.discovered(&view, &mut out),
            Input::Outcome { host, command, epoch, outcome } => self.outcome(&host, command, epoch, outcome, &mut out),
            Input::Connected { host, inventory } => self.connected(&host, &inventory, &mut out),
            Input::Inventory { host, ask, inventory } => self.told_inventory(&host, ask, &inventory, &mut out),
            Input::Disconnected { host } => self.disconnected(&host),
            Input::LocalFailure { host, generation, running, why } => {
                self.local_failure(&host, generation, running, &why, &mut out);
            }
            Input::Health { host, ask, answer } => self.health(&host, ask, answer, &mut out),
            Input::Order { by, order } => self.order(&by, &order, &mut out),
            Input::Recovered { epoch } => self.recovered(epoch, &mut out),
        }
        self.drive(&mut out);
        self.set_timer(&mut out);
        out
    }

    fn set_timer(&mut self, out: &mut Vec<Effect>) {
        let wakes = self.wakes_at();
        if wakes != self.timer {
            self.timer = wakes;
            out.extend(wakes.map(|at| Effect::SetTimer { at }));
        }
    }

    /// Enters a state, tells of it, and changes the assignment where the state decides about it.
    fn enter(&mut self, state: State, out: &mut Vec<Effect>) {
        (self.since, self.progress) = (self.now, self.now);
        let was_over = self.state.is_over();
        let left = std::mem::replace(&mut self.state, state);
        self.stage(&left, out);
        if let Some(change) = self.assignment_change(was_over) {
            out.push(Effect::Assignment { change });
        }
        if self.state.is_over() && !was_over {
            self.ended = Some(self.now);
            self.whole(out);
        }
        let (kind, wave, message) = self.told();
        self.emit(kind, None, wave, message.clone(), out);
        if self.state.is_over()
            || matches!(self.state, State::Committing | State::RollingBack { .. } | State::Held { .. })
        {
            let row = AuditRow {
                who: format!("rollout {}", self.id),
                what: format!("{} {}", self.workload(), self.state.name()),
                host: None,
                result: Some(message),
            };
            out.push(Effect::Audit { row });
        }
    }

    /// What entering this state means for the assignment.
    fn assignment_change(&self, was_over: bool) -> Option<AssignmentChange> {
        let plan = self.plan.as_ref().filter(|_| self.request.extent == Extent::Roll)?;
        let revision = self.request.target.clone();
        match self.state {
            State::Committing if plan.coverage == Coverage::Whole && self.cut.is_none() => {
                Some(AssignmentChange::Committed { revision })
            }
            State::Committing => {
                let brought = self.hosts.iter().filter(|(_, record)| record.may_be_switched());
                let hosts = brought.map(|(host, _)| host.clone()).chain(plan.already.iter().cloned()).collect();
                Some(AssignmentChange::Pinned { revision, hosts })
            }
            State::Failed { .. }
            | State::RolledBack { .. }
            | State::RollbackIncomplete { .. }
            | State::Cancelled { kept: false }
                if !was_over =>
            {
                Some(AssignmentChange::TargetDropped)
            }
            _ => None,
        }
    }

    fn emit(
        &self,
        kind: EventKind,
        host: Option<&HostId>,
        wave: Option<usize>,
        message: String,
        out: &mut Vec<Effect>,
    ) {
        let event = RolloutEvent {
            kind,
            at: self.now,
            rollout: self.id,
            workload: self.workload().clone(),
            host: host.cloned(),
            wave: wave.map(|wave| wave + 1),
            message,
        };
        out.push(Effect::Emit { event });
    }

    /// Brings a host to another state and tells of it.
    fn set_host(&mut self, host: &HostId, state: HostState, out: &mut Vec<Effect>) {
        let Some(record) = self.hosts.get_mut(host) else { return };
        if record.state == state {
            return;
        }
        record.was_switched |= state.is_switched();
        let message = match state.why() {
            Some(why) => format!("{host} is {}: {why}", state.as_str()),
            None => format!("{host} is {}", state.as_str()),
        };
        let wave = record.wave;
        record.state = state;
        self.emit(EventKind::Host, Some(host), Some(wave), message, out);
    }

    /// Notes why a host counts as failed. The first reason is the one that matters.
    fn fail_host(&mut self, host: &HostId, why: &str) {
        if let Some(record) = self.hosts.get_mut(host) {
            record.failure.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Gives a connected host a command. The record says so before it is sent: after a crash it is known that it may have been.
    fn send(&mut self, host: &HostId, action: Action, out: &mut Vec<Effect>) {
        let timeout = self.request.policy.host_timeout;
        let target = self.request.target.digest;
        let (trace, parent) = self.measure.command();
        let Some(record) = self.hosts.get_mut(host) else { return };
        debug_assert!(record.open.is_none(), "{host} has a command open");
        let expected = match action.kind() {
            ActionKind::Prepare | ActionKind::Switch => record.before.as_ref().map(|before| before.digest),
            ActionKind::Commit | ActionKind::RollBack => Some(target),
        };
        self.commands += 1;
        let command = Command {
            id: CommandId::of(self.id, self.commands),
            epoch: self.epoch,
            workload: self.request.target.workload.clone(),
            expected: expected.map(|digest| Expected { digest, generation: record.generation }),
            action,
            time_to_live: timeout,
            trace,
        };
        let kind = command.action.kind();
        record.asked = None;
        record.open = Some(Open {
            command: command.id,
            epoch: self.epoch,
            action: kind,
            sent: self.now,
            deadline: self.now.after(timeout),
            span: trace.map(|trace| trace.span),
            parent,
            told: false,
        });
        self.audit_host(host, kind, None, out);
        out.push(Effect::Send { host: host.clone(), command: Box::new(command) });
    }

    fn audit_host(&self, host: &HostId, action: ActionKind, result: Option<String>, out: &mut Vec<Effect>) {
        let row = AuditRow {
            who: format!("rollout {}", self.id),
            what: format!("{} {} {}", action.as_str(), self.workload(), self.request.target.version),
            host: Some(host.clone()),
            result,
        };
        out.push(Effect::Audit { row });
    }

    /// Asks a connected host what it runs.
    fn ask_inventory(&mut self, host: &HostId, out: &mut Vec<Effect>) {
        self.asks += 1;
        let ask = QuestionId(self.asks);
        if let Some(record) = self.hosts.get_mut(host) {
            record.asked = Some(ask);
            out.push(Effect::AskInventory { host: host.clone(), ask });
        }
    }

    /// Asks for a host's health.
    fn ask(&mut self, host: &HostId, out: &mut Vec<Effect>) -> Ask {
        self.asks += 1;
        let ask = QuestionId(self.asks);
        out.push(Effect::AskHealth { host: host.clone(), ask, check: self.request.policy.health.check.clone() });
        Ask::Open { ask, until: self.now.after(HEALTH_TIMEOUT) }
    }

    /// What went wrong, and whether it is more than may.
    fn too_many_failures(&self) -> Option<String> {
        let failed: Vec<_> =
            self.hosts.iter().filter_map(|(host, record)| Some((host, record, record.failure.as_ref()?))).collect();
        let budget = usize::try_from(self.request.policy.failure_budget).unwrap_or(usize::MAX);
        // A host that serves a release that fails there would have to be put back by itself.
        let left_there = self.request.policy.on_failure == OnFailure::Hold
            && failed.iter().any(|(_, record, _)| record.state.is_switched());
        if !left_there && (failed.len() <= budget || self.keeps()) {
            return None;
        }
        let named: Vec<_> = failed.iter().take(FAILURES_NAMED).map(|(host, _, why)| format!("{host}: {why}")).collect();
        let more = failed.len().saturating_sub(FAILURES_NAMED);
        let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
        Some(format!("{}{rest}", named.join("; ")))
    }
}

/// Failures that are told one by one; the rest is counted.
const FAILURES_NAMED: usize = 5;
