//! A fleet as an operator has it: real coordinators and hosts, live connections on each.

mod crashes;
mod cuts;
mod declared;
mod hands;
mod harness;
mod health;
mod joins;
mod removal;
mod telemetry;
mod trio;
mod web;
mod wire;

use crate::harness::{Host, Traffic};

use self::harness::Fleet;

/// A rollout that loses no time.
const QUICK: [&str; 2] = ["--soak", "0s"];
/// A host that is away counts as unknown soon; its pause must be allowed less.
const IMPATIENT: [&str; 4] = ["--timeout", "8s", "--pause-limit", "2s"];

fn traffic_on(hosts: &[Host]) -> Vec<Traffic> {
    hosts.iter().map(|host| Traffic::start(host.address(), 1, 0)).collect()
}

fn answers(host: &Host) -> String {
    host.connect().ask("incr").split(' ').next().unwrap().to_owned()
}

#[test]
fn five_hosts_are_upgraded_in_waves_and_no_client_notices() {
    let (fleet, hosts) = Fleet::with_counter(5);
    let traffic = traffic_on(&hosts);
    let done = fleet.deploy("1.1.0", &[&QUICK[..], &["--wave", "2"]].concat());
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    let rollout = done.json();
    let counts = &rollout["summary"]["counts"];
    assert_eq!((&counts["total"], &counts["upgraded"]), (&5.into(), &5.into()), "{rollout}");
    let waves: Vec<_> =
        rollout["summary"]["hosts"].as_array().unwrap().iter().map(|host| host["wave"].as_u64().unwrap()).collect();
    assert_eq!(waves, [1, 1, 2, 2, 3], "{rollout}");
    for traffic in traffic {
        traffic.stop();
    }
    for host in &hosts {
        assert_eq!(answers(host), "1.1.0");
        assert_eq!(host.phase(), "", "the probation was committed");
    }
    let verified = fleet.json(&["audit-log", "--verify"]);
    assert!(verified["verified"]["Ok"][0].as_u64() > Some(5), "{verified}");

    // And back, on all of them.
    let traffic: Vec<_> = hosts.iter().map(|host| Traffic::start(host.address(), 1, total(host))).collect();
    let done = fleet.end_of(&["rollback", "counter", "--soak", "0s"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| answers(host) == "1.0.0"));
}

/// The total as it is, one line asked for.
fn total(host: &Host) -> u64 {
    host.connect().ask("incr").split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_host_killed_midway_takes_the_others_back_and_follows_when_it_returns() {
    let (fleet, mut hosts) = Fleet::with_counter(6);
    let traffic = traffic_on(&hosts);
    let deploy = fleet.begin_deploy("1.1.0", &[&IMPATIENT[..], &["--soak", "2s", "--wave", "2"]].concat());
    let victim = fleet.first_in("switched");
    let at: usize = victim[1..].parse::<usize>().unwrap() - 1;
    let mut traffic: Vec<_> = traffic.into_iter().map(Some).collect();
    // Its clients lose their connection, as they must: they are not looked at.
    drop(traffic[at].take());
    hosts[at].kill();
    let done = deploy.end();
    assert_eq!(done.code, 6, "some host has not answered: {done:?}\n{}", fleet.log());
    for traffic in traffic.into_iter().flatten() {
        traffic.stop();
    }
    for (number, host) in hosts.iter().enumerate().filter(|(number, _)| *number != at) {
        assert_eq!(answers(host), "1.0.0", "h{}", number + 1);
        assert_eq!(host.phase(), "");
    }
    let why = fleet.cli(&["fleet", "why"]);
    assert!(why.stdout.contains(&victim), "{why:?}");
    hosts[at].run();
    fleet.eventually("it runs what the others run", || fleet.runs(&victim).starts_with("1.0.0: as it shall be"));
    assert_eq!(answers(&hosts[at]), "1.0.0");
    fleet.eventually("nothing is owed any more", || fleet.rollout()["owed"].as_array().unwrap().is_empty());
}

#[test]
fn a_coordinator_killed_in_the_middle_goes_on_where_it_was() {
    let (mut fleet, hosts) = Fleet::with_counter(4);
    let traffic = traffic_on(&hosts);
    let begun = fleet.deploy("1.1.0", &["--soak", "1s", "--wave", "1", "--async"]);
    assert_eq!(begun.code, 0, "{begun:?}");
    for wave in 1..=3 {
        fleet.eventually("another host is switched", || {
            fleet
                .states()
                .iter()
                .filter(|(_, state)| ["switched", "healthy", "committed"].contains(&state.as_str()))
                .count()
                >= wave
        });
        fleet.kill();
        fleet.begin();
    }
    let done = fleet.end_of(&["watch"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| answers(host) == "1.1.0" && host.phase().is_empty()));
}

#[test]
fn hosts_keep_serving_while_no_coordinator_runs_and_commit_when_it_is_back() {
    let (mut fleet, hosts) = Fleet::with_counter(2);
    let traffic = traffic_on(&hosts);
    let begun = fleet.deploy("1.1.0", &["--soak", "1s", "--strategy", "all-at-once", "--async"]);
    assert_eq!(begun.code, 0, "{begun:?}");
    fleet.first_in("switched");
    fleet.kill();
    hosts[0].eventually("the new release is held", || hosts[0].phase() == "probation");
    fleet.begin();
    let done = fleet.end_of(&["watch"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| host.phase().is_empty()));
}

#[test]
fn a_host_that_was_away_is_brought_to_what_all_others_run() {
    let (fleet, mut hosts) = Fleet::with_counter(3);
    hosts[2].terminate();
    fleet.eventually("it is away", || fleet.connected() == 2);
    let refused = fleet.deploy("1.1.0", &QUICK);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("h3 is not connected"), "{refused:?}");
    let done = fleet.deploy("1.1.0", &[&QUICK[..], &["--offline", "skip"]].concat());
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    hosts[2].run();
    fleet.eventually("it follows", || fleet.runs("h3").starts_with("1.1.0: as it shall be"));
    assert_eq!(answers(&hosts[2]), "1.1.0");
    // And one that joins only now.
    let late = fleet.host("late", &fleet.token(1));
    fleet.eventually("it gets what is stable", || fleet.runs("late").starts_with("1.1.0: as it shall be"));
    assert_eq!(answers(&late), "1.1.0");
}

#[test]
fn a_release_that_fails_on_a_host_changes_nothing_anywhere() {
    let (fleet, hosts) = Fleet::with_counter(3);
    let traffic = traffic_on(&hosts);
    fleet.publish(&hosts[0].fault("code-change-traps"), "counter", "1.2.0");
    let done = fleet.deploy("1.2.0", &QUICK);
    assert_eq!(done.code, 1, "the rehearsal on each host finds it: {done:?}\n{}", fleet.log());
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| answers(host) == "1.0.0"));
    let done = fleet.deploy("1.1.0", &QUICK);
    assert_eq!(done.code, 0, "the next one goes through: {done:?}");
}

#[test]
fn what_a_fleet_has_in_its_hands_is_changed_by_hand_only_on_purpose() {
    let (fleet, hosts) = Fleet::with_counter(2);
    let component = hosts[0].counter("1.1.0");
    let refused = hosts[0].deploy(&component, "1.1.0", &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("in the hands of a fleet") && refused.stdout.contains("--detach"), "{refused:?}");
    let done = hosts[0].deploy(&component, "1.1.0", &["--detach"]);
    assert_eq!(done.code, 0, "{done:?}");
    fleet.eventually("it is shown as drifted", || fleet.runs("h1").contains("drifted"));
    let done = fleet.deploy("1.1.0", &QUICK);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.json()["summary"]["counts"]["skipped"], 1, "a drifted host is left out: {done:?}");

    fleet.json(&["reconcile", "h1"]);
    fleet.eventually("it is the fleet's again", || fleet.runs("h1").starts_with("1.1.0: as it shall be"));
}

#[test]
fn the_fleets_demo_goes_through_all_of_it() {
    let _alone = Fleet::alone();
    let done = Host::unstarted().cli(&[
        "fleet",
        "demo",
        "--hosts",
        "4",
        "--connections",
        "3",
        "--rate",
        "200",
        "--output",
        "json",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let results = done.json();
    assert_eq!(results["passed"], true, "{results}");
    assert_eq!(results["hosts"].as_array().unwrap().len(), 4, "{results}");
}
