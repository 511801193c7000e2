//! Coordinators and hosts that die in the middle of a rollout, and what becomes of it.

use super::{
    harness::Fleet,
    trio::{CANARY, IMPATIENT, NEAR, PACE, Trio},
    wire::Swallows,
};
use crate::harness::{Host, Traffic};

impl Trio {
    /// Kills the coordinator where its rollout stands there, and starts it again; the wire is whole then.
    #[track_caller]
    fn coordinator_dies_in(&mut self, state: &str) {
        self.fleet.until(state);
        self.fleet.kill();
        self.wire.heal();
        self.fleet.begin();
        self.fleet.until_connected(3);
    }
}

#[test]
fn a_coordinator_killed_in_each_state_on_the_way_forward_goes_on_where_it_was() {
    let mut trio = Trio::start();
    trio.fleet.deploy_detached("1.1.0", &["--schedule", "+4s", "--strategy", "all-at-once", "--soak", "0s"]);
    trio.coordinator_dies_in("scheduled");
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.back_to_the_beginning();

    trio.wire.cut();
    trio.fleet.until_connected(2);
    trio.fleet.deploy_detached("1.1.0", &["--dry-run", "--offline", "wait"]);
    trio.coordinator_dies_in("discovering");
    trio.fleet.ends_with(0);

    trio.wire.swallow(Swallows::Answers);
    trio.fleet.deploy_detached("1.1.0", &[&CANARY[..], &["--wave-delay", "1h", "--soak", "1h"]].concat());
    trio.fleet.until_hosts(&NEAR, "prepared");
    trio.coordinator_dies_in("preparing");

    trio.coordinator_dies_in("verifying");
    trio.fleet.until("verifying");
    trio.fleet.json(&["promote"]);
    trio.coordinator_dies_in("resting");
    assert_eq!(trio.fleet.state(), "resting", "the delay is not over");

    trio.wire.swallow(Swallows::Commands);
    trio.fleet.json(&["promote"]);
    trio.fleet.until_hosts(&["h2"], "switched");
    trio.coordinator_dies_in("switching");
    trio.fleet.until("verifying");

    trio.fleet.json(&["pause"]);
    trio.coordinator_dies_in("paused");
    assert_eq!(trio.fleet.state(), "paused", "a person is waited for");
    trio.fleet.json(&["resume"]);

    trio.wire.swallow(Swallows::Answers);
    trio.fleet.json(&["promote"]);
    trio.fleet.until_hosts(&NEAR, "committed");
    trio.coordinator_dies_in("committing");
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.end();
}

#[test]
fn a_coordinator_killed_while_hosts_go_back_or_a_person_is_asked_goes_on_where_it_was() {
    let mut trio = Trio::start();
    for what in [Swallows::Commands, Swallows::Answers] {
        trio.all_are_watched(&[]);
        trio.wire.swallow(what);
        trio.fleet.json(&["rollback", "counter", "--async"]);
        trio.fleet.until_hosts(&NEAR, "rolled-back");
        trio.coordinator_dies_in("rolling-back");
        trio.fleet.ends_with(3);
        trio.fleet.settles(&trio.hosts, "1.0.0");
    }

    trio.all_are_watched(&[&IMPATIENT[..], &["--no-rollback"]].concat());
    trio.wire.cut();
    trio.coordinator_dies_in("held");
    assert_eq!(trio.fleet.state(), "held", "a person is waited for");
    trio.fleet.json(&["retry"]);
    trio.fleet.until("verifying");
    trio.fleet.json(&["promote"]);
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.end();
}

/// Three hosts, all on a probation that is held; clients on all but the second.
fn held() -> (Fleet, Vec<Host>, Vec<Traffic>) {
    let (fleet, hosts) = Fleet::with_counter(3);
    let others = [&hosts[0], &hosts[2]];
    let traffic = others.map(|host| Traffic::paced(host.address(), 1, 0, PACE)).into();
    fleet.deploy_detached("1.1.0", &["--strategy", "all-at-once", "--soak", "1h"]);
    fleet.until("verifying");
    (fleet, hosts, traffic)
}

#[test]
fn a_host_that_restarts_on_a_held_probation_goes_on_holding_it() {
    let (fleet, mut hosts, traffic) = held();
    let mut client = hosts[1].connect();
    assert_eq!(client.ask("incr"), "1.1.0 1 1");
    assert_eq!(hosts[1].terminate(), 0);
    fleet.until_connected(2);
    hosts[1].run();
    assert_eq!(hosts[1].phase(), "probation");
    assert_eq!(hosts[1].connect().ask("incr"), "1.1.0 2 1", "told to stop, it forgot nothing");
    fleet.until_connected(3);

    hosts[1].kill();
    fleet.until_connected(2);
    hosts[1].run();
    assert_eq!(hosts[1].phase(), "probation");
    fleet.until_connected(3);
    assert_eq!(fleet.state(), "verifying", "it is no failure of the release");
    fleet.json(&["promote"]);
    fleet.ends_with(0);
    fleet.settles(&hosts, "1.1.0");
    for traffic in traffic {
        traffic.stop();
    }
}

#[test]
fn a_host_that_goes_back_by_itself_at_its_third_start_takes_the_others_back_and_says_why() {
    let (fleet, mut hosts, traffic) = held();
    for start in 1..=3 {
        hosts[1].kill();
        fleet.until_connected(2);
        hosts[1].run();
        fleet.until_connected(3);
        let phase = hosts[1].phase();
        assert_eq!(phase, if start < 3 { "probation" } else { "" }, "start {start}");
    }
    let ended = fleet.ends_with(3);
    let why = ended["summary"]["why"].as_str().unwrap();
    assert!(why.contains("h2: ") && why.contains("started 3 times"), "{ended}");
    fleet.settles(&hosts, "1.0.0");
    for traffic in traffic {
        traffic.stop();
    }
}

#[test]
fn a_release_that_fails_under_one_hosts_clients_is_taken_back_from_all() {
    let (fleet, hosts) = Fleet::with_counter(3);
    fleet.publish(&hosts[0].fault("handle-traps-after-swap"), "counter", "1.2.0");
    let mut clients: Vec<_> = hosts.iter().map(Host::connect).collect();
    for client in &mut clients {
        assert_eq!(client.ask("incr"), "1.0.0 1");
    }
    fleet.deploy_detached("1.2.0", &["--strategy", "all-at-once", "--soak", "1h"]);
    fleet.until("verifying");
    assert_eq!(clients[1].ask("incr"), "1.0.0 2", "what the new release failed at, the old one answers");
    let ended = fleet.ends_with(3);
    let why = ended["summary"]["why"].as_str().unwrap();
    assert!(why.contains("h2: ") && why.contains("traps, on purpose"), "{ended}");
    fleet.settles(&hosts, "1.0.0");
    for (client, total) in clients.iter_mut().zip([2, 3, 2]) {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"), "on the same connection");
    }
}
