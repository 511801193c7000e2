//! What must hold at every step, told from what left and what was written, not from what anybody thinks.

use std::collections::{BTreeMap, BTreeSet};

use host_core::{
    id::{CommandId, Epoch, HostId},
    rollout::command::{ActionKind, Command, Outcome},
};
use host_fleet::{coordinator::SessionId, protocol::Down, store::Changes};

use crate::{
    host::{Host, Release},
    store::Memory,
    world::workload,
};

#[derive(Default)]
pub(crate) struct Checks {
    /// Commands of committed steps, with what they say.
    given: BTreeMap<CommandId, (HostId, ActionKind)>,
    begun: BTreeSet<(HostId, CommandId)>,
    /// What hosts answered: by host, action and outcome, which commands.
    answered: BTreeMap<(HostId, &'static str, &'static str), BTreeSet<CommandId>>,
    /// What the audit log says that they answered.
    audited: BTreeMap<(String, String, String), usize>,
    /// The highest epoch that spoke to a host.
    epochs: BTreeMap<HostId, Epoch>,
    generations: BTreeMap<HostId, u64>,
    /// What each host held, as last seen.
    held: BTreeMap<HostId, (Option<Release>, Option<Option<Release>>)>,
}

impl Checks {
    /// A step was written.
    pub(crate) fn committed(&mut self, store: &Memory, epoch: Epoch, changes: &Changes, sends: &[(SessionId, Down)]) {
        assert!(
            store.committed.iter().max() == Some(&epoch) && epoch == store.epoch,
            "an older coordinator, of epoch {epoch}, committed after {} had begun",
            store.epoch
        );
        let commands: Vec<_> = sends
            .iter()
            .filter_map(|(_, word)| if let Down::Command { command } = word { Some(command) } else { None })
            .collect();
        let begins =
            |what: &str| ["prepare ", "switch ", "commit ", "roll-back "].iter().any(|kind| what.starts_with(kind));
        let of_hosts = changes.audit.iter().filter(|row| begins(&row.what) && row.who.starts_with("rollout "));
        let (begun, answered): (Vec<_>, Vec<_>) = of_hosts.partition(|row| row.result == "begun");
        assert_eq!(begun.len(), commands.len(), "what is audited is sent: {begun:?} {commands:?}");
        for row in answered {
            let result = row.result.split(':').next().unwrap_or_default();
            if result == "no answer in time" {
                continue;
            }
            let action = row.what.split(' ').next().unwrap_or_default();
            let key = (row.target.clone(), action.to_owned(), result.to_owned());
            let told = self
                .answered
                .iter()
                .find(|((host, of, outcome), _)| (host.as_str(), *of, *outcome) == (&*key.0, &*key.1, &*key.2));
            let told = told.map_or(0, |(_, commands)| commands.len());
            let audited = self.audited.entry(key.clone()).or_default();
            *audited += 1;
            assert!(
                *audited <= told,
                "the audit log says that {} answered {} with {}, and it did not",
                key.0,
                key.1,
                key.2
            );
        }
        for command in commands {
            let machine = store.machine(command.id.rollout()).expect("it was written");
            let open =
                machine.hosts().iter().find(|(_, record)| record.open.is_some_and(|open| open.command == command.id));
            let (host, _) = open.expect("what is sent is written as open");
            let before = self.given.insert(command.id, (host.clone(), command.action.kind()));
            assert_eq!(before, None, "a command's number is given once");
        }
    }

    /// A command leaves the coordinator.
    pub(crate) fn leaves(&self, _: &Memory, command: &Command) {
        assert!(self.given.contains_key(&command.id), "command {} leaves and was not written", command.id);
    }

    pub(crate) fn welcomed(&mut self, host: &HostId, epoch: Epoch) {
        let highest = self.epochs.entry(host.clone()).or_default();
        assert!(epoch >= *highest, "{host} follows a coordinator of epoch {epoch} after {highest}");
        *highest = epoch;
    }

    /// A host begins to act on a command.
    pub(crate) fn begins(&mut self, host: &HostId, command: &Command) {
        let highest = self.epochs.get(host).copied().unwrap_or_default();
        assert!(command.epoch >= highest, "{host} acts on epoch {} after {highest}", command.epoch);
        assert!(self.begun.insert((host.clone(), command.id)), "{host} acts on command {} twice", command.id);
        assert!(self.given.get(&command.id).is_some_and(|(to, _)| to == host), "{host} acts on what it was not given");
    }

    /// A host says what became of a command.
    pub(crate) fn answers(&mut self, host: &HostId, command: CommandId, outcome: &Outcome) {
        let Some((_, action)) = self.given.get(&command) else { return };
        self.answered.entry((host.clone(), action.as_str(), outcome.as_str())).or_default().insert(command);
    }

    /// What runs on a host may have changed.
    pub(crate) fn host(&mut self, store: &Memory, host: &Host) {
        let name = &host.name;
        let generation = self.generations.entry(name.clone()).or_default();
        assert!(host.generation >= *generation, "the generation falls on {name}");
        *generation = host.generation;
        let now = (host.running.clone(), host.predecessor.clone());
        let before = self.held.insert(name.clone(), now.clone()).unwrap_or_default();
        let let_go = before.1.is_some() && now.1.is_none() && before.0 == now.0;
        if let_go {
            let assignment = store.assignment(&workload()).expect("it is assigned");
            let wanted = assignment.wanted(name).map(|revision| revision.digest);
            let running = host.running.as_ref().map(|release| release.digest);
            assert_eq!(wanted, running, "{name} lets go of its predecessor before that was decided");
        }
    }
}
