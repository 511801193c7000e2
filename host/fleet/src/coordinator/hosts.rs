//! The hosts' sessions: who is connected, and what they say.

use host_core::{id::HostId, label::Labels, rollout::Input as RolloutInput, time::UnixNanos};

use super::{Coordinator, SessionId, Step, event};
use crate::{
    protocol::{Down, LocalFailure, Up},
    store::NewEvent,
};

impl Coordinator {
    pub(super) fn joined(&mut self, host: HostId, labels: Labels, step: &mut Step) {
        let message = format!("{host} joined the fleet, with labels `{labels}`");
        step.changes.events.push(NewEvent { host: Some(host.clone()), ..event("host.joined", message) });
        self.hosts.entry(host).or_default().labels = labels;
    }

    pub(super) fn opened(&mut self, session: SessionId, host: HostId, hello: Up, now: UnixNanos, step: &mut Step) {
        let Up::Hello { inventory, host_version, boot, left } = hello else {
            return self.refuse(session, "the first word of a host says what runs there", step);
        };
        let Some(known) = self.hosts.get_mut(&host) else {
            return self.refuse(session, "this host is not of the fleet any more: join it again", step);
        };
        // The newest session wins. The old one is a connection that the network has not given up yet, whose host reads it no more;
        // or it is another host's with a copied identity, and if that came back, each would drive the other out for ever.
        if let Some(old) = known.session.replace(session) {
            let why = format!("a newer session of {host} began; is its identity used twice?");
            let message = format!("{why} The older one ends and stays away if it is another host's");
            step.changes.events.push(NewEvent { host: Some(host.clone()), ..event("host.replaced", message) });
            step.sends.push((old, Down::Farewell { why, stay_away: true }));
            step.ends.push(old);
            self.sessions.remove(&old);
            self.lost(&host, now, step);
        }
        let Some(known) = self.hosts.get_mut(&host) else { return };
        (known.session, known.since) = (Some(session), Some(now));
        (known.inventory, known.stale) = (Some(inventory.clone()), false);
        self.sessions.insert(session, host.clone());
        step.sends.push((session, Down::Welcome { host: host.clone(), epoch: self.epoch }));
        let message = format!("{host} is connected, host {host_version}, its start {boot}");
        step.changes.events.push(NewEvent { host: Some(host.clone()), ..event("host.connected", message) });
        // Why comes before what: what runs there would say only that it went back.
        for failure in left {
            self.left_by_itself(&host, &failure, now, step);
        }
        self.drive_all(&RolloutInput::Connected { host, inventory }, now, step);
    }

    fn refuse(&mut self, session: SessionId, why: &str, step: &mut Step) {
        step.sends.push((session, Down::Farewell { why: why.to_owned(), stay_away: true }));
        step.ends.push(session);
    }

    pub(super) fn closed(&mut self, session: SessionId, now: UnixNanos, step: &mut Step) {
        // Of a session that a newer one took the place of, nobody needs to hear.
        let Some(host) = self.sessions.remove(&session) else { return };
        if let Some(known) = self.hosts.get_mut(&host) {
            (known.session, known.since) = (None, Some(now));
        }
        let message = format!("{host} is not connected any more");
        step.changes.events.push(NewEvent { host: Some(host.clone()), ..event("host.disconnected", message) });
        self.lost(&host, now, step);
    }

    /// Nothing that was sent to it will arrive any more.
    fn lost(&mut self, host: &HostId, now: UnixNanos, step: &mut Step) {
        self.forget_upkeeps(host);
        self.drive_all(&RolloutInput::Disconnected { host: host.clone() }, now, step);
    }

    pub(super) fn heard(&mut self, session: SessionId, up: Up, now: UnixNanos, step: &mut Step) {
        let Some(host) = self.sessions.get(&session).cloned() else { return };
        match up {
            Up::Hello { .. } => self.refuse(session, "a host says hello once", step),
            Up::Outcome { command, epoch, outcome } => {
                let id = command.rollout();
                self.drive(id, RolloutInput::Outcome { host, command, epoch, outcome }, now, step);
            }
            Up::Upkept { id, workload, failed } => self.upkept(&host, &workload, id, failed, now, step),
            Up::Inventory { question, inventory } => {
                if let Some(known) = self.hosts.get_mut(&host) {
                    (known.inventory, known.stale) = (Some(inventory.clone()), false);
                }
                let all: Vec<_> = self.rollouts.keys().copied().collect();
                for id in all {
                    let ask = question.filter(|(asker, _)| *asker == id).map(|(_, ask)| ask);
                    let (host, inventory) = (host.clone(), inventory.clone());
                    self.drive(id, RolloutInput::Inventory { host, ask, inventory }, now, step);
                }
            }
            Up::LocalFailure(failure) => self.left_by_itself(&host, &failure, now, step),
            Up::Health { rollout, ask, answer } => {
                self.drive(rollout, RolloutInput::Health { host, ask, answer }, now, step);
            }
            Up::Status { status } => {
                if let Some(known) = self.hosts.get_mut(&host) {
                    known.status = Some(status);
                }
            }
        }
    }

    /// A host went back without being told to.
    fn left_by_itself(&mut self, host: &HostId, failure: &LocalFailure, now: UnixNanos, step: &mut Step) {
        let of_it: Vec<_> = self.rollouts_of(&failure.workload).collect();
        for id in of_it {
            let LocalFailure { generation, running, why, .. } = failure.clone();
            self.drive(id, RolloutInput::LocalFailure { host: host.clone(), generation, running, why }, now, step);
        }
    }
}
