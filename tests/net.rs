//! Clients at their worst, and swaps that meet something half done.

use std::{
    io::Write as _,
    net::Shutdown,
    process::Stdio,
    thread::{self, JoinHandle},
};

use serde_json::Value;

use crate::harness::{Client, Done, Host, Traffic, Underway};

/// Iterations for a pause of some seconds.
const A_WHILE: &[u8] = b"burn = 3000000000\n";

/// Begins a deploy whose code-change takes a while, and waits until the workload is paused in it.
fn paused(host: &Host) -> Underway {
    let config = host.file("slow.toml", A_WHILE);
    let arguments = ["--timeout", "2m", "--config", config.to_str().unwrap()];
    let deploy = host.begin_deploy(&host.fault("code-change-slow"), "1.0.1", &arguments);
    host.until_paused();
    deploy
}

#[track_caller]
fn swaps_to(host: &Host, version: &str) -> Value {
    let done = host.deploy(&host.counter(version), version, &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    done.json()["report"].clone()
}

#[track_caller]
fn refusal(done: &Done) -> String {
    assert_eq!(done.code, 1, "{done:?}");
    let report = &done.json()["report"];
    assert_eq!(report["verdict"], "refused", "{report}");
    report["why"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_that_only_sends_is_closed_when_its_answers_pile_up_and_nobody_else_is() {
    let host = Host::start_with(&["--outbox", "256KiB"], &[]);
    host.start_counter();
    let mut other = host.connect();
    let greedy = host.connect();
    let lines = "incr\n".repeat(10_000);
    let mut sent = 0_usize;
    // Its own buffers and the host's fill up first.
    while greedy.stream().write_all(lines.as_bytes()).is_ok() {
        sent += lines.len();
        assert!(sent < 512 << 20, "it is never closed");
    }
    host.eventually("it is counted", || host.workload("counter")["slow_closed"] == 1);
    assert!(other.ask("incr").starts_with("1.0.0 "), "the other one is served");
    host.eventually("the workload was told", || {
        host.health("counter")["details"].to_string().contains(r#"{"name":"connections","value":"1"}"#)
    });
    swaps_to(&host, "1.1.0");
    assert!(other.ask("incr").starts_with("1.1.0 "));
}

#[test]
fn ten_mebibytes_without_an_end_of_line_are_answered_with_an_error_and_cost_no_memory() {
    let host = Host::with_counter();
    let mut other = host.connect();
    assert_eq!(other.ask("incr"), "1.0.0 1");
    let memory = || host.json(&["status"])["host"]["memory_bytes"].as_u64().unwrap();
    let before = memory();
    let mut endless = host.connect();
    // The host may close before it has read all of it.
    let _closed = endless.stream().write_all(&vec![b'x'; 10 << 20]);
    assert!(endless.line().starts_with("error line "), "it is told what is wrong");
    assert_eq!(endless.rest(), b"", "and closed");
    assert_eq!(other.ask("incr"), "1.0.0 2");
    assert!(memory() < before + (64 << 20), "{before} bytes before, {} after", memory());
    host.eventually("it is gone", || host.workload("counter")["connections"] == 1);
    let report = swaps_to(&host, "1.1.0");
    assert!(report["state"]["bytes"].as_u64().unwrap() < 1024, "nothing of it is in the state: {report}");
    assert_eq!(other.ask("incr"), "1.1.0 3 1");
}

#[test]
fn ten_thousand_connections_come_and_go_during_swaps_and_each_is_answered() {
    const CLIENTS: usize = 8;
    const EACH: usize = 1250;
    let host = Host::with_counter();
    for version in ["1.1.0", "2.0.0"] {
        let file = host.counter(version);
        assert_eq!(host.cli(&["plan", file.to_str().unwrap(), "--version", version, "--name", "counter"]).code, 0);
    }
    let mut stays = host.connect();
    let address = host.address();
    let client = move |_| {
        thread::spawn(move || {
            let mut totals = Vec::with_capacity(EACH);
            for _ in 0..EACH {
                let answer = Client::connect(address).ask("incr");
                totals.push(answer.split(' ').nth(1).and_then(|total| total.parse::<u64>().ok()).expect("an answer"));
            }
            totals
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let mut swaps = 0;
    while !clients.iter().all(JoinHandle::is_finished) {
        for version in ["1.1.0", "2.0.0"] {
            swaps_to(&host, version);
        }
        let done = host.cli(&["rollback", "counter", "--to", "1.0.0"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        swaps += 3;
    }
    assert!(swaps >= 3);
    let mut totals: Vec<u64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    totals.sort_unstable();
    assert_eq!(totals, (1..=(CLIENTS * EACH) as u64).collect::<Vec<_>>(), "over {swaps} swaps");
    assert_eq!(stays.ask("incr"), "1.0.0 10001");
    host.eventually("only the one that stayed is left", || host.workload("counter")["connections"] == 1);
    host.eventually("the workload knows of one", || {
        host.health("counter")["details"].to_string().contains(r#"{"name":"connections","value":"1"}"#)
    });
}

#[test]
fn half_a_line_before_a_swap_and_half_after_are_one_line() {
    let host = Host::with_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    half_a_line_arrives(&host, &mut client);
    swaps_to(&host, "1.1.0");
    client.send("cr\n");
    assert_eq!(client.line(), "1.1.0 2 1");
    half_a_line_arrives(&host, &mut client);
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "{}", host.log());
    client.send("cr\n");
    assert_eq!(client.line(), "1.0.0 3");
}

/// The guest has `in`, and no end of the line.
fn half_a_line_arrives(host: &Host, client: &mut Client) {
    let events = || host.workload("counter")["events"].as_u64();
    let before = events();
    client.send("in");
    host.eventually("the first half is with the guest", || events() > before);
}

#[test]
fn a_client_that_closes_its_half_gets_its_answers_in_a_pause_too() {
    let host = Host::with_counter();
    let mut before = host.connect();
    before.send("incr\nincr\n");
    before.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!((before.line(), before.line(), before.line()), ("1.0.0 1".into(), "1.0.0 2".into(), String::new()));

    let mut open = host.connect();
    assert_eq!(open.ask("incr"), "1.0.0 3");
    let deploy = paused(&host);
    open.send("incr\nincr\n");
    open.stream().shutdown(Shutdown::Write).unwrap();
    // One that comes and goes while nobody serves.
    let mut brief = host.connect();
    brief.send("incr\n");
    brief.stream().shutdown(Shutdown::Write).unwrap();
    assert!(host.is_paused(), "all that was sent in the pause");
    assert_eq!(deploy.end().code, 0, "{}", host.log());
    let answers = [open.line(), open.line(), brief.line()];
    assert!(answers[0] < answers[1], "in order on each connection: {answers:?}");
    let mut totals = answers.to_vec();
    totals.sort_unstable();
    assert_eq!(totals, ["1.0.0 4", "1.0.0 5", "1.0.0 6"]);
    assert_eq!((open.line(), brief.line()), (String::new(), String::new()), "and then the end");
}

#[test]
fn timers_that_fall_due_in_a_pause_fire_late_once_and_say_how_late() {
    const TIMERS: u64 = 100;
    let host = Host::with_counter();
    let slow = host.fault("code-change-slow");
    // Compiled ahead, so that the pause comes while the timers run.
    assert_eq!(host.cli(&["plan", slow.to_str().unwrap(), "--version", "1.0.1", "--name", "counter"]).code, 0);
    let mut client = host.connect();
    // One each tenth of a second: whenever the pause comes, some fall into it.
    for number in 1..=TIMERS {
        client.send(&format!("remind {}\n", number * 100));
    }
    host.eventually("they are set", || host.workload("counter")["timers"].as_u64() > Some(TIMERS / 2));
    let done = paused(&host).end();
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let pause_ms = done.json()["report"]["pause_ns"].as_u64().unwrap() / 1_000_000;
    assert!(pause_ms > 200, "long enough for two timers: {pause_ms} ms");
    let late = |answer: String| answer.strip_prefix("reminded late ").unwrap().parse::<u64>().unwrap();
    let late: Vec<_> = (0..TIMERS).map(|_| late(client.line())).collect();
    let most = late.iter().max().unwrap();
    assert!(*most >= pause_ms - 100, "the first one in a pause of {pause_ms} ms says how late it is: {late:?}");
    assert_eq!(client.ask("incr"), "1.0.0 1", "each fired once: nothing else was said");
    assert_eq!(host.workload("counter")["timers"], 0);
}

#[test]
fn a_call_that_comes_in_a_pause_is_answered_by_the_new_release() {
    let host = Host::with_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    let deploy = paused(&host);
    let mut command = host.command(&["call", "counter", "total", "--timeout", "2m"]);
    let waiting = host.workload("counter")["queued_events"].as_u64();
    let call = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    host.eventually("the call waits", || host.workload("counter")["queued_events"].as_u64() > waiting);
    assert_eq!(deploy.end().code, 0, "{}", host.log());
    let done = Done::of(call.wait_with_output().unwrap());
    assert_eq!((done.code, done.stdout.trim()), (0, "1"), "{done:?}");
}

#[test]
fn a_call_whose_time_is_up_in_a_pause_is_answered_so_and_never_handled() {
    let host = Host::with_counter();
    let deploy = paused(&host);
    let done = host.cli(&["call", "counter", "add-rows", "5", "--timeout", "50ms"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("did not answer within 50ms"), "{done:?}");
    assert!(host.is_paused(), "it did not wait for the end of the pause");
    assert_eq!(deploy.end().code, 0, "{}", host.log());
    assert_eq!(host.cli(&["call", "counter", "rows"]).stdout.trim(), "0");
}

#[test]
fn a_second_swap_while_one_runs_is_refused_and_names_it() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let deploy = paused(&host);
    let running = host.events("swap.started").pop().unwrap()["swap"].clone();
    let why = refusal(&host.deploy(&host.counter("1.1.0"), "1.1.0", &[]));
    assert!(why.starts_with(&format!("swap {running} of counter is under way")), "{why}");
    for verb in ["stop", "remove", "start"] {
        let done = host.cli(&[verb, "counter"]);
        assert_eq!(done.code, 1, "{verb}: {done:?}");
        assert!(done.stderr.contains(&format!("swap {running} of counter is under way")), "{verb}: {done:?}");
    }
    assert!(host.is_paused(), "nobody waited for the end of the pause");
    assert_eq!(deploy.end().code, 0, "{}", host.log());
    traffic.stop();
}

#[test]
fn versions_and_names_that_cannot_be_meant_are_refused_and_nothing_changes() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let why = refusal(&host.deploy(&host.counter("1.1.0"), "1.0.0", &[]));
    assert!(why.contains("counter 1.0.0 is already stored with digest"), "{why}");
    assert!(why.contains("give the new build a version of its own"), "{why}");
    let why = refusal(&host.deploy(&host.counter("1.1.0"), "0.9.0", &[]));
    assert!(why.contains("0.9.0 is lower than 1.0.0") && why.contains("--downgrade"), "{why}");
    let done = host.deploy(&host.counter("1.0.0"), "1.0.0", &[]);
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (0, &"nothing".into()), "{done:?}");
    for version in ["1.1", "v1.1.0", "latest", ""] {
        let done = host.deploy(&host.counter("1.1.0"), version, &[]);
        assert_eq!(done.code, 2, "`{version}`: {done:?}");
    }
    for arguments in
        [&["status", "conter"][..], &["rollback", "conter"], &["call", "conter", "total"], &["stop", "conter"]]
    {
        let done = host.cli(arguments);
        assert_eq!(done.code, 1, "{arguments:?}: {done:?}");
        assert!(done.stderr.contains("no workload is named conter"), "{done:?}");
        assert!(done.stderr.contains("there is counter"), "{done:?}");
    }
    let done = host.cli(&["rollback", "counter", "--to", "7.0.0"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("counter has no stored version 7.0.0"), "{done:?}");
    let workload = host.workload("counter");
    assert_eq!((&workload["version"], &workload["generation"]), (&"1.0.0".into(), &1.into()), "{workload}");
    traffic.stop();
}

#[test]
fn the_tenth_swap_works_like_the_first() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 4, 0);
    let mut reports = Vec::new();
    for swap in 1..=10 {
        let version = if swap % 2 == 0 { "1.0.0" } else { "1.1.0" };
        let done = host.deploy(&host.counter(version), version, &["--downgrade"]);
        assert_eq!(done.code, 0, "swap {swap}: {done:?}\n{}", host.log());
        reports.push(done.json()["report"].clone());
    }
    let names = |list: &Value| list.as_array().unwrap().iter().map(|item| item["name"].to_string()).collect::<Vec<_>>();
    for (report, generation) in reports.iter().zip(2..) {
        assert_eq!((&report["verdict"], &report["generation"]), (&"permanent".into(), &generation.into()), "{report}");
        assert_eq!(report["connections"]["before"], report["connections"]["kept"], "{report}");
        for list in ["phases", "steps", "checks"] {
            assert_eq!(names(&report[list]), names(&reports[0][list]), "{report}");
        }
    }
    let total = traffic.stop();
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
    let folder = host.data().join("workloads/counter/checkpoints");
    assert!(std::fs::read_dir(folder).unwrap().count() <= 4, "what nobody needs is not kept");
}

#[test]
fn a_deploy_during_probation_makes_the_running_release_permanent_first() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let first = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "10m"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    swaps_to(&host, "2.0.0");
    let first = first.end();
    assert_eq!((first.code, &first.json()["report"]["verdict"]), (0, &"permanent".into()), "{first:?}");
    traffic.stop();
}

#[test]
fn a_client_that_resets_its_connection_in_the_pause_does_not_undo_the_swap() {
    let host = Host::with_counter();
    let (mut staying, mut leaving) = (host.connect(), host.connect());
    assert_eq!(staying.ask("incr"), "1.0.0 1");
    leaving.send("incr\n");
    host.eventually("it is answered", || leaving.has_answer());
    let deploy = paused(&host);
    // With its answer unread, its end is a reset.
    drop(leaving);
    let done = deploy.end();
    assert_eq!((done.code, &done.json()["report"]["verdict"]), (0, &"permanent".into()), "{done:?}\n{}", host.log());
    assert_eq!(staying.ask("incr"), "1.0.0 3");
}

#[test]
fn a_drain_closes_connections_after_their_answers_and_lets_new_ones_in() {
    let host = Host::with_counter();
    let mut old: Vec<_> = (0..20).map(|_| host.connect()).collect();
    for (client, total) in old.iter_mut().zip(1..) {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
    }
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--drain", "200ms"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    for client in &mut old {
        assert_eq!(client.rest(), b"", "closed, not reset with something unread");
    }
    assert_eq!(host.connect().ask("incr"), "1.1.0 21 1");
}

#[test]
fn traffic_goes_on_while_a_large_state_is_carried() {
    let host = Host::start();
    let config = host.file("rows.toml", b"rows = 20000\n");
    let arguments = ["--listen", "tcp://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let done = host.deploy(&host.counter("1.0.0"), "1.0.0", &arguments);
    assert_eq!(done.code, 0, "{done:?}");
    let traffic = Traffic::start(host.address(), 4, 0);
    let report = swaps_to(&host, "1.1.0");
    assert!(report["state"]["bytes"].as_u64().unwrap() > 500_000, "{report}");
    assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "{}", host.log());
    let total = traffic.stop();
    assert_eq!(host.cli(&["call", "counter", "rows"]).stdout.trim(), "20000");
    assert_eq!(host.connect().ask("incr"), format!("1.0.0 {}", total + 1));
}
