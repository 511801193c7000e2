//! The verbs that look, call, stop and start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{report, says};
use crate::harness::Host;

#[test]
fn status_shows_the_host_and_each_workload_and_one_of_them_closely() {
    let host = Host::start();
    says(&host.words(&["status"], 0), &["no workloads yet", "host deploy FILE --version 1.0.0 --listen"]);
    host.start_counter();
    let _client = host.connect();
    host.eventually("the connection is seen", || host.workload("counter")["connections"] == 1);
    says(&host.words(&["status"], 0), &["host 0.1.0 · pid", "NAME", "counter  running  1.0.0    1           1"]);
    let document = host.document(&["status"], 0);
    assert_eq!(document["host"]["version"], "0.1.0");
    assert_eq!(document["host"]["data"], host.data().to_str().unwrap());
    assert!(document["host"]["connection_capacity"].as_u64().unwrap() > 0);
    assert_eq!(document["workloads"][0], host.workload("counter"));
    says(&host.words(&["status", "counter"], 0), &["counter: running", "1.0.0 (", "schema 1", "tcp://127.0.0.1:"]);
    let workload = host.workload("counter");
    assert_eq!((&workload["state"], &workload["version"]), (&"running".into(), &"1.0.0".into()));
    assert_eq!((&workload["instances"], &workload["restarts"]), (&1.into(), &0.into()));
    host.refuses(&["status", "nobody"], 1, &["no workload is named nobody", "there is counter"]);
}

#[test]
fn versions_tell_which_runs_and_which_ran_before() {
    let host = Host::with_counter();
    for version in ["1.1.0", "2.0.0"] {
        assert_eq!(host.deploy(&host.counter(version), version, &[]).code, 0);
    }
    says(&host.words(&["versions", "counter"], 0), &["VERSION", "predecessor", "current", "stored"]);
    let document = host.document(&["versions", "counter"], 0);
    let places: Vec<_> =
        document["versions"].as_array().unwrap().iter().map(|one| (&one["version"], &one["place"])).collect();
    let wanted = ["1.0.0 stored", "1.1.0 predecessor", "2.0.0 current"].map(|line| line.split_once(' ').unwrap());
    assert_eq!(places, wanted.map(|(version, place)| (json!(version), json!(place))).each_ref().map(|(v, p)| (v, p)));
    host.refuses(&["versions", "nobody"], 1, &["no workload is named nobody"]);
}

#[test]
fn history_begins_with_the_newest_and_ends_at_its_limit() {
    let host = Host::with_counter();
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
    assert_eq!(host.deploy(&host.fault("code-change-errors"), "1.1.1", &[]).code, 1);
    host.words(&["rollback", "counter"], 0);
    let of = |arguments: &[&str]| -> Vec<String> {
        let document = host.document(arguments, 0);
        let reports = document["reports"].as_array().unwrap();
        reports.iter().map(|report| format!("{} {}", report["kind"], report["verdict"]).replace('"', "")).collect()
    };
    let all = ["rollback permanent", "deploy aborted", "deploy permanent", "start started"];
    assert_eq!(of(&["history", "counter"]), all);
    assert_eq!(of(&["history"]), all);
    assert_eq!(of(&["history", "counter", "--limit", "1"]), all[..1]);
    let words = host.words(&["history", "counter"], 0);
    says(&words, &["SWAP  BEGAN (UTC)", "quiesce", "aborted: "]);
    assert!(words.find("rollback").unwrap() < words.find("start ").unwrap(), "newest first:\n{words}");
    host.refuses(&["history", "nobody"], 1, &["no workload is named nobody", "there is counter"]);
}

#[test]
fn health_has_the_workloads_words_and_what_the_host_sees() {
    let host = Host::with_counter();
    host.connect().ask("incr");
    says(&host.words(&["health"], 0), &["counter: ok", "total  1"]);
    let document = host.document(&["health", "counter"], 0);
    assert_eq!(document["workloads"][0]["status"], "ok");
    assert_eq!(document["workloads"][0]["details"][0], json!({ "name": "total", "value": "1" }));
    let fails = host.fault("health-fails");
    let other = ["--name", "ill", "--listen", "tcp://127.0.0.1:0"];
    report(&host.deploy(&fails, "1.0.0", &other), 0, "started");
    says(&host.words(&["health", "ill"], 4), &["ill: failed"]);
    assert_eq!(host.document(&["health"], 4)["workloads"].as_array().unwrap().len(), 2);
    host.refuses(&["health", "nobody"], 1, &["no workload is named nobody"]);
}

#[test]
fn events_are_chosen_by_name_and_number_and_followed() {
    let host = Host::with_counter();
    let follow = ["events", "--follow", "--filter", "swap.*", "--output", "json"];
    let mut follower = host.command(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
    let mut followed: Vec<Value> = Vec::new();
    while followed.last().is_none_or(|event| event["name"] != "swap.permanent") {
        followed.push(serde_json::from_str(&lines.next().expect("it goes on").unwrap()).unwrap());
    }
    assert!(followed.iter().all(|event| event["schema_version"] == 1));
    assert!(followed.iter().all(|event| event["name"].as_str().unwrap().starts_with("swap.")), "{followed:?}");
    assert!(followed.is_sorted_by_key(|event| event["seq"].as_u64()), "{followed:?}");
    let phases: Vec<_> = followed.iter().filter(|event| event["name"] == "swap.phase").collect();
    assert!(phases.iter().any(|event| event["message"] == "code-change"), "{followed:?}");

    // Those that are there, from a number on.
    let last = followed.last().unwrap();
    let from = last["seq"].to_string();
    let done = host.cli(&["events", "--from", &from, "--output", "json"]);
    let first: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(&first, last);
    says(&host.words(&["events", "--filter", "host.*"], 0), &["host.started"]);
    assert!(!host.words(&["events", "--filter", "host.*"], 0).contains("swap."));

    // The host's end is the end of what is followed.
    let mut host = host;
    assert_eq!(host.terminate(), 0);
    assert_eq!(lines.count(), 0);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn a_call_gives_the_reply_the_workloads_error_or_the_end_of_patience() {
    let host = Host::with_counter();
    assert_eq!(host.cli(&["call", "counter", "total"]).stdout, "0");
    let document = host.document(&["call", "counter", "total"], 0);
    assert_eq!(
        (&document["method"], &document["reply"], &document["reply_hex"]),
        (&json!("total"), &json!("0"), &Value::Null)
    );
    let mut piped = host.command(&["call", "counter", "add-rows", "-"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"7").unwrap();
    assert_eq!(piped.wait_with_output().unwrap().stdout, b"7");
    host.refuses(&["call", "counter", "nope"], 1, &["counter answered: no method \"nope\""]);
    host.refuses(&["call", "nobody", "total"], 1, &["no workload is named nobody"]);

    let busy = host.fault("handle-busy");
    report(&host.deploy(&busy, "1.0.0", &["--name", "busy", "--listen", "tcp://127.0.0.1:0"]), 0, "started");
    let mut client = host.connect_to("busy");
    client.send("busy 2000\n");
    let call = ["call", "busy", "total", "--timeout", "50ms"];
    host.eventually("it is busy", || host.cli(&call).code != 0);
    host.refuses(&call, 1, &["busy did not answer within 50ms", "it may still do what was asked"]);
    assert_eq!(client.line(), "1.0.0 busy done");
}

#[test]
fn a_workload_is_stopped_with_its_state_started_again_and_removed() {
    let mut host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let batches = host.workload("counter")["batches"].as_u64().unwrap();
    host.refuses(&["remove", "counter"], 1, &["counter runs", "host stop counter"]);
    says(&host.words(&["stop", "counter"], 0), &["✓ counter: stopped; its state is kept"]);
    assert_eq!(client.line(), "", "a stop closes its connections");

    says(&host.words(&["status", "counter"], 4), &["counter: stopped", "host start counter"]);
    let kept = host.workload("counter")["checkpoint"].clone();
    assert_eq!(
        (host.workload("counter")["state"].clone(), &kept["batches"]),
        (json!("stopped"), &json!(batches)),
        "{kept}"
    );
    assert_eq!(host.terminate(), 0);
    host.run();
    assert_eq!(host.workload("counter")["checkpoint"], kept, "what is kept is still known after a start of the host");
    host.refuses(&["call", "counter", "total"], 4, &["counter is stopped", "host start counter"]);
    host.refuses(&["stop", "counter"], 1, &["counter is stopped already"]);

    let document = host.document(&["start", "counter"], 0);
    assert_eq!((&document["report"]["verdict"], &document["report"]["running"]), (&json!("done"), &json!("1.0.0")));
    assert_eq!(host.connect().ask("incr"), "1.0.0 2");

    assert_eq!(host.document(&["stop", "counter"], 0)["report"]["kind"], "operation");
    says(&host.words(&["remove", "counter"], 0), &["✓ counter: removed, with its state and its versions"]);
    for verb in ["status", "versions", "start", "stop", "remove"] {
        host.refuses(&[verb, "counter"], 1, &["no workload is named counter"]);
    }
    says(&host.words(&["history", "counter"], 0), &["operation", "started"]);
}

#[test]
fn a_component_is_inspected_without_a_host() {
    let host = Host::unstarted();
    let component = host.counter("1.1.0");
    let component = component.to_str().unwrap();
    says(&host.words(&["inspect", component], 0), &["writes  schema 2", "downgrades to  schema 1", "wasi:io/streams"]);
    let document = host.document(&["inspect", component], 0);
    assert_eq!((&document["unfit"], &document["description"]["writes"]["schema"]), (&Value::Null, &json!(2)));
    assert_eq!(document["description"]["upgrades_from"][0]["schema"], 1);
    assert!(!host.data().join("ledger.sqlite").exists() && !host.data().join("control").exists(), "it is no host");

    let other = host.fault("another-world");
    says(&host.words(&["inspect", other.to_str().unwrap()], 1), &["no workload", "exports  greet"]);
    let document = host.document(&["inspect", other.to_str().unwrap()], 1);
    assert!(document["unfit"].as_str().unwrap().contains("lifecycle"), "{document}");
    for (name, bytes, wanted) in [
        ("module.wasm", example_workloads::NOT_A_COMPONENT, "is a core WebAssembly module, not a component"),
        ("text.wasm", b"rubbish", "is no WebAssembly at all"),
        ("empty.wasm", b"", "is no WebAssembly at all"),
    ] {
        host.refuses(&["inspect", host.file(name, bytes).to_str().unwrap()], 1, &[name, wanted, "wasm32-wasip2"]);
    }
    host.refuses(&["inspect", "/nowhere.wasm"], 1, &["there is no file /nowhere.wasm"]);
}

#[test]
fn each_shell_has_its_completions() {
    let host = Host::unstarted();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = host.cli(&["completions", shell]).stdout;
        says(&script, &["rollback", "dry-run"]);
    }
}
