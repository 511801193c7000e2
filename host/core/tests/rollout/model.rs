//! Hosts as a rollout meets them: each takes commands in order, writes down what it did, and can be cut off or killed.

use std::collections::VecDeque;

use host_core::{
    fleet::{Busy, HostInventory, Recent, Running, WorkloadInventory},
    id::{CommandId, Epoch, Generation, QuestionId},
    plan::WayBack,
    rollout::{
        Input,
        command::{Action, Command, Measured, Outcome},
    },
    status::{HealthStatus, RunState},
};

use crate::world::revision;

/// What a host does next instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It refuses the command; nothing changes.
    Refuses,
    /// It switches, and its own check fails: it goes back.
    GoesBack,
    /// It can go neither way.
    Sticks,
}

/// What travels to a host.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    Command(Box<Command>),
    Inventory(QuestionId),
    Health(QuestionId),
}

/// A host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) running: Option<Running>,
    /// The held predecessor; the inner none where nothing was there.
    pub(crate) predecessor: Option<Option<Running>>,
    pub(crate) generation: u64,
    pub(crate) up: bool,
    pub(crate) detached: bool,
    pub(crate) health: Option<HealthStatus>,
    pub(crate) fault: Option<Fault>,
    pub(crate) commands: Vec<Action>,
    pub(crate) ever_switched: bool,
    pub(crate) prepared: bool,
    highest: (Epoch, CommandId),
    pub(crate) recent: Vec<Recent>,
    pub(crate) inbox: VecDeque<Letter>,
    pub(crate) outbox: VecDeque<Input>,
    /// Commands of connections that are gone. They should have been dropped with them; here they may arrive after all.
    pub(crate) late: Vec<Command>,
}

impl Host {
    pub(crate) fn new(running: Option<Running>) -> Self {
        Self {
            generation: running.as_ref().map_or(0, |running| running.generation.0),
            running,
            predecessor: None,
            up: true,
            detached: false,
            health: Some(HealthStatus::Ok),
            fault: None,
            commands: Vec::new(),
            ever_switched: false,
            prepared: false,
            highest: (Epoch(0), CommandId(0)),
            recent: Vec::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            late: Vec::new(),
        }
    }

    pub(crate) fn inventory(&self) -> HostInventory {
        let busy = self.inbox.iter().find_map(|letter| match letter {
            Letter::Command(command) => Some(Busy::Command(command.id)),
            _ => None,
        });
        let workload = WorkloadInventory {
            running: self.running.clone(),
            run_state: self.running.as_ref().map(|_| RunState::Running),
            held: self.predecessor.is_some(),
            busy,
            detached: self.detached,
            recent: self.recent.clone(),
        };
        HostInventory { workloads: [(revision(0).workload, workload)].into() }
    }

    pub(crate) fn raise(&mut self) -> Generation {
        self.generation += 1;
        Generation(self.generation)
    }

    /// Acts on a command, as a host must: dated ones are refused, recorded ones answered as before.
    pub(crate) fn act(&mut self, command: &Command) -> Outcome {
        if let Some(recent) = self.recent.iter().find(|recent| recent.command == command.id) {
            return recent.outcome.clone();
        }
        if (command.epoch, command.id) < self.highest {
            return Outcome::Refused { why: "a later command was seen".to_owned() };
        }
        self.highest = (command.epoch, command.id);
        self.commands.push(command.action.clone());
        let outcome = self.perform(command);
        self.recent.push(Recent { command: command.id, epoch: command.epoch, outcome: outcome.clone() });
        outcome
    }

    fn perform(&mut self, command: &Command) -> Outcome {
        let fits = match (&command.expected, &self.running) {
            (Some(expected), Some(running)) => {
                expected.digest == running.digest && expected.generation == running.generation
            }
            (expected, running) => expected.is_none() && running.is_none(),
        };
        if let Action::RollBack { to, .. } = &command.action {
            return self.roll_back(to.as_ref(), fits);
        }
        if !fits || self.detached {
            return Outcome::Refused { why: "something else runs here".to_owned() };
        }
        let fault = self.fault.take();
        match (&command.action, fault) {
            (_, Some(Fault::Refuses)) => Outcome::Refused { why: "chance".to_owned() },
            (Action::Prepare { .. }, _) => {
                self.prepared = true;
                Outcome::Prepared { way_back: Some(WayBack::Downgrade), notes: Vec::new() }
            }
            (Action::Switch { .. }, Some(Fault::GoesBack)) => {
                self.ever_switched = true;
                self.raise();
                let generation = self.running.is_some().then(|| self.raise());
                if let (Some(running), Some(generation)) = (&mut self.running, generation) {
                    running.generation = generation;
                }
                Outcome::RolledBack { generation, why: "the smoke check failed".to_owned() }
            }
            (Action::Switch { revision, .. }, fault) => {
                self.ever_switched = true;
                let generation = self.raise();
                let new = Running {
                    version: revision.version.clone(),
                    digest: revision.digest,
                    generation,
                    revision: Some(revision.id),
                };
                self.predecessor = Some(self.running.replace(new));
                match fault {
                    Some(Fault::Sticks) => Outcome::Stuck { why: "no way led back".to_owned() },
                    _ => Outcome::Switched { generation, measured: Measured::default() },
                }
            }
            (Action::Commit, _) => {
                self.predecessor = None;
                Outcome::Committed { generation: Generation(self.generation) }
            }
            (Action::RollBack { .. }, _) => unreachable!("handled above"),
        }
    }

    fn roll_back(&mut self, to: Option<&Running>, fits: bool) -> Outcome {
        let there = match (&self.running, to) {
            (Some(running), Some(to)) => running.same_as(to),
            (running, to) => running.is_none() && to.is_none(),
        };
        if there {
            let generation = self.running.as_ref().map(|running| running.generation);
            return Outcome::RolledBack { generation, why: "it runs already".to_owned() };
        }
        if !fits || self.detached {
            return Outcome::Refused { why: "something else runs here".to_owned() };
        }
        if self.fault.take().is_some() || self.predecessor.is_none() {
            return Outcome::Stuck { why: "no way led back".to_owned() };
        }
        self.go_back();
        let generation = self.running.as_ref().map(|running| running.generation);
        Outcome::RolledBack { generation, why: "as it was told".to_owned() }
    }

    /// The connection is gone, and what was on its way with it, but perhaps not for good.
    pub(crate) fn cut_off(&mut self) {
        self.up = false;
        let commands = self.inbox.drain(..).filter_map(|letter| match letter {
            Letter::Command(command) => Some(*command),
            _ => None,
        });
        self.late.extend(commands);
        self.outbox.clear();
    }

    /// The predecessor serves again.
    pub(crate) fn go_back(&mut self) {
        let generation = self.raise();
        if let Some(before) = self.predecessor.take() {
            self.running = before.map(|before| Running { generation, ..before });
        }
    }
}
