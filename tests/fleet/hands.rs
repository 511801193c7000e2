//! What a person does by hand on a host while a rollout has it.

use super::{harness::Fleet, trio::PACE};
use crate::harness::{Done, Host, Traffic};

/// Three hosts with clients, of which the first is a canary that is watched: the others are prepared and wait.
fn canary() -> (Fleet, Vec<Host>, Vec<Traffic>) {
    let (fleet, hosts) = Fleet::with_counter(3);
    let traffic = hosts.iter().map(|host| Traffic::paced(host.address(), 1, 0, PACE)).collect();
    let canary = ["--strategy", "canary", "--monitor", "1h", "--wave", "100%", "--soak", "0s"];
    fleet.deploy_detached("1.1.0", &canary);
    fleet.until("verifying");
    (fleet, hosts, traffic)
}

#[track_caller]
fn is_refused(done: &Done) {
    assert_eq!(done.code, 1, "{done:?}");
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(said.contains("in the hands of a fleet") && said.contains("it goes on as it is"), "{done:?}");
}

fn version(host: &Host) -> String {
    host.workload("counter")["version"].as_str().unwrap().to_owned()
}

#[test]
fn while_a_rollout_has_a_host_nothing_is_done_there_by_hand_that_is_not_meant() {
    let (fleet, hosts, traffic) = canary();
    for host in &hosts[..2] {
        let before = version(host);
        is_refused(&host.deploy(&host.counter("2.0.0"), "2.0.0", &[]));
        is_refused(&host.cli(&["rollback", "counter"]));
        is_refused(&host.cli(&["commit", "counter"]));
        is_refused(&host.cli(&["stop", "counter"]));
        assert_eq!(version(host), before);
    }
    fleet.json(&["promote"]);
    fleet.ends_with(0);
    fleet.settles(&hosts, "1.1.0");
    for traffic in traffic {
        traffic.stop();
    }
}

#[test]
fn a_host_that_is_deployed_to_by_hand_before_its_wave_is_let_be_and_the_others_go_on() {
    let (fleet, hosts, traffic) = canary();
    let done = hosts[2].deploy(&hosts[2].counter("2.0.0"), "2.0.0", &["--detach"]);
    assert_eq!(done.code, 0, "{done:?}");
    fleet.until_hosts(&["h3"], "drifted");
    fleet.json(&["promote"]);
    let ended = fleet.ends_with(6);
    let counts = &ended["summary"]["counts"];
    assert_eq!((&counts["upgraded"], &counts["drifted"]), (&2.into(), &1.into()), "{ended}");
    assert!(fleet.runs("h3").starts_with("2.0.0: drifted"), "{}", fleet.runs("h3"));
    assert_eq!(hosts[..2].iter().map(version).collect::<Vec<_>>(), ["1.1.0", "1.1.0"]);
    fleet.json(&["reconcile", "h3"]);
    fleet.settles(&hosts, "1.1.0");
    for traffic in traffic {
        traffic.stop();
    }
}

#[test]
fn a_switched_host_that_is_changed_by_hand_is_neither_committed_nor_put_back_by_the_rollout() {
    let (fleet, hosts, traffic) = canary();
    // Back by hand, out of a held probation.
    let done = hosts[0].cli(&["rollback", "counter", "--detach"]);
    assert_eq!(done.code, 0, "{done:?}");
    fleet.until_hosts(&["h1"], "drifted");
    assert_eq!(version(&hosts[0]), "1.0.0");
    fleet.until("complete");
    let ended = fleet.ends_with(6);
    let counts = &ended["summary"]["counts"];
    assert_eq!((&counts["upgraded"], &counts["drifted"]), (&2.into(), &1.into()), "{ended}");
    assert!(fleet.runs("h1").starts_with("1.0.0: drifted"), "{}", fleet.runs("h1"));
    // What a person did is taken as what the host shall run.
    fleet.json(&["adopt", "h1"]);
    fleet.eventually("it shall run that", || fleet.runs("h1") == "1.0.0: as it shall be");
    for traffic in traffic {
        traffic.stop();
    }
}

#[test]
fn a_rollout_that_goes_back_leaves_a_host_that_was_changed_by_hand() {
    let (fleet, hosts) = Fleet::with_counter(3);
    let traffic: Vec<_> = hosts.iter().map(|host| Traffic::paced(host.address(), 1, 0, PACE)).collect();
    fleet.deploy_detached("1.1.0", &["--strategy", "all-at-once", "--soak", "1h"]);
    fleet.until("verifying");
    // Out of a held probation, which ends with that.
    let done = hosts[0].deploy(&hosts[0].counter("2.0.0"), "2.0.0", &["--detach"]);
    assert_eq!(done.code, 0, "{done:?}");
    fleet.until_hosts(&["h1"], "drifted");
    fleet.json(&["rollback", "counter", "--async"]);
    fleet.ends_with(3);
    assert_eq!(hosts.iter().map(version).collect::<Vec<_>>(), ["2.0.0", "1.0.0", "1.0.0"]);
    for traffic in traffic {
        traffic.stop();
    }
}
