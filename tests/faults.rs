//! Guests that fail, one by one, while clients are connected: what is lost is nothing, or it is said.

use std::path::Path;

use example_workloads::NOT_A_COMPONENT;
use serde_json::Value;

use crate::harness::{Done, Host, Traffic};

/// Enough for any call of these guests, and burnt in a tenth of a second by one that never returns.
const LITTLE_FUEL: &str = "150000000";

/// Deploys a fault in place of counter 1.0.0 while clients count, and checks that it came to `verdict` and that every one
/// of `words` is in the reason. Nothing may have changed.
#[track_caller]
fn changes_nothing(host: &Host, component: &Path, arguments: &[&str], verdict: &str, words: &[&str]) -> Value {
    let done = host.deploy(component, "1.0.1", arguments);
    assert_eq!(done.code, 1, "{done:?}\n{}", host.log());
    let report = done.json()["report"].clone();
    assert_eq!(report["verdict"], verdict, "{report}");
    let why = report["why"].as_str().unwrap_or_else(|| panic!("no reason is given: {report}"));
    for word in words {
        assert!(why.contains(word), "`{word}` is not in `{why}`");
    }
    let workload = host.workload("counter");
    assert_eq!((&workload["state"], &workload["version"]), (&"running".into(), &"1.0.0".into()), "{workload}");
    assert_eq!((&workload["generation"], &workload["swap"]), (&1.into(), &Value::Null), "{workload}");
    assert_eq!(host.newest_report()["why"], why, "the history has it");
    report
}

/// Checks that counter 1.1.0 can still be deployed, and where the total stands.
#[track_caller]
fn goes_on_with(host: &Host, total: u64) {
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(host.connect().ask("incr"), format!("1.1.0 {} 1", total + 1));
}

/// A host where this fault serves as counter 1.0.0.
fn serving(fault: &str, arguments: &[&str]) -> Host {
    let host = Host::start_with(arguments, &[]);
    let done = host.deploy(&host.fault(fault), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    host
}

/// The messages of the counter's events of that name.
fn told(host: &Host, name: &str) -> Vec<String> {
    let events = host.events(name);
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Waits until all that was handled is in a checkpoint on disk.
fn checkpointed(host: &Host) {
    host.eventually("everything is checkpointed", || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    });
}

#[track_caller]
fn verdict(done: &Done) -> (i32, String) {
    let report = &done.json()["report"];
    (done.code, report["verdict"].as_str().unwrap_or_else(|| panic!("{done:?}")).to_owned())
}

#[test]
fn a_failing_code_change_keeps_the_predecessor_and_loses_nothing() {
    let host = Host::with_counter();
    let mut open = host.connect();
    let traffic = Traffic::start(host.address(), 4, 0);
    for (fault, timeout, words) in [
        ("code-change-errors", "5s", "can't take over the state of 1.0.0, on purpose"),
        ("code-change-traps", "5s", "code-change from 1.0.0 traps, on purpose"),
        ("code-change-never-returns", "300ms", "did not end before the deadline (--timeout)"),
        ("code-change-eats-memory", "60s", "memory"),
    ] {
        let words = ["code-change failed", words];
        let report = changes_nothing(&host, &host.fault(fault), &["--timeout", timeout], "aborted", &words);
        let phases: Vec<_> = report["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
        assert_eq!(phases, ["prepare", "quiesce", "snapshot", "code-change"], "{report}");
        assert!(report["pause_ns"].is_u64(), "the pause there was is reported: {report}");
    }
    let total = traffic.stop();
    assert_eq!(open.ask("incr"), format!("1.0.0 {}", total + 1));
    goes_on_with(&host, total + 1);
}

#[test]
fn what_can_never_take_over_is_refused_with_words_and_nobody_notices() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 4, 0);
    let not_a_component = host.file("not-a-component.wasm", NOT_A_COMPONENT);
    let cut = {
        let whole = host.counter("1.1.0");
        let bytes = std::fs::read(whole).unwrap();
        host.file("cut.wasm", &bytes[..bytes.len() / 2])
    };
    for (component, words) in [
        (host.fault("state-type-changed"), &["schema 1", "type is not the same", "raise the number"][..]),
        (host.fault("unmigratable"), &["no step leads", "writes schema 1", "takes 9"]),
        (not_a_component, &["component"]),
        (cut, &["component"]),
        (host.fault("another-world"), &["hotswap:workload"]),
        (host.fault("init-errors"), &["this version refuses every config, on purpose"]),
        (host.fault("init-traps"), &["init traps, on purpose"]),
        (host.fault("describe-traps"), &["describe traps, on purpose"]),
    ] {
        changes_nothing(&host, &component, &[], "refused", words);
        // Force never skips any of this.
        changes_nothing(&host, &component, &["--force"], "refused", words);
    }
    goes_on_with(&host, traffic.stop());
}

#[test]
fn a_snapshot_that_errors_aborts_and_the_last_checkpoint_gets_past_it() {
    let host = serving("snapshot-errors", &[]);
    let traffic = Traffic::start(host.address(), 4, 0);
    let mut client = host.connect();
    assert_eq!(client.ask("break"), "1.0.0 broken");
    let next = host.counter("1.1.0");
    let done = host.deploy(&next, "1.1.0", &[]);
    assert_eq!(verdict(&done), (1, "aborted".to_owned()));
    let why = done.json()["report"]["why"].as_str().unwrap().to_owned();
    assert_eq!(why, "snapshot failed: this state can't be written, on purpose");
    let total = traffic.stop();
    assert_eq!(client.ask("incr"), format!("1.0.0 {}", total + 1));
    assert_eq!(host.workload("counter")["restarts"], 0, "an error leaves the instance whole");

    // In words this time: what it costs is said before and after.
    let file = next.to_str().unwrap();
    let done = host.cli(&[
        "deploy",
        file,
        "--name",
        "counter",
        "--version",
        "1.1.0",
        "--probation",
        "0s",
        "--state-from",
        "last-checkpoint",
    ]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert!(done.stderr.contains("the state is taken from the checkpoint after batch 0"), "{done:?}");
    let report = host.newest_report();
    let (batches, events) = (report["cost"]["batches"].as_u64().unwrap(), report["cost"]["events"].as_u64().unwrap());
    assert!(batches > 0 && events > total, "{report}");
    assert!(done.stdout.contains(&events.to_string()), "the cost is said: {done:?}");
    assert_eq!(client.ask("incr"), "1.1.0 1 1", "the connection is open, the state that of the start");
}

#[test]
fn a_snapshot_that_traps_aborts_and_the_instance_is_made_anew_with_its_connections_open() {
    snapshot_costs_the_instance("snapshot-traps", "5s", "snapshot traps, on purpose");
}

#[test]
fn a_snapshot_that_never_returns_is_cut_off_at_the_deadline_and_the_instance_made_anew() {
    snapshot_costs_the_instance("snapshot-never-returns", "300ms", "did not end before the deadline (--timeout)");
}

#[track_caller]
fn snapshot_costs_the_instance(fault: &str, timeout: &str, words: &str) {
    let host = serving(fault, &[]);
    let (mut client, mut other) = (host.connect(), host.connect());
    for total in 1..=3 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    assert_eq!(client.ask("break"), "1.0.0 broken");
    let next = host.counter("1.1.0");
    let done = host.deploy(&next, "1.1.0", &["--timeout", timeout]);
    assert_eq!(verdict(&done), (1, "aborted".to_owned()), "{}", host.log());
    let report = done.json()["report"].clone();
    let why = report["why"].as_str().unwrap();
    assert!(why.starts_with("snapshot failed") && why.contains(words), "{why}");
    assert_eq!((&report["running"], &report["generation"]), (&"1.0.0".into(), &1.into()));
    assert!(report["notes"][0].as_str().unwrap().contains("made anew"), "{report}");

    // As it was: both connections count on, nothing is lost, and it is said.
    assert_eq!(client.ask("incr"), "1.0.0 4");
    assert_eq!(other.ask("incr"), "1.0.0 5");
    assert_eq!(host.workload("counter")["restarts"], 1);
    let [told] = &told(&host, "workload.restarted")[..] else { panic!("told once") };
    assert!(told.contains("1.0.0 runs again as it was: ") && told.contains("nothing is lost"), "{told}");
    let recovery = host.reports_of("counter").into_iter().find(|report| report["kind"] == "recovery").unwrap();
    assert_eq!(recovery["cost"], Value::Null, "{recovery}");

    // As broken as it was, it is got past at a price that is told.
    let done = host.deploy(&next, "1.1.0", &["--state-from", "last-checkpoint"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    assert!(done.json()["report"]["cost"]["events"].as_u64().unwrap() >= 8, "two opened, six lines: {done:?}");
    assert_eq!(client.ask("incr"), "1.1.0 1 1");
    assert_eq!(other.ask("incr"), "1.1.0 2 1");
}

#[test]
fn a_periodic_snapshot_that_errors_stops_itself_and_never_the_workload() {
    let host = serving("snapshot-errors", &["--checkpoint-every", "20ms"]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    checkpointed(&host);
    assert_eq!(client.ask("break"), "1.0.0 broken");
    host.eventually("health is degraded", || host.health("counter")["status"] == "degraded");
    let details = host.health("counter")["details"].to_string();
    assert!(details.contains("is not checkpointed any more") && details.contains("last-checkpoint"), "{details}");
    assert_eq!(client.ask("incr"), "1.0.0 2");
    // The checkpoint from before it broke is good: only what came after it is lost.
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--state-from", "last-checkpoint"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    assert_eq!(client.ask("incr"), "1.1.0 2 1");
    assert_eq!(host.health("counter")["status"], "ok", "another release, another chance");
}

/// Each serves beside a counter that must notice nothing.
#[test]
fn a_handle_that_fails_loses_nothing_and_the_event_at_fault_is_set_aside_with_its_connection() {
    let host = Host::start_with(&["--checkpoint-every", "10m", "--handle-fuel", LITTLE_FUEL], &[]);
    host.start_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    for (name, line, words) in [
        ("handle-never-returns", "hang", "fuel"),
        ("handle-sleeps", "sleep", "sleep"),
        ("handle-traps", "trap", "handle traps, on purpose"),
        ("exits", "exit", "exit"),
    ] {
        let listen = ["--listen", "tcp://127.0.0.1:0", "--name", name];
        let done = host.deploy(&host.fault(name), "1.0.0", &listen);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        let (mut client, mut other) = (host.connect_to(name), host.connect_to(name));
        assert_eq!(client.ask("incr"), "1.0.0 1");
        assert_eq!(other.ask("incr"), "1.0.0 2");
        client.send(&format!("{line}\n"));
        assert_eq!(client.line(), "", "{name}: the connection that brought the line is closed");
        assert_eq!(other.ask("incr"), "1.0.0 3", "{name}: nobody else lost anything");
        host.eventually("one connection is left", || host.workload(name)["connections"] == 1);
        let workload = host.workload(name);
        assert_eq!((&workload["restarts"], &workload["set_aside"]), (&1.into(), &1.into()), "{workload}");

        let reports = host.reports_of(name);
        let recovery = reports.iter().find(|report| report["kind"] == "recovery").unwrap();
        assert_eq!(recovery["cost"], Value::Null, "{recovery}");
        let notes = recovery["notes"].to_string();
        assert!(notes.contains(words) && notes.contains("nothing is lost"), "{recovery}");
        assert!(notes.contains("set aside: ") && notes.contains(line), "{recovery}");
        let events = host.events("workload.set-aside");
        let event = events.iter().find(|event| event["workload"] == name).unwrap();
        assert!(event["message"].as_str().unwrap().contains(line), "{event}");
        assert!(host.log().contains("set aside: "), "the log says what the event says");
    }
    assert_eq!(host.workload("counter")["restarts"], 0);
    traffic.stop();
}

#[test]
fn one_poisonous_line_among_many_is_found_and_the_others_are_answered_once() {
    let host = serving("handle-traps", &["--checkpoint-every", "10m"]);
    let traffic = Traffic::start(host.address(), 6, 0);
    for restart in 1..=4 {
        let mut poison = host.connect();
        poison.send("trap\n");
        assert_eq!(poison.line(), "", "only its own connection is closed");
        host.eventually("it is made anew", || host.workload("counter")["set_aside"] == restart);
    }
    let total = traffic.stop();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
    let replayed = host.json(&["replay", "counter"]);
    assert_eq!(replayed["report"]["verdict"], "replayed", "after all that it equals one that never failed: {replayed}");
}

#[test]
fn a_health_that_traps_costs_nothing_and_is_not_asked_again() {
    let host = serving("health-traps", &[]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(client.ask("break"), "1.0.0 broken");
    for _ in 0..8 {
        let health = host.health("counter");
        assert_eq!(health["status"], "failed", "{health}");
        assert!(health["details"].to_string().contains("health traps, on purpose"), "{health}");
    }
    assert_eq!(host.workload("counter")["restarts"], 1);
    assert_eq!(client.ask("incr"), "1.0.0 2");
}

#[test]
fn too_many_restarts_park_the_connections_until_another_release_takes_the_last_checkpoint() {
    let host = serving("handle-traps", &["--restarts", "1", "--checkpoint-every", "20ms"]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    checkpointed(&host);
    fails_for_good(&host);

    // Parked, in order, from connections old and new; and no deploy takes a live state that isn't there.
    client.send("incr\nin");
    let mut late = host.connect();
    host.eventually("the line is parked", || host.workload("counter")["queued_events"].as_u64() >= Some(2));
    late.send("incr\n");
    client.send("cr\nincr\n");
    host.eventually("all lines are parked", || host.workload("counter")["queued_events"].as_u64() >= Some(4));
    let next = host.counter("1.1.0");
    let done = host.deploy(&next, "1.1.0", &[]);
    assert_eq!(verdict(&done), (1, "refused".to_owned()));
    assert!(done.json()["report"]["why"].as_str().unwrap().contains("stopped"), "{done:?}");

    let done = host.deploy(&next, "1.1.0", &["--state-from", "last-checkpoint"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    assert_eq!(done.json()["report"]["from"], "1.0.0", "{done:?}");
    let answers = [client.line(), client.line(), client.line()];
    let mine: Vec<_> = answers.iter().map(|answer| answer.rsplit(' ').next().unwrap()).collect();
    assert_eq!(mine, ["1", "2", "3"], "{answers:?}");
    assert_eq!(answers[0], "1.1.0 2 1");
    assert!(late.line().ends_with(" 1"));
    assert_eq!(client.ask("incr"), "1.1.0 6 4", "five lines were parked or came since, none was lost");
    assert_eq!(host.cli(&["status", "counter"]).code, 0);
}

#[test]
fn a_failed_workload_is_tried_again_by_hand_and_goes_on_where_it_was() {
    let host = serving("handle-traps", &["--restarts", "1", "--checkpoint-every", "10m"]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    fails_for_good(&host);
    client.send("incr\n");
    let done = host.cli(&["start", "counter"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(client.line(), "1.0.0 2", "nothing was lost, and no checkpoint was needed");
    assert_eq!(host.workload("counter")["state"], "running");
}

/// Lets `handle-traps` trap until its host gives up on it.
#[track_caller]
fn fails_for_good(host: &Host) {
    let mut first = host.connect();
    first.send("trap\n");
    assert_eq!(first.line(), "");
    host.eventually("it was made anew", || host.workload("counter")["set_aside"] == 1);
    host.connect().send("trap\n");
    host.eventually("it is given up", || host.cli(&["status", "counter"]).code == 4);
    let done = host.cli(&["status", "counter", "--output", "json"]);
    let workload = &done.json()["workload"];
    assert_eq!((&workload["state"], &workload["instances"]), (&"failed".into(), &0.into()), "{workload}");
    let why = workload["why"].as_str().unwrap();
    for words in
        ["more than 1 times", "handle traps, on purpose", "connections are parked", "--state-from last-checkpoint"]
    {
        assert!(why.contains(words), "`{words}` is not in `{why}`");
    }
    assert_eq!(told(host, "workload.stopped"), [why]);
}

#[test]
fn a_workload_that_traps_at_its_start_is_given_up() {
    let host = serving("handle-traps-always-after-start", &[]);
    host.eventually("it is given up", || host.cli(&["status", "counter"]).code == 4);
    let why = told(&host, "workload.failed");
    assert!(why[0].contains("started(Fresh) traps"), "{why:?}");
    assert_eq!(why.len(), 1, "no instance can do without its first event: {why:?}");
    assert!(told(&host, "workload.stopped")[0].contains("it fails at its start"), "{}", host.log());
}

#[test]
fn a_release_that_traps_at_its_start_is_rolled_back_and_nothing_is_lost() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 1, 0);
    let done = host.deploy(&host.fault("handle-traps-always-after-start"), "1.0.1", &[]);
    assert_eq!(verdict(&done), (3, "rolled-back".to_owned()), "{}", host.log());
    let report = done.json()["report"].clone();
    assert!(report["why"].as_str().unwrap().contains("started(Swapped"), "{report}");
    assert_eq!((&report["running"], &report["way"]), (&"1.0.0".into(), &"downgrade".into()), "{report}");
    assert_eq!(report["cost"], Value::Null, "{report}");
    let total = traffic.stop();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
}

#[test]
fn a_batch_that_is_busy_past_the_deadline_aborts_the_swap_at_the_deadline() {
    let host = serving("handle-busy", &["--handle-fuel", "1000000000000", "--handle-timeout", "2m"]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let next = host.counter("1.1.0");
    // Compiled ahead: that may take longer than the guest is busy.
    assert_eq!(host.cli(&["plan", next.to_str().unwrap(), "--version", "1.1.0", "--name", "counter"]).code, 0);
    let mut other = host.connect();
    for (arguments, total) in [(&["--timeout", "100ms", "--force"][..], 2), (&["--timeout", "100ms"], 3)] {
        // Some seconds; the deploy must not wait for its end.
        client.send("busy 8000\n");
        let mut probes = Vec::new();
        host.eventually("it is busy: two who came one after the other wait", || {
            probes.push(host.connect());
            host.workload("counter")["queued_events"].as_u64() >= Some(2)
        });
        other.send("incr\n");
        let done = host.deploy(&next, "1.1.0", arguments);
        assert!(!client.has_answer(), "the report came before the batch was over: {done:?}\n{}", host.log());
        assert_eq!(verdict(&done), (1, "aborted".to_owned()), "{}", host.log());
        let report = done.json()["report"].clone();
        assert_eq!(report["why"], "the running batch did not end within 100ms (--timeout)", "{report}");
        assert_eq!(report["running"], "1.0.0");
        assert_eq!(client.line(), "1.0.0 busy done");
        assert_eq!(other.line(), format!("1.0.0 {total}"));
    }
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    assert_eq!(client.ask("incr"), "1.1.0 4 1");
}

#[test]
fn a_release_whose_health_fails_is_rolled_back_by_the_smoke_check_and_loses_nothing() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 4, 0);
    let component = host.fault("health-fails");
    let done = host.deploy(&component, "1.0.1", &[]);
    assert_eq!(verdict(&done), (3, "rolled-back".to_owned()), "{}", host.log());
    let report = done.json()["report"].clone();
    let why = report["why"].as_str().unwrap();
    assert!(why.contains("smoke check") && why.contains("reason=on purpose"), "{why}");
    assert_eq!((&report["way"], &report["cost"]), (&"downgrade".into(), &Value::Null), "{report}");

    // Forced, it stays; and then pre-flight asks for force to get away from it.
    let done = host.deploy(&component, "1.0.1", &["--force"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    let next = host.counter("1.1.0");
    let done = host.deploy(&next, "1.1.0", &[]);
    assert_eq!(verdict(&done), (1, "refused".to_owned()));
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("its health is failed") && why.contains("--force"), "{why}");
    let done = host.deploy(&next, "1.1.0", &["--force"]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    traffic.stop();
}

#[test]
fn a_release_whose_health_is_degraded_passes_and_the_report_says_so() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let done = host.deploy(&host.fault("health-degraded"), "1.0.1", &[]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    let checks = done.json()["report"]["checks"].clone();
    let health = checks.as_array().unwrap().iter().find(|check| check["name"] == "health").unwrap();
    assert_eq!(health["passed"], true);
    assert!(health["seen"].as_str().unwrap().starts_with("degraded "), "{health}");
    traffic.stop();
}

#[test]
fn what_a_guest_prints_is_in_the_log() {
    let host = serving("prints", &["--log-format", "json"]);
    assert_eq!(host.connect().ask("print what a day"), "1.0.0 printed");
    let lines: Vec<Value> = host.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for stream in ["stdout", "stderr"] {
        let said = |line: &&Value| line["target"] == "guest" && line.to_string().contains(&format!("\"{stream}\""));
        let line = lines.iter().find(said).unwrap_or_else(|| panic!("no {stream}:\n{}", host.log()));
        assert!(line.to_string().contains("what a day"), "{line}");
        assert!(line.to_string().contains("counter"), "whose it is: {line}");
    }
}

#[test]
fn a_client_that_does_not_take_its_answers_is_closed_at_the_limit_and_counted() {
    let host = serving("floods", &["--outbox", "1MiB"]);
    let (mut slow, mut other) = (host.connect(), host.connect());
    assert_eq!(other.ask("incr"), "1.0.0 1");
    // More than any socket's own buffers hold.
    slow.send("flood 40000\n");
    host.eventually("it is closed", || host.workload("counter")["slow_closed"] == 1);
    host.eventually("the workload knows", || host.health("counter")["details"].to_string().contains("\"1\""));
    assert!(slow.rest().len() < 40_000 * 1024, "it was not given everything");
    assert_eq!(other.ask("incr"), "1.0.0 2", "nobody else is closed");
    assert_eq!(host.workload("counter")["connections"], 1);
    assert_eq!(host.workload("counter")["restarts"], 0);
}

#[test]
fn ids_that_a_guest_makes_up_do_nothing_and_are_counted() {
    let host = serving("forges-ids", &[]);
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--listen", "tcp://127.0.0.1:0", "--name", "victim"]);
    assert_eq!(done.code, 0, "{done:?}");
    let (mut victim, mut forger) = (host.connect_to("victim"), host.connect());
    assert_eq!(victim.ask("incr"), "1.1.0 1 1");
    victim.send("remind 600000\n");
    host.eventually("the victim's timer is set", || host.workload("victim")["timers"] == 1);
    assert_eq!(forger.ask("forge"), "1.0.0 forged");
    // Counted once for all effects of a batch, after the answer has left.
    let counted = || host.workload("counter")["unknown_ids"].as_u64().unwrap() >= 1000;
    host.eventually("all of them are counted", counted);
    assert_eq!(victim.ask("incr"), "1.1.0 2 2", "the victim heard nothing and is open");
    assert_eq!(host.workload("victim")["timers"], 1);
    assert_eq!(forger.ask("incr"), "1.0.0 1");
}

#[test]
fn a_release_without_a_way_down_says_so_before_and_is_not_rolled_back_after() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let component = host.fault("upgrade-only");
    let file = component.to_str().unwrap();
    let plan = host.json(&["plan", file, "--version", "2.0.0", "--name", "counter"]);
    assert_eq!(plan["report"]["plan"]["way_back"], "replay", "{plan}");
    let done = host.deploy(&component, "2.0.0", &[]);
    assert_eq!(verdict(&done), (0, "permanent".to_owned()), "{}", host.log());
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(verdict(&done), (1, "refused".to_owned()), "{done:?}");
    let why = done.json()["report"]["why"].to_string();
    assert!(why.contains("2.0.0 writes schema 2") && why.contains("no step leads"), "{why}");
    traffic.stop();
    assert_eq!(host.workload("counter")["version"], "2.0.0");
}

#[test]
fn a_long_pause_shows_the_phase_it_is_in() {
    let host = Host::start();
    let config = host.file("slow.toml", b"burn = 1000000000\n");
    let slow = ["--timeout", "2m", "--config", config.to_str().unwrap()];
    let listen = ["--listen", "tcp://127.0.0.1:0"];
    let done = host.deploy(&host.fault("snapshot-slow"), "1.0.0", &[&listen[..], &slow[2..]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let deploy = host.begin_deploy(&host.fault("code-change-slow"), "1.0.1", &slow);
    for phase in ["snapshot", "code-change"] {
        host.eventually(phase, || host.phase() == phase);
    }
    assert_eq!(verdict(&deploy.end()), (0, "permanent".to_owned()), "{}", host.log());
    let phases = told(&host, "swap.phase");
    let before_the_switch: Vec<_> = phases.iter().map(String::as_str).take_while(|phase| *phase != "switch").collect();
    assert_eq!(before_the_switch, ["snapshot", "code-change"], "each was told once");
}

#[test]
fn a_rehearsal_of_each_failing_code_change_changes_nothing_and_says_why() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    for (fault, words) in [("code-change-errors", "on purpose"), ("code-change-traps", "on purpose")] {
        let done = host.deploy(&host.fault(fault), "1.0.1", &["--dry-run"]);
        assert_eq!(verdict(&done), (1, "refused".to_owned()));
        let why = done.json()["report"]["why"].to_string();
        assert!(why.contains("on a copy of the live state") && why.contains(words), "{why}");
    }
    assert_eq!(host.workload("counter")["generation"], 1);
    traffic.stop();
}

#[test]
fn a_workload_that_fails_for_good_while_it_is_stopped_was_not_stopped_cleanly() {
    let arguments = ["--restarts", "0", "--handle-fuel", "5000000000", "--checkpoint-every", "1h"];
    let host = Host::start_with(&arguments, &[]);
    let done = host.deploy(&host.fault("handle-busy"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}");
    let (mut busy, mut too_busy) = (host.connect(), host.connect());
    assert_eq!(too_busy.ask("incr"), "1.0.0 1");
    busy.send("busy 1000\n");
    // Burns all its fuel, and is handled while the workload is being stopped.
    too_busy.send("busy 100000\n");
    let done = host.cli(&["stop", "counter", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let notes = done.json()["report"]["notes"].to_string();
    assert!(notes.contains("no instance ran at its end"), "{notes}");
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    let reports = host.reports_of("counter");
    let recovery = reports.iter().find(|report| report["kind"] == "recovery").unwrap();
    assert!(recovery["notes"].to_string().contains("what happened since then is lost"), "{recovery}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 1", "and so it is");
}
