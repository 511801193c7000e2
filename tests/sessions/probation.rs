//! After the switch: failures stay in their session, many of them undo the swap, and each goes back by itself.

use serde_json::Value;

use super::{comes_to, count, counting, deploy, logged_in, sum, with_sessions};
use crate::harness::Client;

#[track_caller]
fn ask_all(clients: &mut [Client], answer: &str) {
    for client in clients {
        assert_eq!(client.ask("incr"), answer);
    }
}

#[test]
fn too_many_failures_on_probation_undo_the_swap_and_those_left_lose_nothing() {
    let host = counting("counter", &["--restarts", "2"]);
    let mut clients: Vec<_> = (0..8).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let deploy = host.begin_deploy(&host.fault("handle-traps-after-swap"), "1.0.1", &["--probation", "1h"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    // Each that says something fails; the first two are their own affair.
    for mut client in clients.drain(..3) {
        client.send("incr\n");
        assert_eq!(client.rest(), b"");
    }
    let done = deploy.end();
    assert_eq!(done.code, 3, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!((&report["verdict"], &report["way"]), (&"rolled-back".into(), &"downgrade".into()), "{report}");
    assert!(report["why"].as_str().unwrap().starts_with("3 sessions failed since the switch"), "{report}");
    ask_all(&mut clients, "1.0.0 2");
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], count(&workload, "instances")), (&"1.0.0".into(), 5), "{workload}");
}

#[test]
fn a_release_whose_sessions_all_say_failed_is_undone_by_the_smoke_check() {
    let host = counting("counter", &[]);
    let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let report = comes_to(&host, &host.fault("health-fails"), &[], 3, "rolled-back");
    assert!(report["why"].as_str().unwrap().starts_with("the smoke check failed: health: failed"), "{report}");
    ask_all(&mut clients, "1.0.0 2");
}

#[test]
fn a_session_goes_back_from_probation_in_the_middle_of_its_transfer() {
    let host = with_sessions();
    let (mut ann, mut bob) = (logged_in(&host, "ann"), logged_in(&host, "bob"));
    ann.send("put 6\nab");
    let underway =
        host.begin_deploy(&super::session(&host, "1.1.0"), "1.1.0", &["--name", "session", "--probation", "1h"]);
    host.eventually("it is on probation", || host.workload("session")["swap"]["phase"] == "probation");
    ann.send("cd");
    bob.send("put 2\nxy");
    assert_eq!(bob.line(), format!("1.1.0 stored 2 {:016x}", sum(b"xy")));
    let done = host.cli(&["rollback", "session", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(done.json()["report"]["instances"]["closed"], 0, "{done:?}");
    assert_eq!(underway.end().code, 3);
    ann.send("ef");
    assert_eq!(ann.line(), format!("1.0.0 stored 6 {:016x}", sum(b"abcdef")));
    assert_eq!(bob.ask("sum"), format!("1.0.0 2 {:016x}", sum(b"xy")));
    // And up again.
    assert_eq!(deploy(&host, "1.1.0", &[]).code, 0);
    assert!(bob.ask("sum").starts_with("1.1.0 2 "));
}

#[test]
fn a_held_probation_waits_for_whoever_holds_it_and_survives_the_host() {
    let mut host = counting("counter", &[]);
    let next = host.counter("1.1.0");
    let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    comes_to(&host, &next, &["--hold"], 0, "held");
    ask_all(&mut clients, "1.1.0 2 1");
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "{}", host.log());
    ask_all(&mut clients, "1.0.0 3");
    comes_to(&host, &next, &["--hold"], 0, "held");
    host.kill();
    host.run();
    assert_eq!((host.phase().as_str(), &host.workload("counter")["version"]), ("probation", &"1.0.1".into()));
    let mut clients = [host.connect()];
    ask_all(&mut clients, "1.1.0 1 1");
    let done = host.cli(&["commit", "counter", "--output", "json"]);
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (0, &"permanent".into()), "{done:?}");
    assert_eq!(host.phase(), "");
    ask_all(&mut clients, "1.1.0 2 2");
    assert_eq!(host.cli(&["commit", "counter"]).code, 1, "it is on no probation");
}

#[test]
fn a_deploy_during_probation_makes_the_release_before_it_permanent() {
    let host = counting("counter", &[]);
    let mut clients = [host.connect()];
    ask_all(&mut clients, "1.0.0 1");
    let underway = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "1h"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    let done = host.deploy(&host.counter("2.0.0"), "2.0.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(done.json()["report"]["from"], "1.1.0");
    assert_eq!(underway.end().code, 0);
    assert_eq!(host.workload("counter")["generation"], 3);
    assert!(clients[0].ask("incr").starts_with("2.0.0 2"));
}

#[test]
fn where_no_way_leads_back_a_session_that_changed_is_closed_only_with_leave_and_counted_and_others_stay() {
    let host = counting("counter", &[]);
    let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let deploy = host.begin_deploy(&host.fault("upgrade-only"), "1.0.1", &["--probation", "1h"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    let mut changed = clients.pop().unwrap();
    assert_eq!(changed.ask("incr"), "1.0.0 2");
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(done.code, 1, "{done:?}\n{}", host.log());
    let why = done.json()["report"]["why"].as_str().unwrap().to_owned();
    let words = "1 of 4 sessions changed since the switch and would be closed, for 1.0.1 can't write the old format";
    assert!(why.starts_with(words) && why.contains("--allow-loss"), "{why}");
    assert_eq!(host.events("swap.stays").len(), 1);
    assert_eq!(changed.ask("incr"), "1.0.0 3", "it is as if nobody had asked");
    assert_eq!((host.phase().as_str(), &host.workload("counter")["generation"]), ("probation", &2.into()));
    let done = host.cli(&["rollback", "counter", "--allow-loss", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!((&report["running"], &report["instances"]["closed"]), (&"1.0.0".into(), &1.into()), "{report}");
    assert_eq!(report["way"], "unchanged", "{report}");
    assert_eq!(deploy.end().code, 3);
    assert_eq!(changed.rest(), b"", "its state can't be written in the old format");
    ask_all(&mut clients, "1.0.0 2");
}

#[test]
fn sessions_that_did_nothing_since_the_switch_go_back_without_leave_to_lose_any() {
    let host = counting("counter", &[]);
    let mut clients: Vec<_> = (0..4).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let deploy = host.begin_deploy(&host.fault("upgrade-only"), "1.0.1", &["--probation", "1h"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!((&report["way"], &report["instances"]["closed"]), (&"unchanged".into(), &0.into()), "{report}");
    assert_eq!(deploy.end().code, 3);
    ask_all(&mut clients, "1.0.0 2");
}

#[test]
fn a_rollback_by_hand_gives_up_no_session_that_is_busy_without_leave() {
    let host = counting("counter", &["--handle-fuel", "1000000000000"]);
    let mut clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let arguments = ["--probation", "1h", "--timeout", "400ms"];
    let deploy = host.begin_deploy(&host.fault("handle-busy"), "1.0.1", &arguments);
    host.eventually("it is on probation", || host.phase() == "probation");
    let [mut short, mut long] = [host.connect(), host.connect()];
    for (client, line) in [(&mut short, "busy 3000"), (&mut long, "busy 1000000")] {
        client.send(&format!("{line}\n"));
        host.eventually("it was read", || count(&host.workload("counter"), "queued_events") == 0);
    }
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(done.code, 1, "{done:?}\n{}", host.log());
    let why = done.json()["report"]["why"].as_str().unwrap().to_owned();
    assert!(why.contains(" sessions did not come to the end of a batch within 400ms"), "{why}");
    ask_all(&mut clients, "1.0.0 2");
    assert!(short.line().starts_with("1.0.0 "), "it came to its end and was answered");
    let done = host.cli(&["rollback", "counter", "--allow-loss", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(deploy.end().code, 3);
    ask_all(&mut clients, "1.0.0 3");
    assert_eq!(short.ask("incr"), "1.0.0 1", "it went back with what it knew");
}

#[test]
fn a_session_that_does_not_come_back_in_time_is_closed_and_holds_nobody_up() {
    let host = counting("counter", &[]);
    let mut clients: Vec<_> = (0..2).map(|_| host.connect()).collect();
    ask_all(&mut clients, "1.0.0 1");
    let arguments = ["--probation", "1h", "--timeout", "500ms"];
    let deploy = host.begin_deploy(&host.fault("snapshot-never-returns"), "1.0.1", &arguments);
    host.eventually("it is on probation", || host.phase() == "probation");
    let mut stuck: Vec<_> = (0..3).map(|_| host.connect()).collect();
    for client in &mut stuck {
        assert_eq!(client.ask("break"), "1.0.0 broken");
    }
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(done.json()["report"]["instances"]["closed"], 3, "{done:?}");
    assert_eq!(deploy.end().code, 3);
    ask_all(&mut clients, "1.0.0 2");
    let told = host.events("session.failed");
    let timed_out = |event: &Value| event["message"].to_string().contains("snapshot failed: `snapshot` took longer");
    assert!(told.len() == 3 && told.iter().all(timed_out), "{told:?}");
}

#[test]
fn where_no_way_leads_back_at_all_sessions_are_parked_until_another_release_takes_them() {
    for by_deploy in [true, false] {
        let mut host = counting("counter", &["--restarts", "0"]);
        let before = host.json(&["versions", "counter"])["versions"][0]["digest"].as_str().unwrap().to_owned();
        drop(host.begin_deploy(&host.fault("handle-traps"), "1.0.1", &["--probation", "1h"]));
        host.eventually("it is on probation", || host.phase() == "probation");
        host.kill();
        for file in std::fs::read_dir(host.data().join("artifacts")).unwrap().flatten() {
            if file.file_name().to_string_lossy().contains(before.trim_start_matches("sha256:")) {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        host.run();
        let (mut client, mut bad) = (host.connect(), host.connect());
        assert_eq!(client.ask("incr"), "1.0.0 1");
        bad.send("trap\n");
        host.eventually("it is stopped", || host.workload("counter")["state"] == "failed");
        assert_eq!(host.health("counter")["status"], "failed");
        client.send("incr\n");
        host.eventually("it is parked", || count(&host.workload("counter"), "queued_events") == 1);
        // What comes to nothing lets nobody through either.
        let done = host.deploy(&host.fault("code-change-errors"), "1.0.2", &["--force"]);
        assert_eq!(done.json()["report"]["verdict"], "aborted", "{done:?}\n{}", host.log());
        let workload = host.workload("counter");
        assert_eq!((&workload["state"], count(&workload, "queued_events")), (&"failed".into(), 1), "{workload}");
        if by_deploy {
            let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--force"]);
            assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
            assert_eq!(client.line(), "1.1.0 2 1");
        } else {
            assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
            assert_eq!(client.line(), "1.0.0 2");
        }
        assert_eq!(host.workload("counter")["state"], "running");
        assert_eq!(host.cli(&["stop", "counter"]).code, 0);
    }
}

#[test]
fn a_host_killed_on_probation_goes_on_with_it_and_undoes_it_at_the_third_start() {
    let mut host = counting("counter", &[]);
    drop(host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "1h"]));
    host.eventually("it is on probation", || host.phase() == "probation");
    for start in 1..=3 {
        host.kill();
        host.run();
        let workload = host.workload("counter");
        if start < 3 {
            assert_eq!((&workload["version"], host.phase().as_str()), (&"1.1.0".into(), "probation"), "{workload}");
            assert_eq!(host.connect().ask("incr"), "1.1.0 1 1");
        } else {
            assert_eq!((&workload["version"], &workload["generation"]), (&"1.0.0".into(), &3.into()), "{workload}");
            assert_eq!(host.connect().ask("incr"), "1.0.0 1");
        }
    }
    let outcomes: Vec<_> = host.reports_of("counter").iter().map(|report| report["verdict"].clone()).collect();
    assert!(outcomes.contains(&"rolled-back".into()), "{outcomes:?}");
}
