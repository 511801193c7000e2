//! Attacks of a guest that runs: each costs the guest its instance, or does nothing.

use super::{Beside, LITTLE_FUEL};
use crate::harness::Host;

#[test]
fn memory_ends_at_its_limit_in_every_call() {
    let beside = Beside::start(&["--handle-memory", "64MiB"]);
    let mut client = beside.attacker("eats-memory", "eats", "");
    client.send("eat\n");
    beside.lost("eats", &["`handle` ran out of memory", "67108864"]);
    for call in ["health", "snapshot"] {
        let name = format!("eats-in-{call}");
        let mut client = beside.attacker("eats-memory", &name, &format!("eat = {call}"));
        assert_eq!(client.ask("break"), "1.0.0 broken");
        // A dry run takes a copy of the live state, and health is asked before.
        let next = beside.host.counter("1.1.0");
        beside.host.deploy(&next, "1.1.0", &["--name", &name, "--dry-run"]);
        beside.lost(&name, &[&format!("`{call}` ran out of memory")]);
    }
    let refused = super::why(&beside.deploy("eats-memory", "eats-in-init", "eat = init"));
    assert!(refused.contains("`init` ran out of memory"), "{refused}");
    beside.end();
}

#[test]
fn the_memory_of_all_guests_together_has_an_end_and_who_asks_past_it_is_lost() {
    let beside = Beside::start(&["--guest-memory", "100MiB"]);
    let mut clients: Vec<_> =
        ["eats-a", "eats-b"].iter().map(|name| beside.attacker("eats-memory", name, "")).collect();
    clients.iter_mut().for_each(|client| client.send("eat\n"));
    for name in ["eats-a", "eats-b"] {
        beside.lost(name, &["all guests together have the 104857600 bytes"]);
    }
    beside.end();
}

#[test]
fn a_recursion_without_end_traps() {
    let beside = Beside::start(&[]);
    let mut client = beside.attacker("recurses", "recurses", "");
    client.send("recurse\n");
    beside.lost("recurses", &["`handle` trapped"]);
    // This one has no stack in linear memory that would overflow first. Its first batch is its start.
    assert_eq!(beside.deploy("recurses-natively", "natively", "").code, 0);
    beside.lost("natively", &["call stack exhausted"]);
    beside.end();
}

#[test]
fn one_batch_answers_only_so_much() {
    let beside = Beside::start(&[]);
    let mut client = beside.attacker("answers-too-much", "answers", "");
    let mut other = beside.host.connect_to("answers");
    for (line, words) in [
        ("effects 200000", "more than the 100000 that one batch may have"),
        ("bytes 80", "more than the 67108864 that one batch may have"),
        ("targets 1500000", "more than the 1000000 that one batch may address"),
    ] {
        client.send(&format!("{line}\n"));
        beside.lost("answers", &[words]);
        client = beside.host.connect_to("answers");
    }
    assert!(other.ask("incr").starts_with("1.0.0 "), "nobody else's connection is closed");
    let mut nowhere = beside.attacker("points-nowhere", "nowhere", "");
    nowhere.send("anything\n");
    beside.lost("nowhere", &["`handle` trapped"]);
    beside.end();
}

#[test]
fn texts_and_lists_of_other_calls_are_cut_or_refused() {
    let beside = Beside::start(&[]);
    let refused = super::why(&beside.deploy("answers-too-much", "long-init", "long = init"));
    assert!(refused.contains("more data than the 1048576 bytes"), "{refused}");
    beside.attacker("answers-too-much", "long-health", "long = health");
    let health = beside.host.health("long-health");
    assert!(health.to_string().contains("more data than the 1048576 bytes"), "{health}");
    let mut client = beside.attacker("answers-too-much", "long-snapshot", "long = snapshot");
    assert_eq!(client.ask("break"), "1.0.0 broken");
    let none = beside.host.file("none.config", b"");
    let arguments = ["--name", "long-snapshot", "--config", none.to_str().unwrap()];
    let done = beside.host.deploy(&beside.host.counter("1.1.0"), "1.1.0", &arguments);
    let why = done.json()["report"]["why"].as_str().unwrap().to_owned();
    assert!(why.starts_with("snapshot failed: xxxx") && why.len() < 5_000, "it is cut: {why}");
    assert!(client.ask("incr").starts_with("1.0.0 "), "an error, however long, leaves it whole");
    beside.end();
}

#[test]
fn what_is_asked_of_wasi_is_bounded_before_it_is_copied() {
    let beside = Beside::start(&["--handle-fuel", LITTLE_FUEL]);
    let mut client = beside.attacker("asks-too-much", "asks", "");
    for (line, words) in [
        ("hoard 100000", "`handle` trapped"),
        ("poll 2000", "it polls 2000 things at once"),
        ("write 50000000", "it wrote more than 65536 bytes at once"),
    ] {
        client.send(&format!("{line}\n"));
        beside.lost("asks", &[words]);
        client = beside.host.connect_to("asks");
    }
    assert!(client.ask("resolve 10000000").contains("access-denied"));
    assert_eq!(client.ask("poll 500"), "1.0.0 got much");
    assert_eq!(client.ask("draw 1"), "1.0.0 got much");
    // Random numbers are paid for: a hundred MiB are more than the fuel of one call.
    client.send("draw 100\n");
    beside.lost("asks", &["within its fuel"]);
    beside.end();
}

#[test]
fn an_instruction_that_works_on_much_memory_is_paid_for_by_the_byte() {
    let beside = Beside::start(&["--handle-fuel", LITTLE_FUEL]);
    let mut client = beside.attacker("copies-memory", "copies", "");
    assert_eq!(client.ask("copy 0"), "1.0.0 copied");
    client.send("copy 1000000\n");
    beside.lost("copies", &["within its fuel"]);
    beside.end();
}

#[test]
fn a_log_has_so_many_bytes_a_second_also_for_a_guest_that_is_made_anew_again_and_again() {
    let beside = Beside::start(&[]);
    let mut client = beside.attacker("floods-log", "floods", "");
    assert_eq!(client.ask("log 8"), "1.0.0 logged");
    let mut traps = beside.attacker("floods-log", "traps", "");
    traps.send("log and trap\n");
    beside.lost("traps", &["after it had logged, on purpose"]);
    let log = beside.host.log();
    let (floods, bytes) = (log.matches("flood flood").count(), log.len());
    assert!(floods > 0 && bytes < 2 << 20, "of nine MiB, {bytes} bytes are in the log");
    assert_eq!(client.ask("incr"), "1.0.0 1", "who logs too much is not failed for it");
    beside.end();
}

#[test]
fn storms_of_timers_and_closings_keep_nobody_waiting() {
    let beside = Beside::start(&[]);
    let mut spins = beside.attacker("storms", "spins", "");
    assert_eq!(spins.ask("spin"), "1.0.0 stormed");
    let mut storms = beside.attacker("storms", "storms", "");
    assert_eq!(storms.ask("storm"), "1.0.0 stormed");
    // Five hundred timers are always due; its own client is answered all the same, and so is the control channel.
    for total in 1..=20 {
        assert_eq!(storms.ask("incr"), format!("1.0.0 {total}"));
        assert_eq!(spins.ask("incr"), format!("1.0.0 {total}"));
    }
    assert_eq!(beside.host.health("storms")["status"], "ok");
    let mut churns = beside.attacker("storms", "churns", "");
    for _ in 0..10 {
        assert_eq!(churns.ask("churn 20000"), "1.0.0 stormed");
    }
    assert_eq!(beside.host.workload("churns")["timers"], 0);
    assert!(beside.host.workload("churns")["unknown_ids"].as_u64().unwrap() >= 200_000);
    // A busy workload is stopped like any other.
    assert_eq!(beside.host.cli(&["stop", "spins"]).code, 0);
    beside.end();
}

#[test]
fn timers_beyond_the_limit_are_not_set_and_that_is_said_once() {
    let beside = Beside::start(&[]);
    let mut client = beside.attacker("storms", "timers", "");
    for _ in 0..5 {
        // In pieces that one batch may have; each piece asks for the same timers and for more.
        for count in [90_000, 99_990] {
            assert_eq!(client.ask(&format!("timers {count}")), "1.0.0 stormed");
        }
    }
    let mut more = beside.host.connect_to("timers");
    more.send("remind 600000\n".repeat(1_000).as_str());
    assert_eq!(more.ask("incr"), "1.0.0 1");
    assert_eq!(beside.host.workload("timers")["timers"], 100_000);
    assert_eq!(beside.host.health("timers")["status"], "degraded");
    let told = beside.host.events("workload.degraded");
    let told: Vec<_> = told.iter().filter(|event| event["workload"] == "timers").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    beside.end();
}

#[test]
fn ids_of_others_and_of_connections_that_are_gone_do_nothing() {
    let beside = Beside::start(&[]);
    let mut client = beside.attacker("forges-ids", "forges", "");
    // Gone, so that its id is a stale one: the forger tries all numbers around its own.
    drop(beside.host.connect_to("forges"));
    beside.host.eventually("it is gone", || beside.host.workload("forges")["connections"] == 1);
    for _ in 0..20 {
        assert_eq!(client.ask("forge"), "1.0.0 forged");
    }
    assert!(beside.host.workload("forges")["unknown_ids"].as_u64().unwrap() >= 20_000);
    assert_eq!(beside.host.workload("counter")["connections"], 2, "the innocent's clients are connected");
    beside.end();
}

#[test]
fn a_guest_that_fails_over_and_over_is_given_up() {
    let beside = Beside::start(&["--handle-fuel", LITTLE_FUEL]);
    for (guest, name) in [("handle-traps-always-after-start", "traps"), ("recurses-natively", "recurses")] {
        assert_eq!(beside.deploy(guest, name, "").code, 0);
        beside.host.eventually("it is given up", || beside.host.cli(&["status", name]).code == 4);
    }
    beside.end();
}

#[test]
fn a_host_whose_guest_computes_without_end_answers_for_all_and_stops_the_others_cleanly() {
    let mut host = Host::start_with(&["--handle-fuel", "1000000000000", "--handle-timeout", "10m"], &[]);
    host.start_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    let arguments = ["--name", "hangs", "--listen", "tcp://127.0.0.1:0"];
    assert_eq!(host.deploy(&host.fault("handle-never-returns"), "1.0.0", &arguments).code, 0);
    let mut client = host.connect_to("hangs");
    client.send("hang\n");
    host.eventually("it is busy, and the host says so and answers for the other", || {
        let health = host.cli(&["health", "--output", "json"]).json();
        let of = |name: &str| {
            let reports = health["workloads"].as_array().unwrap();
            reports.iter().find(|report| report["name"] == name).unwrap().clone()
        };
        assert_eq!(of("counter")["status"], "ok", "{health}");
        of("hangs").to_string().contains("its batch does not end")
    });
    host.signal("TERM");
    host.eventually("the innocent is stopped", || host.workload("counter")["state"] == "stopped");
    // Told a second time, it waits for nobody.
    host.signal("TERM");
    host.wait();
    host.run();
    assert_eq!(host.connect().ask("incr"), "1.0.0 2", "it was stopped cleanly");
}
