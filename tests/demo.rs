//! `host demo` as a person and as a program runs it.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Done, Host};

fn demo(arguments: &[&str]) -> Done {
    Host::unstarted().cli(&[&["demo"], arguments].concat())
}

#[test]
fn the_demo_loses_nothing_and_its_figures_are_plausible() {
    let done = demo(&["--connections", "20", "--swaps", "3", "--rate", "2000", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let results = done.json();
    assert_eq!((&results["passed"], &results["problems"]), (&true.into(), &serde_json::json!([])), "{results}");
    assert_eq!((&results["connections"]["open"], &results["connections"]["dropped"]), (&20.into(), &0.into()));
    let lines = &results["lines"];
    assert!(lines["sent"].as_u64() > Some(1_000), "{lines}");
    assert_eq!((&lines["answered"], &results["total"]), (&lines["sent"], &lines["sent"]), "{lines}");
    for none in ["lost", "doubled", "out_of_order", "wrong", "dropped"] {
        assert_eq!(lines[none], 0, "{none}");
    }

    let swaps = results["swaps"].as_array().unwrap();
    let wanted: Vec<_> = swaps.iter().map(|swap| swap["wanted"].as_str().unwrap()).collect();
    assert_eq!(wanted, ["upgrade", "rollback", "failure"]);
    for swap in swaps {
        assert_eq!(swap["as_wanted"], true, "{swap}");
        assert!(swap["pause_us"].as_u64() > Some(0) && swap["state_bytes"].as_u64() > Some(0), "{swap}");
        let phases: Vec<_> = swap["phases"].as_array().unwrap().iter().map(|phase| &phase["phase"]).collect();
        assert_eq!(phases[..4], ["prepare", "quiesce", "snapshot", "code-change"], "{swap}");
        seen(&swap["before"]);
        seen(&swap["during"]);
    }
}

/// Latencies over loopback, through a host: some microseconds at least, less than the test waits for anything.
#[track_caller]
fn seen(latencies: &Value) {
    let figure = |name: &str| latencies[name].as_u64().unwrap();
    assert!(figure("lines") > 0, "{latencies}");
    let figures = [5, figure("p50_us"), figure("p99_us"), figure("max_us"), 60_000_000];
    assert!(figures.is_sorted(), "{latencies}");
}

#[test]
fn the_demo_shows_a_person_what_came_of_it() {
    let done = demo(&["--connections", "5", "--swaps", "2", "--rate", "500", "--rows", "1000"]);
    assert_eq!(done.code, 0, "{done:?}");
    for wanted in ["nothing lost, dropped or out of order", "pause", "code-change", "5 open", "rollback to 1.0.0"] {
        assert!(done.stdout.contains(wanted), "`{wanted}` is missing: {done:?}");
    }
    assert!(done.stderr.contains("swap 1: deploy 1.1.0 — permanent, pause"), "plain lines off a terminal: {done:?}");
}

#[test]
fn the_examples_are_written_out_as_they_are_listed() {
    let host = Host::unstarted();
    let folder = host.data().join("components");
    let done = host.cli(&["demo", "--export", folder.to_str().unwrap(), "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let document = done.json();
    let listed = document["files"].as_array().unwrap();
    assert_eq!(listed.len(), example_workloads::all().len());
    for guest in example_workloads::all() {
        let mut files = listed.iter().filter_map(|one| one["file"].as_str()).map(Path::new);
        // By its whole name: `eats-memory.wasm` also ends `code-change-eats-memory.wasm`.
        let file = files.find(|file| file.file_name() == Some(guest.file_name.as_ref()));
        let file = folder.join(file.unwrap_or_else(|| panic!("{} is not listed", guest.file_name)));
        assert!(std::fs::read(&file).unwrap() == guest.component, "{} is another file", file.display());
    }
    let words = host.cli(&["demo", "--export", folder.to_str().unwrap()]);
    assert_eq!(words.code, 0, "again is no error: {words:?}");
    assert!(words.stdout.contains("counter-2.0.0.wasm") && words.stdout.contains("host deploy"), "{words:?}");
}

#[test]
fn a_soak_with_kills_and_failures_finds_nothing_lost_but_what_a_kill_may_take() {
    // A seed whose first round ends with SIGTERM in a swap and whose second with SIGKILL in another.
    let done =
        demo(&["--soak", "20s", "--seed", "1230868", "--connections", "40", "--rate", "300", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let results = done.json();
    assert_eq!((&results["passed"], &results["seed"]), (&true.into(), &1_230_868.into()), "{results}");
    assert_eq!((&results["violations"], &results["problems"]), (&0.into(), &serde_json::json!([])), "{results}");
    for some in ["kills", "terminations"] {
        assert!(results[some].as_u64() > Some(0), "no {some}: {results}");
    }
    let lines = &results["lines"];
    assert!(
        lines["answered"].as_u64() > Some(1_000) && lines["answered"].as_u64() <= lines["sent"].as_u64(),
        "{lines}"
    );
    assert!(lines["reminded"].as_u64() > Some(0), "{lines}");
    let outcomes = results["outcomes"].as_object().unwrap();
    for wanted in ["swap, permanent", "regretted swap, rolled-back", "snapshot-traps on probation, rolled-back"] {
        assert!(outcomes.contains_key(wanted), "`{wanted}` is missing: {results}");
    }
    assert!(outcomes.keys().any(|outcome| outcome.starts_with("fault: ")), "{results}");
    assert!(results["memory"][0]["resident_bytes"].as_u64() > Some(0), "{results}");
    seen(&results["steady"]);
}

#[test]
fn a_soak_shows_a_person_its_seed_and_what_came_of_it() {
    let done = demo(&["--soak", "1s", "--seed", "3", "--connections", "20", "--rate", "100"]);
    assert_eq!(done.code, 0, "{done:?}");
    for wanted in ["✓ seed 3: ", "violations", "memory of the host", "handle-traps on probation, rolled-back"] {
        assert!(done.stdout.contains(wanted), "`{wanted}` is missing: {done:?}");
    }
    assert!(done.stderr.contains("soak of 1s, seed 3") && done.stderr.contains("round 1: "), "{done:?}");
}
