//! Batches that fail: which event is at fault and which is not, what a guest hears of those that were set aside, and what is
//! kept when the machine has no room to make an instance anew.

use crate::harness::{Client, Host};

/// Burnt in some seconds by one line of `busy`, and not enough for two of them.
const FUEL: &str = "64000000000";

/// A line that takes most of [`FUEL`].
const BUSY: &str = "busy 6000\n";

fn serving(fault: &str, arguments: &[&str]) -> Host {
    let host = Host::start_with(arguments, &[]);
    deploy_as(&host, fault, "counter");
    host
}

#[track_caller]
fn deploy_as(host: &Host, fault: &str, name: &str) {
    let arguments = ["--name", name, "--listen", "tcp://127.0.0.1:0"];
    let done = host.deploy(&host.fault(fault), "1.0.0", &arguments);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
}

#[track_caller]
fn count(host: &Host, field: &str) -> u64 {
    host.workload("counter")[field].as_u64().unwrap_or_else(|| panic!("no {field}"))
}

/// Waits until so many events wait, and no more come.
fn until_queued(host: &Host, events: u64) {
    host.eventually("all of it waits", || count(host, "queued_events") == events);
}

/// What the counter says of how many connections it knows.
#[track_caller]
fn known_connections(host: &Host) -> String {
    let health = host.health("counter");
    let details = health["details"].as_array().unwrap();
    let known = details.iter().find(|detail| detail["name"] == "connections");
    known.unwrap_or_else(|| panic!("{health}"))["value"].as_str().unwrap().to_owned()
}

#[test]
fn where_memory_is_missing_no_event_is_at_fault_and_the_journal_is_kept_until_there_is_some() {
    let host = serving("takes-memory", &["--guest-memory", "64MiB", "--restarts", "0"]);
    deploy_as(&host, "takes-memory", "hog");
    let (mut client, mut wants, mut hog) = (host.connect(), host.connect(), host.connect_to("hog"));
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(client.ask("take 16"), "1.0.0 took 16");
    assert_eq!(hog.ask("try 20"), "1.0.0 took 20");
    // Too much beside what the other has.
    wants.send("take 25\n");
    host.eventually("it is given up", || host.workload("counter")["state"] == "failed");
    let why = host.workload("counter")["why"].to_string();
    assert!(why.contains("all guests together have the"), "{why}");
    assert_eq!((count(&host, "set_aside"), wants.is_closed()), (0, false), "the line is not at fault: {}", host.log());

    // The other takes what was freed: now there is not even enough for what it was.
    host.eventually("the other has it", || hog.ask("try 30") == "1.0.0 took 30");
    client.send("incr\n");
    let done = host.cli(&["start", "counter"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("was not started") && done.stderr.contains("all guests together"), "{done:?}");
    let workload = host.workload("counter");
    assert_eq!(workload["state"], "failed");
    assert_eq!(["set_aside", "connections"].map(|field| count(&host, field)), [0, 2], "{workload}");

    assert_eq!(host.cli(&["stop", "hog"]).code, 0);
    let done = host.cli(&["start", "counter"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(wants.line(), "1.0.0 took 25", "what had failed for want of memory is done");
    assert_eq!(client.line(), "1.0.0 2", "as it was, and what was parked is answered");
    assert_eq!(count(&host, "set_aside"), 0);
    let restarted = host.events("workload.restarted");
    assert!(restarted.iter().all(|event| event["message"].to_string().contains("nothing is lost")), "{restarted:?}");
}

#[test]
fn a_guest_hears_no_end_of_a_connection_whose_opening_was_set_aside() {
    let host = serving("opened-traps", &["--handle-fuel", "1000000000000"]);
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(client.ask("shut"), "1.0.0 shut");
    // One that stays until it is closed.
    let mut refused = host.connect();
    assert_eq!(refused.rest(), b"", "it is closed");
    host.eventually("it is gone", || count(&host, "connections") == 1);
    assert_eq!(client.ask("incr"), "1.0.0 2");
    // One that has said something and left by the time its opening is looked at.
    client.send(BUSY);
    host.eventually("it is busy", || count(&host, "queued_events") == 0);
    let mut gone = host.connect();
    gone.send("incr\n");
    drop(gone);
    until_queued(&host, 3);
    assert_eq!(client.line(), "1.0.0 busy done");
    assert_eq!(client.ask("incr"), "1.0.0 3", "what it said was not counted");
    assert_eq!(["set_aside", "connections"].map(|field| count(&host, field)), [2, 1], "{}", host.log());
    assert_eq!(known_connections(&host), "1");
    let failed = host.events("workload.failed");
    assert!(failed.iter().all(|event| event["message"].to_string().contains("on purpose")), "{failed:?}");
}

#[test]
fn a_state_handed_over_while_an_opening_is_still_to_come_does_not_know_that_connection() {
    let host = serving("handle-busy", &["--handle-fuel", FUEL, "--handle-timeout", "5m", "--journal", "16KiB"]);
    let next = host.fault("upgrade-only-traps");
    let plan = host.cli(&["plan", next.to_str().unwrap(), "--version", "2.0.0", "--name", "counter"]);
    assert_eq!(plan.code, 0, "compiled before: {plan:?}");
    let (mut first, mut second) = (host.connect(), host.connect());
    assert_eq!((first.ask("incr").as_str(), second.ask("incr").as_str()), ("1.0.0 1", "1.0.0 2"));
    first.send(BUSY);
    host.eventually("it is busy", || count(&host, "queued_events") == 0);
    // One batch, too much for its fuel, so that each of its events is tried alone; the deploy comes in between.
    second.send(BUSY);
    until_queued(&host, 1);
    let mut comes = host.connect();
    comes.send("other\n");
    until_queued(&host, 3);
    first.send(BUSY);
    assert_eq!(first.line(), "1.0.0 busy done");
    let deploy = host.begin_deploy(&next, "2.0.0", &["--probation", "10m", "--force", "--timeout", "60s"]);
    host.eventually("it is on probation", || host.phase() == "probation");
    assert_eq!(comes.line(), "2.0.0 other", "what was to come came to the new version");
    assert_eq!(host.events("workload.failed").len(), 1, "{}", host.log());
    second.line();
    first.line();
    for total in 3..=602 {
        assert_eq!(first.ask("incr"), format!("1.0.0 {total}"));
    }
    let done = host.cli(&["rollback", "counter", "--allow-loss", "--output", "json"]);
    assert_eq!(done.json()["report"]["way"], "checkpoint", "{done:?}\n{}", host.log());
    drop(deploy.end());
    assert_eq!(comes.ask("incr"), "1.0.0 3", "the total is the one at the switch");
    assert_eq!(known_connections(&host), "3", "it was told of the one that its state did not know");
}

#[test]
fn a_stop_that_is_cut_off_says_what_it_dropped_and_that_it_was_not_clean() {
    let fuel = "127000000000";
    let mut host = serving("handle-busy", &["--handle-fuel", fuel, "--handle-timeout", "5m"]);
    let mut clients: Vec<Client> = (0..6).map(|_| host.connect()).collect();
    host.eventually("they are open", || count(&host, "connections") == 6 && count(&host, "queued_events") == 0);
    // Each takes seconds; together they are too much for one batch, and are tried one by one.
    for (number, client) in clients.iter_mut().enumerate() {
        client.send("busy 12000\n");
        until_queued(&host, number as u64);
    }
    let done = host.cli(&["stop", "counter", "--output", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let notes = done.json()["report"]["notes"].to_string();
    assert!(notes.contains("were not handled within 10s and are dropped"), "{notes}\n{}", host.log());
    assert!(host.log().contains("were not handled within 10s and are dropped"), "{}", host.log());
    assert_eq!(clients[0].line(), "1.0.0 busy done");
    assert_eq!(clients[5].line(), "", "its line is one of those");
    host.kill();
    host.run();
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    let how = host.events("workload.recovered")[0]["message"].as_str().unwrap().to_owned();
    assert!(how.contains("is lost") && !how.contains("cleanly"), "{how}");
}
