//! The ways back from a release on probation, with clients, timers and calls: what is lost is nothing, or it is said.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Client, Done, Host, Traffic, Underway};

#[track_caller]
fn verdict(done: &Done) -> (i32, String) {
    let report = &done.json()["report"];
    (done.code, report["verdict"].as_str().unwrap_or_else(|| panic!("{done:?}")).to_owned())
}

/// A host whose counter 1.0.0 counted to 1, and this fault on probation in its place.
fn on_probation(fault: &str, version: &str, arguments: &[&str]) -> (Host, Client, Underway) {
    let host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let arguments = [&["--probation", "10m"], arguments].concat();
    let deploy = host.begin_deploy(&host.fault(fault), version, &arguments);
    host.eventually("it is on probation", || host.phase() == "probation");
    assert_eq!(host.workload("counter")["version"], version);
    (host, client, deploy)
}

/// Rolls back by hand.
#[track_caller]
fn roll_back(host: &Host) -> Value {
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(verdict(&done), (0, "rolled-back".to_owned()), "{done:?}\n{}", host.log());
    done.json()["report"].clone()
}

#[test]
fn a_trap_on_probation_goes_back_exactly_and_the_predecessor_handles_what_was_at_fault() {
    let (host, mut client, deploy) = on_probation("handle-traps-after-swap", "1.0.1", &[]);
    let mut other = host.connect();
    client.send("incr\n");
    assert_eq!(client.line(), "1.0.0 2", "the line that the new version failed on was not lost");
    let done = deploy.end();
    assert_eq!(verdict(&done), (3, "rolled-back".to_owned()), "{}", host.log());
    let report = done.json()["report"].clone();
    assert!(report["why"].as_str().unwrap().contains("the first incr after a swap traps, on purpose"), "{report}");
    assert_eq!((&report["way"], &report["running"]), (&"downgrade".into(), &"1.0.0".into()), "{report}");
    assert_eq!((&report["cost"], &report["generation"]), (&Value::Null, &3.into()), "{report}");
    assert_eq!(other.ask("incr"), "1.0.0 3");
    assert_eq!(client.ask("incr"), "1.0.0 4");
    assert_eq!(host.newest_report()["verdict"], "rolled-back");
}

#[test]
fn a_version_that_can_t_write_the_old_format_is_gone_back_from_by_replay_and_nothing_is_lost() {
    let (host, mut client, deploy) = on_probation("upgrade-only", "2.0.0", &[]);
    let traffic = Traffic::start(host.address(), 4, 1);
    host.eventually("it served a while", || host.workload("counter")["batches"].as_u64() > Some(200));
    let report = roll_back(&host);
    assert_eq!((&report["way"], &report["running"]), (&"replay".into(), &"1.0.0".into()), "{report}");
    assert_eq!(report["cost"], Value::Null, "{report}");
    let compared = &report["comparison"];
    assert!(compared["events"].as_u64() > Some(100), "{report}");
    assert_eq!(compared["differing"], 0, "1.0.0 answers alike: {report}");
    assert_eq!(verdict(&deploy.end()), (3, "rolled-back".to_owned()), "whoever deployed hears of it");
    let total = traffic.stop();
    assert_eq!(client.ask("incr"), format!("1.0.0 {}", total + 1));
    let replayed = host.json(&["replay", "counter"]);
    assert_eq!(replayed["report"]["verdict"], "replayed", "{replayed}");
}

#[test]
fn a_trap_of_a_version_that_can_t_go_down_is_replayed_and_its_poison_is_handled_by_the_predecessor() {
    let (host, mut client, deploy) = on_probation("upgrade-only-traps", "2.0.0", &[]);
    let mut other = host.connect();
    assert_eq!(other.ask("incr"), "1.0.0 2");
    assert_eq!(other.ask("other"), "2.0.0 other", "as 1.0.0 would not answer");
    assert_eq!(client.ask("incr"), "1.0.0 3");
    client.send("trap\n");
    assert!(client.line().starts_with("error "), "1.0.0 has an answer to it");
    let done = deploy.end();
    assert_eq!(verdict(&done), (3, "rolled-back".to_owned()), "{}", host.log());
    let report = done.json()["report"].clone();
    assert_eq!((&report["way"], &report["cost"]), (&"replay".into(), &Value::Null), "{report}");
    assert_eq!(report["comparison"]["differing"], 1, "one answer was another: {report}");
    let example = report["comparison"]["examples"][0].to_string();
    assert!(example.contains("other") && example.contains("error "), "{example}");
    assert_eq!(client.ask("incr"), "1.0.0 4");
    assert_eq!(other.ask("incr"), "1.0.0 5", "both connections are open");
}

#[test]
fn a_replay_takes_the_predecessors_timers_and_knows_who_left_meanwhile() {
    let (host, mut client, deploy) = on_probation("upgrade-only", "2.0.0", &[]);
    let mut leaving = host.connect();
    assert_eq!(leaving.ask("incr"), "1.0.0 2");
    client.send("remind 1500\n");
    host.eventually("its timer is set", || host.workload("counter")["timers"] == 1);
    drop(leaving);
    host.eventually("one is left", || host.workload("counter")["connections"] == 1);
    let report = roll_back(&host);
    assert_eq!(report["way"], "replay", "{report}");
    assert_eq!(host.workload("counter")["timers"], 1, "the predecessor set it, too");
    assert!(client.line().starts_with("reminded late "), "it fires once");
    assert_eq!(client.ask("incr"), "1.0.0 3");
    let health = host.health("counter").to_string();
    assert!(health.contains(r#""connections","value":"1""#) || health.contains("\"1\""), "{health}");
    drop(deploy);
}

#[test]
fn a_timer_of_before_the_switch_that_fired_on_probation_is_not_fired_twice_for_the_client() {
    let host = Host::with_counter();
    let mut client = host.connect();
    client.send("remind 400\n");
    host.eventually("its timer is set", || host.workload("counter")["timers"] == 1);
    let deploy = host.begin_deploy(&host.fault("upgrade-only"), "2.0.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    assert!(client.line().starts_with("reminded late "));
    roll_back(&host);
    assert_eq!(client.ask("incr"), "1.0.0 1", "no second reminder came before");
    assert_eq!(host.workload("counter")["timers"], 0);
    drop(deploy);
}

/// A host where `holds-calls` serves as counter 1.0.0.
fn holding(arguments: &[&str]) -> Host {
    let host = Host::start_with(arguments, &[]);
    let done = host.deploy(&host.fault("holds-calls"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}");
    host
}

/// Holds a call before the switch and another on probation, asks `lines` lines, sets a timer, and closes a connection; then goes
/// back by hand. The client that stays, what became of the calls, and the report.
fn back_with_everything_open(host: &Host, fault: &str, lines: usize, way: &[&str]) -> (Client, [Underway; 2], Value) {
    let (mut client, mut leaving) = (host.connect(), host.connect());
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let before = host.begin_call("hold");
    host.eventually("the call waits", || host.workload("counter")["calls"] == 1);
    let deploy = host.begin_deploy(&host.fault(fault), "1.0.1", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    let since = host.begin_call("hold");
    host.eventually("both calls wait", || host.workload("counter")["calls"] == 2);
    for line in 0..lines {
        assert_eq!(leaving.ask("incr"), format!("1.0.0 {}", line + 2));
    }
    client.send("remind 600000\n");
    host.eventually("the timer is set", || host.workload("counter")["timers"] == 1);
    drop(leaving);
    host.eventually("one has left", || host.workload("counter")["connections"] == 1);
    let done = host.cli(&[&["rollback", "counter", "--output", "json"], way].concat());
    assert_eq!(verdict(&done), (0, "rolled-back".to_owned()), "{done:?}\n{}", host.log());
    assert_eq!(verdict(&deploy.end()), (3, "rolled-back".to_owned()));
    (client, [before, since], done.json()["report"].clone())
}

#[test]
fn open_calls_and_closed_connections_go_back_by_downgrade_and_by_replay() {
    for (fault, way) in [("holds-calls", "downgrade"), ("holds-calls-upgrade-only", "replay")] {
        let host = holding(&[]);
        let (mut client, calls, report) = back_with_everything_open(&host, fault, 3, &[]);
        assert_eq!((&report["way"], &report["cost"]), (&way.into(), &Value::Null), "{report}");
        let workload = host.workload("counter");
        assert_eq!([&workload["calls"], &workload["timers"], &workload["connections"]], [2, 1, 1], "{way}");
        assert_eq!(client.ask("release"), "1.0.0 released 2", "{way}: the predecessor knows of both");
        for call in calls {
            let done = call.end();
            assert_eq!((done.code, &done.json()["reply"]), (0, &"released".into()), "{way}: {done:?}");
        }
        assert_eq!(client.ask("incr"), "1.0.0 5", "{way}");
    }
}

#[test]
fn open_calls_are_told_of_a_rollback_that_loses_what_became_of_them() {
    let host = holding(&["--journal", "16KiB"]);
    let (mut client, calls, report) =
        back_with_everything_open(&host, "holds-calls-upgrade-only", 600, &["--allow-loss"]);
    assert_eq!(report["way"], "checkpoint", "{report}");
    for call in calls {
        let done = call.end();
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.json()["error"]["what"].to_string().contains("was rolled back"), "{done:?}");
    }
    let workload = host.workload("counter");
    assert_eq!([&workload["calls"], &workload["timers"], &workload["connections"]], [0, 0, 1]);
    assert_eq!(client.ask("incr"), "1.0.0 2", "the total is the one at the switch");
}

#[test]
fn a_timer_that_was_set_and_fired_on_probation_is_not_set_again_by_the_replay() {
    let (host, mut client, deploy) = on_probation("upgrade-only", "2.0.0", &[]);
    client.send("remind 500\n");
    assert!(client.line().starts_with("reminded late "));
    let report = roll_back(&host);
    assert_eq!((&report["way"], &report["comparison"]["differing"]), (&"replay".into(), &0.into()), "{report}");
    assert_eq!(host.workload("counter")["timers"], 0, "it was due in the predecessor's time, too");
    assert_eq!(client.ask("incr"), "1.0.0 2");
    drop(deploy);
}

#[test]
fn a_held_probation_waits_for_the_commit_and_a_rollback_is_possible_until_then() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let next = host.counter("1.1.0");
    let done = Done::of(
        host.command(&["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--hold", "--output", "json"])
            .output()
            .unwrap(),
    );
    assert_eq!(verdict(&done), (0, "held".to_owned()), "{}", host.log());
    assert_eq!(
        (host.phase().as_str(), host.workload("counter")["swap"]["remaining_ns"].clone()),
        ("probation", Value::Null)
    );
    roll_back(&host);
    assert_eq!(host.workload("counter")["version"], "1.0.0");

    let done = Done::of(
        host.command(&["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--hold", "--output", "json"])
            .output()
            .unwrap(),
    );
    assert_eq!(verdict(&done), (0, "held".to_owned()), "{}", host.log());
    let done = host.cli(&["commit", "counter", "--output", "json"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{done:?}");
    assert_eq!(host.phase(), "");
    let again = host.cli(&["commit", "counter"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("on no probation"), "{again:?}");
    traffic.stop();
}

#[test]
fn a_held_probation_is_held_again_after_the_host_died() {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
    host.start_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let done = host.cli(&["deploy", host.counter("1.1.0").to_str().unwrap(), "--version", "1.1.0", "--hold"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(client.ask("incr"), "1.1.0 2 1");
    host.eventually("everything is checkpointed", || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    });
    host.kill();
    host.run();
    assert_eq!((host.phase().as_str(), &host.workload("counter")["version"]), ("probation", &"1.1.0".into()));
    assert_eq!(host.connect().ask("incr"), "1.1.0 3 1");
    let report = roll_back(&host);
    assert_eq!((&report["way"], &report["running"]), (&"downgrade".into(), &"1.0.0".into()), "{report}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 4");
}

#[test]
fn a_deploy_during_probation_makes_the_running_release_permanent_first() {
    let (host, mut client, deploy) = on_probation("handle-traps", "1.0.1", &[]);
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    assert_eq!(done.json()["report"]["from"], "1.0.1");
    assert_eq!(verdict(&deploy.end()), (0, "permanent".to_owned()));
    assert_eq!(client.ask("incr"), "1.1.0 2 1");
}

#[test]
fn a_swap_that_was_planned_for_a_release_that_was_rolled_back_meanwhile_is_off() {
    let host = Host::with_counter();
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--hold"]);
    assert_eq!(verdict(&done), (0, "held".to_owned()), "{done:?}");
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.1.0 1 1");
    let deploy = host.begin_deploy(&host.counter("2.0.0"), "2.0.0", &["--drain", "3s"]);
    host.eventually("it is planned: its drain has begun", || client.is_closed());
    roll_back(&host);
    let done = deploy.end();
    assert_eq!(verdict(&done), (1, "aborted".to_owned()), "{done:?}\n{}", host.log());
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("1.0.0 was reinstated meanwhile; deploy again"), "{why}");
    let workload = host.workload("counter");
    assert_eq!([&workload["version"], &workload["swap"]], [&"1.0.0".into(), &Value::Null], "{workload}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 2");
}

#[test]
fn a_swap_that_is_offered_while_a_rollback_is_being_recorded_is_off_and_the_rollback_is_not() {
    let host = Host::with_counter();
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--hold"]);
    assert_eq!(verdict(&done), (0, "held".to_owned()), "{done:?}");
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.1.0 1 1");
    let deploy = host.begin_deploy(&host.counter("2.0.0"), "2.0.0", &["--drain", "2s"]);
    host.eventually("it is planned: its drain has begun", || client.is_closed());
    // Whoever writes to the ledger waits for this, up to five seconds.
    let ledger = rusqlite::Connection::open(host.data().join("ledger.sqlite")).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut rollback = host.command(&["rollback", "counter", "--output", "json"]);
    let mut rollback = rollback.stdout(std::process::Stdio::null()).spawn().unwrap();
    host.eventually("the predecessor serves", || host.workload("counter")["version"] == "1.0.0");
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 2");
    host.eventually("the swap is off", || !host.events("swap.aborted").is_empty());
    assert!(host.events("swap.rolled-back").is_empty(), "the rollback is not on disk yet\n{}", host.log());
    ledger.execute_batch("ROLLBACK").unwrap();
    let done = deploy.end();
    assert_eq!(verdict(&done), (1, "aborted".to_owned()), "{done:?}\n{}", host.log());
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("1.0.0 was reinstated meanwhile; deploy again"), "{why}");
    assert!(rollback.wait().unwrap().success(), "{}", host.log());
    let undone = host.reports_of("counter").into_iter().find(|report| report["verdict"] == "rolled-back").unwrap();
    assert!(!undone["why"].to_string().contains("could not be recorded"), "{undone}");
    assert_eq!(client.ask("incr"), "1.0.0 3");
    assert_eq!(verdict(&host.deploy(&host.counter("2.0.0"), "2.0.0", &[])), (0, "permanent".to_owned()));
}

#[test]
fn a_rollback_after_a_restart_of_the_host_finds_the_doors_of_the_predecessor_open() {
    let mut host = Host::with_counter();
    let before = host.address();
    let arguments = ["--hold", "--listen", "tcp://127.0.0.1:0"];
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &arguments);
    assert_eq!(verdict(&done), (0, "held".to_owned()), "{done:?}");
    assert_ne!(host.address(), before);
    assert_eq!(host.terminate(), 0);
    host.run();
    assert_eq!(Client::connect(before).ask("incr"), "1.1.0 1 1", "both are open, as before");
    assert_eq!(host.connect().ask("incr"), "1.1.0 2 1");
    let after = host.address();
    roll_back(&host);
    assert_eq!(Client::connect(before).ask("incr"), "1.0.0 3");
    host.eventually("that of the other is closed", || Client::try_connect(after).is_none());
}

#[test]
fn a_rollback_that_costs_the_new_release_its_instance_and_is_not_possible_leaves_it_serving() {
    let host = Host::start_with(&["--journal", "16KiB", "--checkpoint-every", "1h"], &[]);
    host.start_counter();
    let mut client = host.connect();
    let deploy = host.begin_deploy(&host.fault("snapshot-traps"), "1.0.1", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    for total in 1..=600 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    // Its snapshot traps from here on, and the journal does not reach back to the switch.
    assert_eq!(client.ask("break"), "1.0.0 broken");
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(verdict(&done), (1, "refused".to_owned()), "{done:?}\n{}", host.log());
    let workload = host.workload("counter");
    assert_eq!([&workload["version"], &workload["state"]], ["1.0.1", "running"], "{workload}");
    assert_eq!(host.phase(), "probation");
    assert_eq!(client.ask("incr"), "1.0.0 601", "as it was");
    assert_eq!(host.events("workload.restarted").len(), 1);
    assert_eq!(host.cli(&["commit", "counter"]).code, 0);
    assert_eq!(verdict(&deploy.end()), (0, "permanent".to_owned()));
}

/// A release on probation that can't go down, whose journal since the switch was given a new base.
fn past_its_journal() -> (Host, Client, Underway) {
    let host = Host::start_with(&["--journal", "16KiB"], &[]);
    host.start_counter();
    let mut client = host.connect();
    let deploy = host.begin_deploy(&host.fault("upgrade-only"), "2.0.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    for total in 1..=600 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    assert!(host.workload("counter")["journal_bytes"].as_u64() < Some(16 << 10), "it has a new base");
    (host, client, deploy)
}

#[test]
fn a_rollback_that_would_lose_events_is_refused_unless_that_is_allowed() {
    let (host, mut client, deploy) = past_its_journal();
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(verdict(&done), (1, "refused".to_owned()), "{done:?}");
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("does not reach back to the switch") && why.contains("--allow-loss"), "{why}");
    assert_eq!((host.phase().as_str(), &host.workload("counter")["version"]), ("probation", &"2.0.0".into()));
    assert_eq!(client.ask("incr"), "1.0.0 601", "it serves on");
    assert_eq!(host.events("swap.stays").len(), 1);

    let done = host.cli(&["rollback", "counter", "--allow-loss", "--output", "json"]);
    assert_eq!(verdict(&done), (0, "rolled-back".to_owned()), "{done:?}");
    let report = done.json()["report"].clone();
    assert_eq!((&report["way"], &report["running"]), (&"checkpoint".into(), &"1.0.0".into()), "{report}");
    assert!(report["cost"]["events"].as_u64() >= Some(601), "{report}");
    assert_eq!(client.ask("incr"), "1.0.0 1", "what came since the switch is what it cost");
    assert_eq!(verdict(&deploy.end()), (3, "rolled-back".to_owned()));
}

#[test]
fn a_release_that_dies_in_a_call_on_probation_does_not_come_back() {
    let mut host = Host::start_with(
        &["--checkpoint-every", "20ms", "--handle-fuel", "1000000000000", "--handle-timeout", "5m"],
        &[],
    );
    host.start_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let deploy = host.begin_deploy(&host.fault("handle-busy"), "1.0.1", &["--hold"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    assert_eq!(client.ask("incr"), "1.0.0 2");
    host.eventually("everything is checkpointed", || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    });
    client.send("busy 100000\n");
    let mut waiting = Vec::new();
    host.eventually("it is busy: those who came after wait", || {
        waiting.push(host.connect());
        host.workload("counter")["queued_events"].as_u64() >= Some(2)
    });
    let address = host.address();
    host.kill();
    drop(deploy);
    // A rollback at a start that comes to nothing is not done, and is done at the next.
    let taken = TcpListener::bind(address).unwrap();
    host.run();
    host.eventually("it can't listen", || host.workload("counter")["state"] == "failed");
    assert!(!host.reports_of("counter").iter().any(|report| report["verdict"] == "rolled-back"), "it is not");
    drop(taken);
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["swap"]), (&"1.0.0".into(), &Value::Null), "{workload}");
    let reports = host.reports_of("counter");
    let undone = reports.iter().find(|report| report["verdict"] == "rolled-back").unwrap();
    assert_eq!(undone["way"], "downgrade", "{undone}");
    assert!(undone["why"].as_str().unwrap().contains("a call into it was running"), "{undone}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 3", "what it had written is carried down");
}
