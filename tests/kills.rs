//! Hosts that die at any moment, and hosts that are told to stop: what runs afterwards is one release, whole, and it says
//! from what.

use serde_json::Value;

use crate::harness::{Client, Host};

/// The variable that kills a host as it enters a phase.
const KILL_AT: &str = "HOST_TEST_KILL_AT";

/// Waits until all that was handled is in a checkpoint on disk.
fn checkpointed(host: &Host) {
    host.eventually("everything is checkpointed", || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    });
}

/// The one sentence of the newest recovery.
#[track_caller]
fn recovery(host: &Host) -> String {
    let reports = host.reports_of("counter");
    let recovery = reports.iter().find(|report| report["kind"] == "recovery");
    let recovery = recovery.unwrap_or_else(|| panic!("no recovery in {reports:?}"));
    let how = recovery["notes"][0].as_str().unwrap().to_owned();
    let told = host.events("workload.recovered");
    assert_eq!(told[0]["message"], how, "the event says what the history says");
    how
}

/// A host on which counter 1.0.0 counted to three, all of it on disk, and that dies in this phase of its next swap.
fn dies_in(phase: &str) -> Host {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
    host.start_counter();
    // The phase is met at a start too: this is for the swap.
    assert_eq!(host.terminate(), 0);
    host.run_with(&[(KILL_AT, phase)]);
    let mut client = host.connect();
    for total in 1..=3 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    checkpointed(&host);
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "10m"]);
    assert_ne!(done.code, 0, "it died: {done:?}");
    host.wait();
    assert_eq!(client.line(), "", "its connections died with it");
    host.run_with(&[]);
    host
}

/// Killed before the switch was on disk, the old release runs, and the next swap goes well.
#[track_caller]
fn the_old_runs_on_after_a_death_in(phase: &str) {
    let host = dies_in(phase);
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["generation"]), (&"1.0.0".into(), &1.into()), "{workload}");
    assert_eq!((&workload["instances"], &workload["swap"]), (&1.into(), &Value::Null), "{workload}");
    let how = recovery(&host);
    for words in ["1.0.0 runs again, from the checkpoint of 1.0.0 after batch", "the host died"] {
        assert!(how.contains(words), "{how}");
    }
    let reports = host.reports_of("counter");
    let lost = reports.iter().find(|report| report["to"] == "1.1.0").unwrap_or_else(|| panic!("{reports:?}"));
    assert_eq!((&lost["verdict"], &lost["running"]), (&"aborted".into(), &"1.0.0".into()), "{lost}");
    let why = lost["why"].as_str().unwrap();
    assert!(why.contains("the host died before the switch was durable"), "{why}");

    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 4", "all that was on disk is there");
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0, "{}", host.log());
    assert_eq!(client.ask("incr"), "1.1.0 5 1");
}

/// Killed after it was, the new release runs with its probation going on, and can still be undone.
#[track_caller]
fn the_new_runs_on_after_a_death_in(phase: &str) {
    let host = dies_in(phase);
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["generation"]), (&"1.1.0".into(), &2.into()), "{workload}");
    assert_eq!((&workload["instances"], &workload["swap"]["phase"]), (&1.into(), &"probation".into()), "{workload}");
    let remaining = workload["swap"]["remaining_ns"].as_u64().unwrap();
    assert!((1..600_000_000_000).contains(&remaining), "its probation goes on, it does not begin again: {workload}");
    let how = recovery(&host);
    for words in ["1.1.0 runs again, from the checkpoint of 1.", "after batch", "the host died"] {
        assert!(how.contains(words), "{how}");
    }
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.1.0 4 1", "all that was on disk is there");
    let done = host.cli(&["rollback", "counter"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(client.ask("incr"), "1.0.0 5", "undone without a loss");
    assert_eq!(host.deploy(&host.counter("2.0.0"), "2.0.0", &[]).code, 0, "{}", host.log());
    assert_eq!(client.ask("incr"), "2.0.0 6 1");
}

#[test]
fn killed_while_preparing_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("prepare");
}

#[test]
fn killed_between_the_checkpoint_of_the_switch_and_its_record_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("record-entry");
}

#[test]
fn killed_while_quiescing_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("quiesce");
}

#[test]
fn killed_in_snapshot_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("snapshot");
}

#[test]
fn killed_in_code_change_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("code-change");
}

#[test]
fn killed_at_the_switch_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("switch");
}

#[test]
fn killed_before_the_switch_is_recorded_the_old_release_runs_on() {
    the_old_runs_on_after_a_death_in("record");
}

#[test]
fn killed_while_verifying_the_new_release_runs_on_on_probation() {
    the_new_runs_on_after_a_death_in("verify");
}

#[test]
fn killed_on_probation_the_new_release_runs_on_on_probation() {
    the_new_runs_on_after_a_death_in("probation");
}

#[test]
fn killed_while_rolling_back_exactly_one_release_runs() {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[(KILL_AT, "roll-back")]);
    host.start_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    checkpointed(&host);
    let done = host.deploy(&host.fault("health-fails"), "1.0.1", &["--probation", "10m"]);
    assert_ne!(done.code, 0, "it died: {done:?}");
    host.wait();
    host.run_with(&[]);
    // The switch was on disk, the way back was not: it goes on with the new release and its probation.
    let workload = host.workload("counter");
    assert_eq!(
        (&workload["version"], &workload["swap"]["phase"]),
        (&"1.0.1".into(), &"probation".into()),
        "{workload}"
    );
    assert_eq!(host.connect().ask("incr"), "1.0.0 2");
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "{}", host.log());
    assert_eq!(host.workload("counter")["version"], "1.0.0");
    assert_eq!(host.connect().ask("incr"), "1.0.0 3");
}

#[test]
fn the_third_start_of_the_host_on_one_probation_rolls_back() {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
    host.start_counter();
    let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    for start in 1..=2 {
        host.kill();
        host.run();
        assert_eq!(host.phase(), "probation", "start {start}");
    }
    assert_ne!(deploy.end().code, 0, "whoever deployed lost the host");
    host.kill();
    host.run();
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["swap"]), (&"1.0.0".into(), &Value::Null), "{workload}");
    let how = recovery(&host);
    assert!(how.contains("1.1.0 was rolled back (the host started 3 times while it was on probation)"), "{how}");
    let reports = host.reports_of("counter");
    let undone = reports.iter().find(|report| report["verdict"] == "rolled-back").unwrap();
    assert_eq!((&undone["to"], &undone["running"]), (&"1.1.0".into(), &"1.0.0".into()), "{undone}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
}

#[test]
fn a_release_that_can_t_be_carried_down_is_rolled_back_at_the_hosts_start_and_what_that_costs_is_said() {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
    host.start_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let deploy = host.begin_deploy(&host.fault("upgrade-only"), "2.0.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    for total in 2..=5 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    let all_checkpointed = || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    };
    host.eventually("all of it is on disk", all_checkpointed);
    drop(client);
    for _ in 0..3 {
        host.kill();
        host.run();
    }
    assert_ne!(deploy.end().code, 0, "whoever deployed lost the host");
    assert_eq!(host.connect().ask("incr"), "1.0.0 2", "the total is the one at the switch");
    let reports = host.reports_of("counter");
    let undone = reports.iter().find(|report| report["verdict"] == "rolled-back").unwrap();
    assert_eq!((&undone["to"], &undone["way"]), (&"2.0.0".into(), &"checkpoint".into()), "{undone}");
    for report in [undone, &reports[0]] {
        let cost = &report["cost"];
        // Its first event and four lines, and what the starts told it.
        assert!(cost["batches"].as_u64() >= Some(5) && cost["events"].as_u64() >= Some(5), "{report}");
        assert!(cost["checkpoint_age_ns"].as_u64() > Some(0), "{report}");
        let why = cost["why"].as_str().unwrap();
        assert!(why.contains("for it does not write the old format") && why.contains("is lost, too"), "{why}");
    }
    let how = recovery(&host);
    assert!(how.contains("from the state at the switch") && how.contains("since the switch are lost"), "{how}");
    let told = host.events("swap.rolled-back")[0]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("since the switch are lost") && host.log().contains("since the switch are lost"), "{told}");
}

#[test]
fn what_came_after_the_last_checkpoint_of_a_killed_host_is_lost_and_said_so() {
    let mut host = Host::start_with(&["--checkpoint-every", "10m"], &[]);
    host.start_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(client.ask("incr"), "1.0.0 2");
    host.kill();
    host.run();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    let how = recovery(&host);
    assert!(how.contains("after batch 0") && how.contains("what happened since then is lost: the host died"), "{how}");
}

#[test]
fn told_to_stop_a_host_answers_what_was_sent_before_and_keeps_all_of_it() {
    let mut host = Host::start_with(&["--checkpoint-every", "10m", "--handle-fuel", "1000000000000"], &[]);
    let done = host.deploy(&host.fault("handle-busy"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}");
    let mut busy = host.connect();
    busy.send("busy 1000\n");
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..5 {
        let mut client = host.connect();
        client.send("incr\nincr\n");
        clients.push(client);
    }
    // Each opened, each with its lines: taken from the network, not handled yet.
    host.eventually("all lines wait", || host.workload("counter")["queued_events"] == 10);
    assert_eq!(host.terminate(), 0, "{}", host.log());
    assert_eq!(busy.line(), "1.0.0 busy done");
    let mut totals: Vec<u64> = Vec::new();
    for client in &mut clients {
        for _ in 0..2 {
            let answer = client.line();
            totals.push(answer.strip_prefix("1.0.0 ").unwrap_or_else(|| panic!("`{answer}`")).parse().unwrap());
        }
        assert_eq!(client.line(), "", "after the last answer comes the end");
    }
    totals.sort_unstable();
    assert_eq!(totals, (1..=10).collect::<Vec<u64>>());
    host.run();
    assert_eq!(host.connect().ask("incr"), "1.0.0 11");
    let how = recovery(&host);
    assert!(how.contains("nothing is lost: it was stopped cleanly"), "{how}");
}

#[test]
fn told_to_stop_under_traffic_a_host_counts_exactly_what_it_answered() {
    let mut host = Host::start_with(&["--checkpoint-every", "10m"], &[]);
    host.start_counter();
    let address = host.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Client::connect(address);
            std::thread::spawn(move || {
                let mut answers = 0_u64;
                // Until the end of the stream.
                while client.try_ask("incr").is_some_and(|answer| answer.starts_with("1.0.0 ")) {
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    host.eventually("they count", || host.workload("counter")["events"].as_u64() > Some(500));
    assert_eq!(host.terminate(), 0, "{}", host.log());
    let answered: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    host.run();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", answered + 1));
}

#[test]
fn told_to_stop_on_probation_a_host_goes_on_with_it_at_its_next_start() {
    let mut host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    assert_eq!(client.ask("incr"), "1.1.0 2 1");
    assert_eq!(host.terminate(), 0, "{}", host.log());
    assert_ne!(deploy.end().code, 0, "its end is not known");
    host.run();
    assert_eq!(host.phase(), "probation");
    assert_eq!(host.connect().ask("incr"), "1.1.0 3 1");
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "{}", host.log());
    assert_eq!(host.connect().ask("incr"), "1.0.0 4");
}

#[test]
fn a_probation_that_ran_out_while_the_host_was_down_is_permanent_at_its_start() {
    let mut host = Host::with_counter();
    let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "1500ms"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    host.kill();
    drop(deploy.end());
    host.run();
    host.eventually("it is permanent", || {
        host.reports_of("counter").iter().any(|report| report["to"] == "1.1.0" && report["verdict"] == "permanent")
    });
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["swap"]), (&"1.1.0".into(), &Value::Null), "{workload}");
}

#[test]
fn a_stopped_workload_stays_stopped_over_a_restart_and_keeps_its_state() {
    let mut host = Host::with_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    assert_eq!(host.cli(&["stop", "counter"]).code, 0);
    host.kill();
    host.run();
    assert_eq!(host.cli(&["status", "counter"]).code, 4);
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    assert_eq!(host.connect().ask("incr"), "1.0.0 2", "what was stopped cleanly lost nothing by the kill after");
}

#[test]
fn a_second_host_in_the_same_directory_is_refused_and_the_first_goes_on() {
    let host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    let done = host.cli(&["run"]);
    assert_eq!(done.code, 1, "{done:?}");
    let pid = host.json(&["status"])["host"]["pid"].to_string();
    assert!(done.stderr.contains(&format!("another host (process {pid}) already runs")), "{done:?}");
    assert!(done.stderr.contains("--data"), "what to do about it is said: {done:?}");
    assert_eq!(client.ask("incr"), "1.0.0 2");
}
