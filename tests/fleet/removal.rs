//! A workload that is taken away from a fleet, also from hosts that are not there at the time.

use super::harness::Fleet;
use crate::harness::Host;

fn has_counter(host: &Host) -> bool {
    !host.json(&["status"])["workloads"].as_array().unwrap().is_empty()
}

#[track_caller]
fn is_forgotten(fleet: &Fleet) {
    fleet.eventually("the fleet has forgotten it", || {
        fleet.json(&["where", "counter"])["assignment"].is_null() && fleet.runs("h1").is_empty()
    });
}

#[test]
fn a_workload_that_is_removed_while_a_host_is_away_is_removed_there_when_it_returns() {
    let (mut fleet, mut hosts) = Fleet::with_counter(2);
    assert_eq!(hosts[1].terminate(), 0);
    fleet.until_connected(1);
    let done = fleet.cli(&["fleet", "remove", "counter"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("h2 is away"), "{done:?}");
    fleet.eventually("the host that is there has it no more", || !has_counter(&hosts[0]));

    // Whatever becomes of the coordinator meanwhile.
    fleet.kill();
    fleet.begin();
    fleet.until_connected(1);
    let status = fleet.cli(&["fleet", "status"]);
    assert!(status.stdout.contains("being removed"), "{status:?}");
    assert!(fleet.json(&["where", "counter"])["assignment"].is_object(), "h2 is still owed it");
    hosts[1].run();
    fleet.eventually("nor has the one that returns", || !has_counter(&hosts[1]));
    is_forgotten(&fleet);
    let again = fleet.cli(&["fleet", "remove", "counter"]);
    assert_eq!(again.code, 1, "{again:?}");

    // And a new one begins from nothing.
    let done = fleet.deploy("1.0.0", &["--listen", "tcp://127.0.0.1:0", "--soak", "0s"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    assert!(hosts.iter().all(|host| host.connect().ask("incr") == "1.0.0 1"));
}

#[test]
fn a_workload_that_is_deployed_again_while_its_removal_is_owed_to_a_host_is_not_removed_there() {
    let (fleet, mut hosts) = Fleet::with_counter(2);
    assert_eq!(hosts[1].terminate(), 0);
    fleet.until_connected(1);
    fleet.json(&["remove", "counter"]);
    fleet.eventually("the host that is there has it no more", || !has_counter(&hosts[0]));
    let again = ["--listen", "tcp://127.0.0.1:0", "--soak", "0s", "--offline", "skip"];
    let done = fleet.deploy("1.1.0", &again);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    hosts[1].run();
    fleet.eventually("it is brought to that", || fleet.runs("h2") == "1.1.0: as it shall be");
    assert!(hosts.iter().all(|host| host.connect().ask("incr").starts_with("1.1.0 1")));
}

#[test]
fn a_workload_that_a_person_took_in_hand_on_a_host_is_not_removed_there() {
    let (fleet, hosts) = Fleet::with_counter(2);
    let done = hosts[1].deploy(&hosts[1].counter("2.0.0"), "2.0.0", &["--detach"]);
    assert_eq!(done.code, 0, "{done:?}");
    fleet.eventually("it has drifted", || fleet.runs("h2").contains("drifted"));
    fleet.json(&["remove", "counter"]);
    fleet.eventually("the other host has it no more", || !has_counter(&hosts[0]));
    is_forgotten(&fleet);
    assert_eq!(fleet.runs("h2"), "2.0.0: not assigned by the fleet");
    for done in ["stop", "remove"].map(|verb| hosts[1].cli(&[verb, "counter"])) {
        assert_eq!(done.code, 0, "it is that person's to remove: {done:?}");
    }
}
