//! Calls that a workload holds while it is swapped: they are the host's, and wait for whoever runs then.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
};

use crate::harness::{Done, Host};

/// A host where `holds-calls` serves as counter 1.0.0.
fn holding() -> (Host, PathBuf) {
    let host = Host::start();
    let component = host.fault("holds-calls");
    let done = host.deploy(&component, "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    (host, component)
}

/// Calls `hold` from a process of its own.
fn hold(host: &Host, timeout: &str) -> Child {
    let mut command = host.command(&["call", "counter", "hold", "--timeout", timeout, "--output", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(call: Child) -> Done {
    Done::of(call.wait_with_output().unwrap())
}

#[test]
fn a_call_that_is_held_across_a_swap_and_a_rollback_is_answered_by_whoever_runs_then() {
    let (host, component) = holding();
    let mut client = host.connect();
    let call = hold(&host, "1m");
    host.eventually("the call waits", || host.workload("counter")["calls"] == 1);
    assert_eq!(host.deploy(&component, "1.0.1", &[]).code, 0);
    assert_eq!(host.workload("counter")["calls"], 1, "it went across");
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0);
    assert_eq!(host.workload("counter")["calls"], 1, "and back");
    assert_eq!(client.ask("release"), "1.0.0 released 1");
    let answered = end(call);
    assert_eq!((answered.code, &answered.json()["reply"]), (0, &"released".into()), "{answered:?}");
    assert_eq!(host.workload("counter")["calls"], 0);
}

#[test]
fn calls_whose_time_is_over_in_a_pause_are_told_so_and_a_late_reply_goes_nowhere() {
    let (host, component) = holding();
    let mut client = host.connect();
    let before = hold(&host, "1s");
    host.eventually("the call waits", || host.workload("counter")["calls"] == 1);
    let config = host.file("slow.toml", b"burn = 3000000000\n");
    let deploy = host.begin_deploy(&component, "1.0.1", &["--timeout", "2m", "--config", config.to_str().unwrap()]);
    host.eventually("the pause has begun", || host.phase() == "code-change");
    let parked = hold(&host, "100ms");
    for call in [before, parked] {
        let done = end(call);
        assert_eq!(done.json()["error"]["kind"], "timed-out", "{done:?}");
    }
    assert_eq!(deploy.end().code, 0, "{}", host.log());
    host.eventually("nobody waits any more", || host.workload("counter")["calls"] == 0);
    let unknown = host.workload("counter")["unknown_ids"].as_u64().unwrap();
    assert_eq!(client.ask("release"), "1.0.0 released 1", "the one that came in the pause was never given to it");
    assert_eq!(host.workload("counter")["unknown_ids"], unknown + 1);
}
