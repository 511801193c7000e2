//! Three hosts with live connections on each, the third behind a wire that a test can cut.

use std::time::Duration;

use super::{
    harness::Fleet,
    wire::{Swallows, Wire},
};
use crate::harness::{Host, Traffic};

/// How long a client thinks. Slow enough that three hosts, their clients and whoever else uses the machine find a processor.
pub(super) const PACE: Duration = Duration::from_millis(2);
/// The host behind the wire.
pub(super) const FAR: &str = "h3";
/// The others.
pub(super) const NEAR: [&str; 2] = ["h1", "h2"];

/// All hosts in one wave, watched until somebody promotes it. Nobody's word on health is waited for, so that a host that is
/// not reached does not hold up the promotion itself.
pub(super) const ONE_WAVE: [&str; 6] = ["--strategy", "all-at-once", "--soak", "1h", "--health", "off"];
/// First h1, watched until somebody promotes it, then the others.
pub(super) const CANARY: [&str; 8] = ["--strategy", "canary", "--monitor", "1h", "--wave", "100%", "--health", "off"];
/// A host that does not answer counts as unknown soon; its pause must be allowed less.
pub(super) const IMPATIENT: [&str; 4] = ["--timeout", "3s", "--pause-limit", "1s"];

pub(super) struct Trio {
    pub(super) fleet: Fleet,
    pub(super) hosts: Vec<Host>,
    pub(super) wire: Wire,
    traffic: Vec<Traffic>,
}

impl Trio {
    /// With counter 1.0.0 on each.
    pub(super) fn start() -> Self {
        let (fleet, hosts, wire) = Fleet::with_counter_behind_a_wire(3);
        let traffic = hosts.iter().map(|host| Traffic::paced(host.address(), 2, 0, PACE)).collect();
        Self { fleet, hosts, wire, traffic }
    }

    /// The host behind the wire.
    pub(super) fn far(&self) -> &Host {
        &self.hosts[2]
    }

    /// Begins a rollout over all hosts in one wave, and waits until they are being watched.
    #[track_caller]
    pub(super) fn all_are_watched(&self, more: &[&str]) {
        self.fleet.deploy_detached("1.1.0", &[&ONE_WAVE[..], more].concat());
        self.fleet.until("verifying");
    }

    /// What was swallowed is lost, and the host has to come back.
    #[track_caller]
    pub(super) fn cut_and_heal(&self) {
        self.wire.cut();
        self.fleet.until_connected(2);
        self.wire.heal();
        self.fleet.until_connected(3);
    }

    /// Ends what the wire did, in one way or the other.
    #[track_caller]
    pub(super) fn heal(&self, how: Heals) {
        match how {
            Heals::Cut => self.cut_and_heal(),
            Heals::Late => self.wire.heal(),
        }
    }

    /// Every host runs 1.0.0 again, for the next trial.
    #[track_caller]
    pub(super) fn back_to_the_beginning(&self) {
        let back = ["rollback", "counter", "--strategy", "all-at-once", "--soak", "0s", "--health", "off"];
        let done = self.fleet.end_of(&back);
        assert_eq!(done.code, 0, "{done:?}\n{}", self.fleet.log());
        self.fleet.settles(&self.hosts, "1.0.0");
    }

    /// No client lost anything in all that time.
    #[track_caller]
    pub(super) fn end(self) {
        for traffic in self.traffic {
            assert!(traffic.stop() > 0);
        }
    }
}

/// How a wire's trouble ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heals {
    /// The connection is gone with what was on it; the host dials anew.
    Cut,
    /// What was swallowed arrives, late.
    Late,
}

/// What a wire loses, and how that ends.
pub(super) const TROUBLES: [(Swallows, Heals); 4] = [
    (Swallows::Commands, Heals::Cut),
    (Swallows::Answers, Heals::Cut),
    (Swallows::Commands, Heals::Late),
    (Swallows::Answers, Heals::Late),
];
