//! Workloads with an instance for each connection: served, swapped together, and failing one by one.

mod failures;
mod pause;
mod probation;

use std::path::Path;

use example_workloads::example;
use serde_json::Value;

use crate::harness::{Client, Done, Host};

/// A host with session 1.0.0 on it.
fn with_sessions() -> Host {
    let host = Host::start();
    start(&host);
    host
}

#[track_caller]
fn start(host: &Host) {
    let arguments = ["--name", "session", "--topology", "per-connection", "--listen", "tcp://127.0.0.1:0"];
    let done = host.deploy(&session(host, "1.0.0"), "1.0.0", &arguments);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
}

fn session(host: &Host, version: &str) -> std::path::PathBuf {
    let example = example("session", version).unwrap();
    host.file(example.file_name, example.component)
}

fn deploy(host: &Host, version: &str, arguments: &[&str]) -> Done {
    host.deploy(&session(host, version), version, &[&["--name", "session"], arguments].concat())
}

/// FNV-1a, as the workload has it.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A client that is logged in.
#[track_caller]
fn logged_in(host: &Host, name: &str) -> Client {
    let mut client = host.connect_to("session");
    let answer = client.ask(&format!("login {name}"));
    assert!(answer.ends_with(&format!(" hello {name}")), "{answer}");
    client
}

/// A host on which this component serves as counter 1.0.0, with an instance for each connection.
fn counting(component: &str, arguments: &[&str]) -> Host {
    let host = Host::start_with(arguments, &[]);
    let component = if component == "counter" { host.counter("1.0.0") } else { host.fault(component) };
    let done = host.deploy(&component, "1.0.0", &["--topology", "per-connection", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    host
}

/// Deploys in place of counter 1.0.0, which must come to this.
#[track_caller]
fn comes_to(host: &Host, component: &Path, arguments: &[&str], code: i32, verdict: &str) -> Value {
    let done = host.deploy(component, "1.0.1", arguments);
    assert_eq!(done.code, code, "{done:?}\n{}", host.log());
    let report = done.json()["report"].clone();
    assert_eq!(report["verdict"], verdict, "{report}");
    report
}

/// Checks that the counter of every client goes on where it was, on this version.
#[track_caller]
fn go_on(clients: &mut [Client], totals: &mut [u64], version: &str) {
    for (client, total) in clients.iter_mut().zip(totals) {
        *total += 1;
        assert_eq!(client.ask("incr"), format!("{version} {total}"));
    }
}

#[track_caller]
fn count(workload: &Value, field: &str) -> u64 {
    workload[field].as_u64().unwrap_or_else(|| panic!("no {field} in {workload}"))
}

#[test]
fn each_connection_has_an_instance_which_ends_with_it() {
    let host = with_sessions();
    let (mut ann, mut bob) = (logged_in(&host, "ann"), logged_in(&host, "bob"));
    ann.send("put 5\nhello");
    assert_eq!(ann.line(), format!("1.0.0 stored 5 {:016x}", sum(b"hello")));
    assert_eq!(bob.ask("sum"), format!("1.0.0 0 {:016x}", sum(b"")));
    assert_eq!(bob.ask("login eve"), "error this is bob already; log out first");
    let workload = host.workload("session");
    assert_eq!((count(&workload, "instances"), &workload["topology"]), (2, &"per-connection".into()), "{workload}");
    assert_eq!(bob.ask("logout"), "1.0.0 bye bob 0");
    assert_eq!(bob.rest(), b"");
    drop(ann);
    host.eventually("the instances end with their connections", || count(&host.workload("session"), "instances") == 0);
    assert_eq!(host.json(&["status"])["host"]["sessions"], 0);
}

#[test]
fn a_swap_takes_every_session_across_in_the_middle_of_its_transfer_and_back() {
    let host = with_sessions();
    let mut clients: Vec<_> = (0..20).map(|number| logged_in(&host, &format!("client-{number}"))).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // Some are idle, some in a transfer, some in the middle of a line.
        match number % 3 {
            0 => {}
            1 => client.send("put 10\nhello"),
            _ => client.send("put 10\nhelloworldsu"),
        }
    }
    for version in ["1.1.0", "1.0.0"] {
        let done = deploy(&host, version, &["--downgrade"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        let report = &done.json()["report"];
        assert_eq!(report["verdict"], "permanent", "{report}");
        assert_eq!(report["instances"]["total"], 20, "{report}");
        assert_eq!(report["connections"]["kept"], 20, "{report}");
    }
    let all = sum(b"helloworld");
    for (number, client) in clients.iter_mut().enumerate() {
        match number % 3 {
            0 => client.send("put 10\nhelloworldsum\n"),
            1 => client.send("worldsum\n"),
            _ => client.send("m\n"),
        }
        let stored = client.line();
        assert!(stored.ends_with(&format!(" stored 10 {all:016x}")), "{number}: {stored}");
        assert_eq!(client.line(), format!("1.0.0 10 {all:016x}"), "{number}");
    }
}

#[test]
fn two_thousand_sessions_come_across() {
    const SESSIONS: usize = 2_000;
    let host = with_sessions();
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| host.connect_to("session")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&format!("login {number}\nput 4\nab"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(), format!("1.0.0 hello {number}"));
    }
    let done = deploy(&host, "1.1.0", &["--timeout", "60s"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!(report["instances"]["total"], SESSIONS, "{report}");
    assert!(count(&report["instances"], "ahead") >= 1_900, "nearly all were migrated ahead: {report}");
    let stored = format!("1.1.0 stored 4 {:016x}", sum(b"abcd"));
    clients.iter_mut().for_each(|client| client.send("cd"));
    for client in &mut clients {
        assert_eq!(client.line(), stored);
    }
    let workload = host.workload("session");
    assert_eq!((count(&workload, "instances"), count(&workload, "instances_failed")), (2_000, 0), "{workload}");
}

#[test]
fn what_is_not_for_sessions_is_refused_with_words() {
    let host = with_sessions();
    let mut ann = logged_in(&host, "ann");
    for (arguments, words) in [
        (&["--topology", "single"][..], "a swap can't make it single"),
        (&["--state-from", "last-checkpoint"], "there is no checkpoint to take the state from"),
        (&["--shadow", "1s"], "there is no one state that a shadow could begin with"),
    ] {
        let done = deploy(&host, "1.1.0", arguments);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.json()["report"]["why"].as_str().unwrap().contains(words), "{done:?}");
    }
    let done = host.cli(&["call", "session", "total"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("has an instance for each connection"), "{done:?}");
    let next = session(&host, "1.1.0");
    for other in [&[][..], &["--with", next.to_str().unwrap(), "--version", "1.1.0"]] {
        let done = host.cli(&[&["replay", "session"], other].concat());
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains("which keep no journal"), "{done:?}");
    }
    assert!(ann.ask("sum").starts_with("1.0.0 0 "));
}

#[test]
fn a_rehearsal_migrates_every_session_and_changes_nothing() {
    let host = with_sessions();
    let mut ann = logged_in(&host, "ann");
    ann.send("put 4\nab");
    let done = deploy(&host, "1.1.0", &["--dry-run"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let document = done.json();
    assert_eq!((&document["report"]["verdict"], &document["pause_fits"]), (&"rehearsed".into(), &true.into()));
    assert_eq!(document["report"]["instances"]["ahead"], 1, "{document}");
    ann.send("cd");
    assert_eq!(ann.line(), format!("1.0.0 stored 4 {:016x}", sum(b"abcd")));
    assert_eq!(host.workload("session")["generation"], 1);
}

#[test]
fn a_timer_that_was_set_before_a_swap_fires_after_it() {
    let host = Host::start();
    let config = host.file("session.toml", b"login-ms = 1500\n");
    let arguments =
        ["--topology", "per-connection", "--listen", "tcp://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let done = deploy(&host, "1.0.0", &arguments);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let (mut silent, mut ann) = (host.connect_to("session"), logged_in(&host, "ann"));
    assert_eq!(silent.ask("sum"), "error log in first");
    let done = deploy(&host, "1.1.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(silent.line(), "error nobody logged in");
    assert_eq!(silent.rest(), b"");
    assert!(ann.ask("sum").starts_with("1.1.0 0 "));
}

#[test]
fn guests_memory_bounds_the_sessions_so_that_a_swap_of_all_of_them_has_room() {
    let host = Host::start_with(&["--guest-memory", "32MiB"], &[]);
    let room = || {
        let host = host.json(&["status"])["host"].clone();
        (count(&host, "session_capacity"), host["session_bound"].as_str().unwrap().to_owned())
    };
    // Nothing is known yet of what will run: two pages for each at least, and a tenth is for swaps and restarts.
    assert_eq!(room(), (230, "guest-memory".to_owned()));
    let arguments = ["--topology", "per-connection", "--listen", "tcp://127.0.0.1:0"];
    assert_eq!(host.deploy(&host.counter("1.0.0"), "1.0.0", &arguments).code, 0, "{}", host.log());
    let (sessions, bound) = room();
    assert!((8..16).contains(&sessions) && bound == "guest-memory", "a counter has more than a mebibyte: {sessions}");
    let mut clients: Vec<_> = (0..sessions).map(|_| host.connect()).collect();
    let mut totals = vec![0; clients.len()];
    go_on(&mut clients, &mut totals, "1.0.0");
    assert_eq!(host.connect().rest(), b"", "it is closed");
    let message = host.events("connection.refused")[0]["message"].as_str().unwrap().to_owned();
    let words = format!("room for {sessions} instances with a connection each (guest-memory)");
    assert!(message.contains(&words) && message.contains("--guest-memory"), "{message}");
    comes_to(&host, &host.fault("handle-traps"), &[], 0, "permanent");
    go_on(&mut clients, &mut totals, "1.0.0");
    assert_eq!(count(&host.workload("counter"), "instances_failed"), 0);
    let status = host.cli(&["status"]).stdout;
    assert!(status.contains(&format!("{sessions} with an instance each (guest-memory)")), "{status}");
}

#[test]
fn a_host_that_starts_again_has_the_workload_and_none_of_its_sessions() {
    let mut host = with_sessions();
    let mut ann = logged_in(&host, "ann");
    let done = deploy(&host, "1.1.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    for clean in [false, true] {
        if clean {
            assert_eq!(host.terminate(), 0, "{}", host.log());
        } else {
            host.kill();
        }
        assert_eq!(ann.try_ask("sum").unwrap_or_default(), "", "its connection went with the host");
        host.run();
        let workload = host.workload("session");
        assert_eq!((&workload["version"], &workload["state"]), (&"1.1.0".into(), &"running".into()), "{workload}");
        assert_eq!(count(&workload, "instances"), 0);
        ann = logged_in(&host, "ann");
        assert!(ann.ask("sum").starts_with("1.1.0 0 "));
    }
    let notes = host.reports_of("session")[0]["notes"][0].as_str().unwrap().to_owned();
    assert!(notes.contains("1.1.0 runs again; its sessions ended with their connections"), "{notes}");
}

#[test]
fn a_stop_answers_what_was_sent_and_closes_the_sessions() {
    let host = with_sessions();
    let mut ann = logged_in(&host, "ann");
    ann.send("sum\nput 3\nabc");
    assert_eq!(ann.line(), format!("1.0.0 0 {:016x}", sum(b"")));
    let done = host.cli(&["stop", "session"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(ann.line(), format!("1.0.0 stored 3 {:016x}", sum(b"abc")));
    assert_eq!(ann.rest(), b"");
    assert_eq!(host.cli(&["start", "session"]).code, 0);
    logged_in(&host, "ann");
    assert_eq!(host.cli(&["stop", "session"]).code, 0);
    assert_eq!(host.cli(&["remove", "session"]).code, 0);
}

#[test]
fn a_workload_that_is_stopped_gives_the_room_of_its_sessions_back() {
    let host = Host::start_with(&["--sessions", "3"], &[]);
    start(&host);
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..3).map(|number| logged_in(&host, &number.to_string())).collect();
        assert_eq!(host.cli(&["stop", "session"]).code, 0, "{}", host.log());
        assert_eq!(host.json(&["status"])["host"]["sessions"], 0);
        assert!(clients.iter_mut().all(|client| client.rest().is_empty()));
        assert_eq!(host.cli(&["start", "session"]).code, 0, "{}", host.log());
    }
}

#[test]
fn beyond_the_hosts_room_a_connection_is_refused_and_nobody_else_notices() {
    let host = Host::start_with(&["--sessions", "3"], &[]);
    start(&host);
    let document = host.json(&["status"]);
    assert_eq!(
        (&document["host"]["session_capacity"], &document["host"]["session_bound"]),
        (&3.into(), &"option".into())
    );
    assert!(host.log().contains("sessions=3 bound_by=\"option\""), "it is said at the start: {}", host.log());
    let mut clients: Vec<_> = (0..3).map(|number| logged_in(&host, &number.to_string())).collect();
    for _ in 0..2 {
        assert_eq!(host.connect_to("session").rest(), b"", "it is closed");
    }
    assert_eq!(count(&host.workload("session"), "refused"), 2);
    let message = host.events("connection.refused")[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("room for 3 instances with a connection each (option)"), "{message}");
    // A swap needs each of them twice, and has room for that.
    let done = deploy(&host, "1.1.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    for client in &mut clients {
        assert!(client.ask("sum").starts_with("1.1.0 0 "));
    }
    drop(clients.pop());
    host.eventually("there is room again", || count(&host.json(&["status"])["host"], "sessions") == 2);
    logged_in(&host, "next");
}
