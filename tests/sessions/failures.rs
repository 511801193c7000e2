//! What fails in one session stays there; what fails for one in a swap keeps all of them where they are.

use std::time::{Duration, Instant};

use super::{comes_to, count, counting, go_on};
use crate::harness::{Client, Host};

/// Clients whose totals are 1, 2, 3, …
fn clients(host: &Host, count: u64) -> (Vec<Client>, Vec<u64>) {
    let mut clients: Vec<_> = (0..count).map(|_| host.connect()).collect();
    let totals: Vec<_> = (1..=count).collect();
    for (client, total) in clients.iter_mut().zip(&totals) {
        for said in 1..=*total {
            assert_eq!(client.ask("incr"), format!("1.0.0 {said}"));
        }
    }
    (clients, totals)
}

#[test]
fn an_instance_that_traps_takes_its_connection_with_it_and_no_other() {
    let host = counting("handle-traps", &[]);
    let (mut clients, mut totals) = clients(&host, 5);
    for _ in 0..2 {
        let mut bad = host.connect();
        assert_eq!(bad.ask("incr"), "1.0.0 1");
        bad.send("incr\ntrap\nincr\n");
        assert_eq!(bad.rest(), b"", "a batch that traps has no effects");
    }
    go_on(&mut clients, &mut totals, "1.0.0");
    let workload = host.workload("counter");
    assert_eq!((count(&workload, "instances_failed"), count(&workload, "instances")), (2, 5), "{workload}");
    assert_eq!((&workload["state"], count(&workload, "restarts")), (&"running".into(), 0), "{workload}");
    let told = host.events("session.failed");
    let message = told[0]["message"].as_str().unwrap();
    assert!(told.len() == 2 && message.contains("is closed, the others go on: `handle` trapped"), "{told:?}");
}

#[test]
fn a_session_reaches_no_other_by_ids_that_it_made_up() {
    let host = counting("forges-ids", &[]);
    let (mut clients, mut totals) = clients(&host, 4);
    let mut forger = host.connect();
    assert_eq!(forger.ask("forge"), "1.0.0 forged");
    go_on(&mut clients, &mut totals, "1.0.0");
    assert_eq!(count(&host.workload("counter"), "connections"), 5);
}

#[test]
fn a_client_that_takes_no_answers_and_one_that_resets_end_their_own_session_and_no_other() {
    let host = counting("floods", &["--outbox", "1MiB"]);
    let (mut clients, mut totals) = clients(&host, 3);
    let mut slow = host.connect();
    // More than any socket's own buffers hold.
    slow.send("flood 14000\n");
    host.eventually("it is closed", || count(&host.workload("counter"), "slow_closed") == 1);
    assert!(slow.rest().len() < 14_000 * 1024, "it was not given everything");
    // With its answer unread, its end is a reset.
    let mut resets = host.connect();
    resets.send("flood 100\n");
    host.eventually("it has its answer", || resets.has_answer());
    drop(resets);
    host.eventually("both are gone", || count(&host.workload("counter"), "instances") == 3);
    go_on(&mut clients, &mut totals, "1.0.0");
    let workload = host.workload("counter");
    assert_eq!(["connections", "instances_failed", "refused"].map(|field| count(&workload, field)), [3, 0, 0]);
    assert_eq!(host.json(&["status"])["host"]["sessions"], 3, "their room is free");
    // Neither was the host's doing, so a swap's check has nothing to say to it.
    comes_to(&host, &host.fault("handle-traps"), &[], 0, "permanent");
    go_on(&mut clients, &mut totals, "1.0.0");
}

#[test]
fn a_session_that_does_not_come_to_an_end_delays_nobody_but_itself() {
    let host = counting("handle-never-returns", &["--handle-timeout", "3s"]);
    let (mut clients, mut totals) = clients(&host, 4);
    // More than there are processors, so that some of the guest threads would all be taken.
    let mut hung: Vec<_> = (0..6).map(|_| host.connect()).collect();
    let began = Instant::now();
    hung.iter_mut().for_each(|client| client.send("hang\n"));
    for _ in 0..10 {
        go_on(&mut clients, &mut totals, "1.0.0");
    }
    assert!(hung.iter().all(|client| !client.has_answer()) || began.elapsed() > Duration::from_secs(3));
    for client in &mut hung {
        assert_eq!(client.rest(), b"", "time ends it, and its connection");
    }
    go_on(&mut clients, &mut totals, "1.0.0");
}

#[test]
fn a_straggler_aborts_the_swap_for_all_and_nobody_waits_past_the_deadline() {
    let host = counting("handle-busy", &["--handle-fuel", "1000000000000"]);
    let (mut clients, mut totals) = clients(&host, 4);
    // Compiled before, so that the swap meets the straggler.
    let next = host.counter("1.1.0");
    let plan = host.cli(&["plan", next.to_str().unwrap(), "--version", "1.1.0"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    let mut busy = host.connect();
    busy.send("busy 10000\n");
    // Its turn has begun when others are served past it.
    go_on(&mut clients, &mut totals, "1.0.0");
    let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--timeout", "700ms"]);
    let mut longest = Duration::ZERO;
    while !busy.has_answer() && host.newest_report()["verdict"] != "aborted" {
        let asked = Instant::now();
        go_on(&mut clients, &mut totals, "1.0.0");
        longest = longest.max(asked.elapsed());
    }
    let done = deploy.end();
    assert_eq!(done.code, 1, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!(report["verdict"], "aborted", "{report}");
    assert!(report["why"].as_str().unwrap().contains("did not end within 700ms (--timeout)"), "{report}");
    // Four answers, each by a machine that may be busy; far from what the straggler takes.
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    go_on(&mut clients, &mut totals, "1.0.0");
    assert!(busy.line().starts_with("1.0.0 "), "it comes to its end as if nothing had been");
    assert_eq!(host.workload("counter")["generation"], 1);
}

#[test]
fn a_session_for_which_there_is_no_memory_is_refused_and_held_against_no_release() {
    let host = counting("counter", &["--guest-memory", "32MiB", "--restarts", "0"]);
    let deploy = host.begin_deploy(&host.fault("takes-memory"), "1.0.1", &["--probation", "1h"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    let mut greedy = host.connect();
    // Nine tenths of what there is are for new sessions: this leaves less than one of them needs.
    assert_eq!(greedy.ask("take 27"), "1.0.0 took 27");
    for _ in 0..3 {
        assert_eq!(host.connect().rest(), b"", "it is closed");
    }
    let workload = host.workload("counter");
    let counts = ["refused", "instances_failed", "instances"].map(|field| count(&workload, field));
    assert_eq!(counts, [3, 0, 1], "{workload}");
    assert_eq!((host.phase().as_str(), host.events("session.failed").len()), ("probation", 0));
    let message = host.events("connection.refused")[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("there is no room for its instance") && message.contains("--guest-memory"), "{message}");
    assert_eq!(greedy.ask("incr"), "1.0.0 1");
    drop(greedy);
    host.eventually("its memory is free again", || host.connect().try_ask("incr").as_deref() == Some("1.0.0 1\n"));
    drop(deploy);
}

#[test]
fn a_code_change_that_fails_for_one_session_fails_for_all_and_loses_nothing() {
    let host = counting("counter", &[]);
    let (mut clients, mut totals) = clients(&host, 18);
    let unlucky = host.fault("code-change-unlucky");
    // 13 errors, 17 traps; whichever comes first is named.
    let report = comes_to(&host, &unlucky, &[], 1, "aborted");
    let why = report["why"].as_str().unwrap();
    assert!(why.starts_with("code-change failed: connection ") && why.contains("on purpose"), "{why}");
    go_on(&mut clients, &mut totals, "1.0.0");
    // Now they have 14 and 18, and others 13 and 17: those leave.
    for unlucky in [17, 13] {
        let at = totals.iter().position(|total| *total == unlucky).unwrap();
        totals.remove(at);
        drop(clients.remove(at));
    }
    host.eventually("they are gone", || count(&host.workload("counter"), "instances") == 16);
    let report = comes_to(&host, &unlucky, &[], 0, "permanent");
    assert_eq!(report["instances"]["total"], 16, "{report}");
    go_on(&mut clients, &mut totals, "1.0.0");
}

#[test]
fn each_way_a_code_change_can_fail_changes_nothing() {
    let host = counting("counter", &[]);
    let (mut clients, mut totals) = clients(&host, 6);
    for (fault, timeout, words) in [
        ("code-change-errors", "5s", "can't take over the state of 1.0.0, on purpose"),
        ("code-change-traps", "5s", "code-change from 1.0.0 traps, on purpose"),
        ("code-change-never-returns", "300ms", "`code-change` took longer"),
        ("code-change-eats-memory", "60s", "memory"),
        ("init-errors", "5s", "this version refuses every config, on purpose"),
    ] {
        let report = comes_to(&host, &host.fault(fault), &["--timeout", timeout], 1, "aborted");
        let why = report["why"].as_str().unwrap();
        assert!(why.contains(words), "{fault}: {why}");
        go_on(&mut clients, &mut totals, "1.0.0");
    }
    let workload = host.workload("counter");
    assert_eq!((count(&workload, "instances"), count(&workload, "instances_failed")), (6, 0), "{workload}");
    comes_to(&host, &host.counter("1.1.0"), &[], 0, "permanent");
}

#[test]
fn a_session_whose_snapshot_traps_is_closed_and_the_next_swap_goes_through() {
    let host = counting("snapshot-traps", &[]);
    let (mut clients, mut totals) = clients(&host, 4);
    let mut broken = host.connect();
    assert_eq!(broken.ask("break"), "1.0.0 broken");
    let next = host.counter("1.0.0");
    let report = comes_to(&host, &next, &[], 1, "aborted");
    assert!(report["why"].as_str().unwrap().starts_with("snapshot failed: connection "), "{report}");
    assert_eq!(broken.rest(), b"");
    go_on(&mut clients, &mut totals, "1.0.0");
    comes_to(&host, &next, &[], 0, "permanent");
    go_on(&mut clients, &mut totals, "1.0.0");
}
