//! `deploy`, `plan` and `rollback` with their flags.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use serde_json::Value;

use super::{report, says};
use crate::harness::Host;

/// Counter 1.0.0 in a file without a version in its name, deployed with a config that gives it three rows.
fn with_rows() -> (Host, String) {
    let host = Host::start();
    let component = host.file("tally.wasm", example_workloads::counter_1_0_0().component);
    let config = host.file("rows.toml", b"rows = 3\n");
    let component = component.to_str().unwrap().to_owned();
    let listen = ["--listen", "tcp://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let words = host.words(&[&["deploy", &component, "--version", "1.0.0"], &listen[..]].concat(), 0);
    says(&words, &["compile", "init", "✓ tally 1.0.0 runs"]);
    (host, component)
}

#[test]
fn a_deploy_keeps_name_listeners_and_config_unless_they_are_given() {
    let (host, _) = with_rows();
    let before = host.workload("tally");
    assert_eq!(host.words(&["call", "tally", "rows"], 0), "3");
    let next = host.file("tally-1.1.0.wasm", example_workloads::counter_1_1_0().component);
    let next = ["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--probation", "0s"];
    let words = host.words(&next, 0);
    says(&words, &["quiesce", "snapshot", "code-change", "✓ tally 1.0.0 → 1.1.0: swapped", "pause", "generation 2"]);
    assert_eq!(host.workload("tally")["listeners"], before["listeners"]);
    assert_eq!(host.words(&["call", "tally", "rows"], 0), "3");

    // The same again is nothing; the same with another config is a swap of its own.
    let document = host.document(&next, 0);
    assert_eq!((&document["report"]["verdict"], &document["report"]["running"]), (&"nothing".into(), &"1.1.0".into()));
    says(&host.words(&next, 0), &["tally 1.1.0 runs already", "nothing to do"]);
    let config = host.file("other.toml", b"rows = 5\n");
    let again = [&next[..], &["--config", config.to_str().unwrap()]].concat();
    let document = host.document(&again, 0);
    assert_eq!(document["report"]["verdict"], "permanent", "{document}");
    assert_eq!(document["report"]["plan"]["direction"], "reconfigure");
    assert_eq!(document["report"]["plan"]["changes"], serde_json::json!([{ "kind": "config", "listener": null }]));
    assert_eq!(host.words(&["call", "tally", "rows"], 0), "3", "its state, rows included, stayed");
    assert_eq!(host.workload("tally")["generation"], 3);
}

#[test]
fn a_new_workload_needs_a_listener() {
    let host = Host::start();
    let done = host.deploy(&host.counter("1.0.0"), "1.0.0", &[]);
    let report = report(&done, 1, "refused");
    says(report["why"].as_str().unwrap(), &["counter is not there yet", "add --listen tcp://127.0.0.1:7000"]);
    assert_eq!(host.json(&["status"])["workloads"], serde_json::json!([]), "nothing was changed");
}

#[test]
fn a_plan_says_what_a_deploy_would_do_and_changes_nothing() {
    let host = Host::with_counter();
    let before = still(&host);
    let next = host.counter("1.1.0");
    let plan = ["plan", next.to_str().unwrap(), "--version", "1.1.0", "--listen", "tcp://127.0.0.1:1"];
    let closes = format!("{} closes; its connections stay", before["listeners"][0].as_str().unwrap());
    let wanted = ["counter 1.0.0 → 1.1.0", "upgrade", "schema 1 becomes schema 2", "without loss"];
    let words = host.words(&plan, 0);
    says(&words, &wanted);
    says(&words, &["tcp://127.0.0.1:1 opens", &closes, "nothing was changed"]);
    let report = &host.document(&plan, 0)["report"];
    assert_eq!((&report["plan"]["kind"], &report["plan"]["way_back"]), (&"swap".into(), &"downgrade".into()));
    assert_eq!((&report["plan"]["state"], &report["plan"]["state_to"]["schema"]), (&"upgrade".into(), &2.into()));
    assert_eq!(still(&host), before);
}

/// What a rehearsal and a plan must leave as it is: all of the status but what time changes.
fn still(host: &Host) -> Value {
    let mut status = host.workload("counter");
    let (state, table) = (host.words(&["call", "counter", "total"], 0), status.as_object_mut().unwrap());
    table.retain(|name, _| !["events", "batches", "checkpoint", "journal_bytes"].contains(&name.as_str()));
    table.insert("total".to_owned(), state.into());
    table.insert("history".to_owned(), host.json(&["history"])["reports"].as_array().unwrap().len().into());
    status
}

#[test]
fn a_dry_run_tells_times_and_sizes_from_a_copy_of_the_live_state_and_changes_nothing() {
    let host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let before = still(&host);
    let next = host.counter("1.1.0");
    let rehearse = ["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--dry-run"];
    let words = host.words(&rehearse, 0);
    let plan = ["schema 1 becomes schema 2", "without loss", "would work, on a copy of the live state"];
    says(&words, &plan);
    says(&words, &["compile", "pre-flight", "init", "snapshot", "code-change", "as the new version writes it"]);
    says(&words, &["guest memory", "of at most 5.00 s: fits", "nothing was changed; counter 1.0.0 is running"]);

    let document = host.document(&rehearse, 0);
    let report = &document["report"];
    assert_eq!((&report["verdict"], &report["running"]), (&"rehearsed".into(), &"1.0.0".into()));
    let names = |list: &str| -> Vec<_> {
        let named = |one: &Value| {
            assert!(one["took_ns"].as_u64().unwrap() > 0, "{one}");
            one["name"].as_str().unwrap().to_owned()
        };
        report[list].as_array().unwrap().iter().map(named).collect()
    };
    assert_eq!(names("phases"), ["quiesce", "snapshot", "code-change"]);
    assert!(["compile", "init", "snapshot", "code-change"].iter().all(|step| names("steps").contains(&(*step).into())));
    let state = &report["state"];
    assert!(state["bytes"].as_u64().unwrap() > 0 && state["bytes_after"].as_u64() > state["bytes"].as_u64(), "{state}");
    assert!(state["peak_memory_bytes"].as_u64().unwrap() >= 65_536, "{state}");
    assert_eq!((&document["pause_fits"], &document["pause_limit_ns"]), (&true.into(), &5_000_000_000_u64.into()));
    assert!(document["pause_ns"].as_u64().unwrap() > 0);

    // History keeps rehearsals; all else is as it was.
    let mut after = still(&host);
    let rehearsals = host.reports_of("counter").iter().filter(|report| report["kind"] == "rehearsal").count();
    after["history"] = (after["history"].as_u64().unwrap() - rehearsals as u64).into();
    assert_eq!(after, before);
    assert_eq!(client.ask("incr"), "1.0.0 2");
}

#[test]
fn a_dry_run_says_when_the_pause_would_not_fit() {
    let host = Host::with_counter();
    let (slow, config) = (host.fault("code-change-slow"), host.file("slow.toml", b"burn = 1000000000\n"));
    // Long for a snapshot on any machine, short for that `code-change`.
    let rehearse = ["--name", "counter", "--version", "1.0.1", "--dry-run", "--timeout", "200ms"];
    let files = ["deploy", slow.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let rehearse = [&files[..], &rehearse].concat();
    says(&host.words(&rehearse, 1), &["would not work", "more than 200ms (--timeout)", "does NOT fit"]);
    let document = host.document(&rehearse, 1);
    assert_eq!((&document["pause_fits"], &document["report"]["verdict"]), (&false.into(), &"refused".into()));
    assert!(document["pause_ns"].as_u64() > document["pause_limit_ns"].as_u64(), "{document}");
}

#[test]
fn a_dry_run_cuts_a_snapshot_off_where_the_swap_would() {
    let host = Host::start();
    let stuck = host.fault("snapshot-never-returns");
    assert_eq!(host.deploy(&stuck, "1.0.0", &["--listen", "tcp://127.0.0.1:0"]).code, 0);
    let mut client = host.connect();
    client.ask("break");
    let refused =
        report(&host.deploy(&host.counter("1.1.0"), "1.1.0", &["--dry-run", "--timeout", "300ms"]), 1, "refused");
    says(refused["why"].as_str().unwrap(), &["snapshot did not end within 300ms (--timeout)"]);
    assert_eq!(client.ask("incr"), "1.0.0 1", "it was made anew, its connections open");
}

#[test]
fn a_lower_version_is_deployed_only_when_it_is_meant() {
    let host = Host::with_counter();
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
    let refused = report(&host.deploy(&host.counter("1.0.0"), "1.0.0", &[]), 1, "refused");
    says(refused["why"].as_str().unwrap(), &["1.0.0 is lower than 1.1.0", "--downgrade", "host rollback counter"]);
    let done = report(&host.deploy(&host.counter("1.0.0"), "1.0.0", &["--downgrade"]), 0, "permanent");
    assert_eq!((&done["plan"]["direction"], &done["plan"]["state"]), (&"downgrade".into(), &"downgrade".into()));
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
}

#[test]
fn a_swap_that_nothing_leads_back_from_is_made_only_when_it_is_meant() {
    let host = Host::start();
    let ahead = host.fault("downgrade-only");
    assert_eq!(host.deploy(&ahead, "2.0.0", &["--listen", "tcp://127.0.0.1:0"]).code, 0);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1", "it speaks as the counter that it has in it");
    let older = host.counter("1.0.0");
    let plan = ["plan", older.to_str().unwrap(), "--name", "counter", "--version", "1.0.0", "--downgrade"];
    assert_eq!(host.document(&plan, 0)["report"]["plan"]["way_back"], "none");
    says(&host.words(&plan, 0), &["way back", "none", "--one-way"]);
    let refused = report(&host.deploy(&older, "1.0.0", &["--downgrade"]), 1, "refused");
    says(refused["why"].as_str().unwrap(), &["nothing leads back from 1.0.0 to 2.0.0", "schema 1", "--one-way"]);
    assert_eq!(host.workload("counter")["version"], "2.0.0");
    let way = ["--downgrade", "--one-way", "--probation", "10m"];
    let done = report(&host.deploy(&older, "1.0.0", &way), 0, "permanent");
    assert_eq!(done["plan"]["way_back"], "none");
    assert_eq!(client.ask("incr"), "1.0.0 2");
}

#[test]
fn a_drain_answers_old_connections_before_it_closes_them_and_new_ones_live_on() {
    let host = Host::with_counter();
    let mut old: Vec<_> = (0..10).map(|_| BufReader::new(TcpStream::connect(host.address()).unwrap())).collect();
    for client in &mut old {
        speak(client).expect("it is open");
    }
    let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--drain", "500ms"]);
    // Each speaks until it is closed: what was answered last is the last that was taken.
    let mut answered = 10;
    for mut client in old {
        while speak(&mut client).is_some() {
            answered += 1;
        }
    }
    let mut new = host.connect();
    let mut mine = 0;
    while !new.ask("incr").starts_with("1.1.0") {
        mine += 1;
    }
    let report = report(&deploy.end(), 0, "permanent");
    assert!(report["steps"].as_array().unwrap().iter().any(|step| step["name"] == "drain"), "{report}");
    assert_eq!(new.ask("incr"), format!("1.1.0 {} 2", answered + mine + 2), "each line was counted once, and answered");
}

/// Says `incr`; the answer, unless the connection is closed.
fn speak(client: &mut BufReader<TcpStream>) -> Option<String> {
    let mut answer = String::new();
    client.get_mut().write_all(b"incr\n").ok()?;
    client.read_line(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

#[test]
fn listeners_given_anew_replace_the_old_ones_and_connections_stay() {
    let host = Host::with_counter();
    let (mut old, before) = (host.connect(), host.address());
    assert_eq!(old.ask("incr"), "1.0.0 1");
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--listen", "tcp://127.0.0.1:0"]);
    let report = report(&done, 0, "permanent");
    let kinds: Vec<_> = report["plan"]["changes"].as_array().unwrap().iter().map(|change| &change["kind"]).collect();
    assert_eq!(kinds, ["opens", "closes"], "{report}");
    assert_ne!(host.address(), before);
    assert!(TcpStream::connect(before).is_err(), "nobody listens at {before} any more");
    assert_eq!(host.connect().ask("incr"), "1.1.0 2 1");
    assert_eq!(old.ask("incr"), "1.1.0 3 1");
}

#[test]
fn a_version_that_fails_once_it_serves_is_exit_code_3() {
    let host = Host::with_counter();
    let mut client = host.connect();
    let fails = host.fault("handle-traps-after-swap");
    let deploy = host.begin_deploy(&fails, "1.0.1", &["--probation", "1m"]);
    host.eventually("the new version serves", || host.phase() == "probation");
    client.send("incr\n");
    let report = report(&deploy.end(), 3, "rolled-back");
    assert_eq!(report["running"], "1.0.0");
    assert!(report["why"].as_str().is_some_and(|why| why.contains("trap")), "{report}");
    assert_eq!(report["way"], "downgrade");
    assert_eq!(client.line(), "1.0.0 1", "the version before answers the line that it trapped on");
    says(&host.words(&["history", "counter"], 0), &["rolled-back"]);
}

#[test]
fn a_rollback_goes_to_the_version_before_or_to_the_one_named() {
    let host = Host::with_counter();
    host.refuses(&["rollback", "counter"], 1, &["counter has no predecessor", "host versions counter"]);
    for version in ["1.1.0", "2.0.0"] {
        assert_eq!(host.deploy(&host.counter(version), version, &[]).code, 0);
    }
    says(&host.words(&["rollback", "counter"], 0), &["✓ counter 2.0.0 → 1.1.0: swapped"]);
    let document = host.document(&["rollback", "counter", "--to", "1.0.0"], 0);
    assert_eq!((&document["report"]["kind"], &document["report"]["running"]), (&"rollback".into(), &"1.0.0".into()));
    host.refuses(&["rollback", "counter", "--to", "3.0.0"], 1, &["no stored version 3.0.0", "host versions counter"]);
    host.refuses(&["rollback", "nobody"], 1, &["no workload is named nobody", "there is counter"]);
}
