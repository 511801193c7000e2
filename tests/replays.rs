//! Determinism, proven: what was handled is handled again on a copy, with the same effects and the same state; and another
//! version is tried on live traffic before it serves.

use serde_json::Value;

use crate::harness::{Done, Host, Traffic};

#[track_caller]
fn replay(host: &Host, arguments: &[&str]) -> (i32, Value) {
    let done = host.cli(&[&["replay"], arguments, &["--output", "json"]].concat());
    assert!(matches!(done.code, 0 | 1), "{done:?}\n{}", host.log());
    (done.code, done.json()["report"].clone())
}

#[test]
fn recorded_traffic_of_each_counter_gives_the_same_effects_and_the_same_state_again() {
    let host = Host::with_counter();
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        if version != "1.0.0" {
            assert_eq!(host.deploy(&host.counter(version), version, &[]).code, 0);
        }
        let mut odd = host.connect();
        odd.send("what\nremind 1\nin");
        let answers = [odd.line(), odd.line()];
        assert!(answers.iter().any(|answer| answer.starts_with("error ")), "{answers:?}");
        odd.send("cr\n");
        assert!(odd.line().starts_with(version));
        assert_eq!(host.cli(&["call", "counter", "add-rows", "100"]).code, 0);
        let (code, report) = replay(&host, &["counter"]);
        assert_eq!((code, &report["verdict"]), (0, &"replayed".into()), "{report}");
        assert!(report["comparison"]["events"].as_u64() >= Some(5), "{report}");
        let state = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "state").unwrap();
        assert_eq!(state["seen"], "alike to the last byte", "{report}");
    }
}

#[test]
fn a_replay_under_load_changes_nothing_for_the_clients() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 4, 0);
    for _ in 0..5 {
        let (code, report) = replay(&host, &["counter"]);
        assert_eq!((code, &report["verdict"]), (0, &"replayed".into()), "{report}");
    }
    traffic.stop();
    assert_eq!(host.workload("counter")["restarts"], 0);
}

#[test]
fn another_version_over_the_same_traffic_says_the_first_difference() {
    let host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(client.ask("incr"), "1.0.0 2");
    let next = host.counter("1.1.0");
    let (code, report) = replay(&host, &["counter", "--with", next.to_str().unwrap(), "--version", "1.1.0"]);
    assert_eq!((code, &report["verdict"]), (1, &"differs".into()), "{report}");
    assert_eq!((&report["comparison"]["differing"], &report["running"]), (&2.into(), &"1.0.0".into()), "{report}");
    let example = report["comparison"]["examples"][0].to_string();
    assert!(example.contains("1.0.0 1") && example.contains("1.1.0 1 1"), "{example}");
    let words = host.cli(&["replay", "counter", "--with", next.to_str().unwrap(), "--version", "1.1.0"]);
    assert!(words.stdout.contains("was  ") && words.stdout.contains("1.1.0 1 1"), "{words:?}");

    // The same component under another version does the same.
    let same = host.counter("1.0.0");
    let (code, report) = replay(&host, &["counter", "--with", same.to_str().unwrap(), "--version", "1.0.7"]);
    assert_eq!((code, &report["verdict"]), (0, &"replayed".into()), "{report}");
    assert_eq!(host.workload("counter")["generation"], 1, "nothing was changed");
    assert_eq!(client.ask("incr"), "1.0.0 3");
}

#[test]
fn a_guest_whose_state_hangs_on_chance_is_named_by_the_rehearsal() {
    let host = Host::with_counter();
    for fault in ["state-of-hash-order", "state-of-addresses"] {
        let done = host.deploy(&host.fault(fault), "1.0.1", &["--dry-run"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        let notes = done.json()["report"]["notes"].to_string();
        assert!(notes.contains("its state differs") && notes.contains("byte "), "{fault}: {notes}");
    }
}

#[track_caller]
fn deploy_with_shadow(host: &Host, version: &str, arguments: &[&str]) -> Done {
    let arguments = [&["--shadow", "700ms"], arguments].concat();
    host.deploy(&host.counter(version), version, &arguments)
}

#[test]
fn a_shadow_handles_live_traffic_and_its_differences_are_counted_and_never_sent() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 3, 0);
    let done = deploy_with_shadow(&host, "1.1.0", &["--shadow-limit", "50"]);
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (1, &"refused".into()), "{done:?}\n{}", host.log());
    let report = done.json()["report"].clone();
    assert!(report["why"].as_str().unwrap().contains("100 %, more than 50 % (--shadow-limit)"), "{report}");
    assert!(report["comparison"]["effects"].as_u64() >= Some(10), "{report}");
    let example = report["comparison"]["examples"][0].to_string();
    assert!(example.contains("1.0.0 ") && example.contains("1.1.0 "), "{example}");
    assert_eq!(host.workload("counter")["generation"], 1);

    // Without a limit it is only told, and the swap goes on.
    let done = deploy_with_shadow(&host, "1.1.0", &[]);
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (0, &"permanent".into()), "{done:?}\n{}", host.log());
    assert!(done.json()["report"]["comparison"]["differing"].as_u64() >= Some(10), "{done:?}");
    traffic.stop();
}

#[test]
fn a_shadow_that_fails_on_live_traffic_is_refused_and_no_client_notices() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let done = host.deploy(&host.fault("handle-traps-after-swap"), "1.0.1", &["--shadow", "30s"]);
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (1, &"refused".into()), "{done:?}\n{}", host.log());
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("copy of the live traffic") && why.contains("on purpose"), "{why}");
    let total = traffic.stop();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
}

#[test]
fn a_journal_at_its_limit_gets_a_new_base_and_goes_on_costing_nothing() {
    let host = Host::start_with(&["--journal", "16KiB"], &[]);
    let done = host.deploy(&host.fault("handle-traps"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}");
    let traffic = Traffic::start(host.address(), 4, 0);
    host.eventually("it went past its limit some times", || host.workload("counter")["events"].as_u64() > Some(3_000));
    assert!(host.workload("counter")["journal_bytes"].as_u64() < Some(16 << 10));
    let mut poison = host.connect();
    poison.send("trap\n");
    assert_eq!(poison.line(), "");
    let (code, report) = replay(&host, &["counter"]);
    assert_eq!((code, &report["verdict"]), (0, &"replayed".into()), "{report}");
    let total = traffic.stop();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
    assert_eq!(host.workload("counter")["set_aside"], 1);
}

#[test]
fn a_snapshot_that_traps_at_the_journals_limit_costs_one_restart_and_the_journal_and_no_event() {
    let host = Host::start_with(&["--journal", "16KiB"], &[]);
    let done = host.deploy(&host.fault("snapshot-traps"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}");
    let mut client = host.connect();
    assert_eq!(client.ask("break"), "1.0.0 broken");
    for total in 1..=800 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    let workload = host.workload("counter");
    assert_eq!((&workload["restarts"], &workload["state"]), (&1.into(), &"running".into()), "{workload}");
    let health = host.health("counter").to_string();
    assert!(health.contains("has no journal any more") && health.contains("its `snapshot` fails"), "{health}");
}

#[test]
fn every_other_example_is_replayed_to_the_last_byte() {
    let host = Host::start();
    let chat = &["/nick ann", "/join den", "hello", "/who"][..];
    let session = &["login ann", "put 5", "hello", "sum"][..];
    for (example, version, lines, answers, effects) in [
        ("chat", "1.0.0", chat, 2, 2),
        ("chat", "1.1.0", chat, 2, 2),
        // In chunks: how many they are is the network's affair.
        ("echo", "1.0.0", &["one", "two", "three"][..], 3, 1),
        // With one instance for both of its clients, as it is not meant to be: only so is it journalled.
        ("session", "1.0.0", session, 2, 2),
        ("session", "1.1.0", session, 2, 2),
    ] {
        let name = &format!("{example}-{version}");
        let example = example_workloads::example(example, version).unwrap();
        let file = host.file(example.file_name, example.component);
        let done = host.deploy(&file, version, &["--name", name, "--listen", "tcp://127.0.0.1:0"]);
        assert_eq!(done.code, 0, "{done:?}");
        let (mut client, mut other) = (host.connect_to(name), host.connect_to(name));
        for line in lines {
            client.send(&format!("{line}\n"));
            other.send(&format!("{line}\n"));
        }
        for _ in 0..answers {
            assert_ne!(client.line(), "");
        }
        drop(other);
        host.eventually("one is left", || host.workload(name)["connections"] == 1);
        let (code, report) = replay(&host, &[name]);
        assert_eq!((code, &report["verdict"]), (0, &"replayed".into()), "{name}: {report}");
        assert!(report["comparison"]["effects"].as_u64() >= Some(effects), "{name}: {report}");
    }
}
