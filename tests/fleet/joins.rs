//! Who may be a host of a fleet, and what whoever may not is told.

use std::process::Command;

use super::{harness::Fleet, wire::Wire};
use crate::harness::Host;

/// Tries to join, and says why not.
#[track_caller]
fn refusal(url: &str, token: &str, name: &str, more: &[&str]) -> String {
    let host = Host::unstarted();
    let join = ["run", "--join", url, "--token", token, "--host-name", name];
    let done = host.cli(&[&join[..], more].concat());
    assert_eq!(done.code, 1, "{done:?}");
    done.stderr
}

#[test]
fn whoever_may_not_join_is_told_why() {
    let fleet = Fleet::start();
    let other = Fleet::another();
    let url = fleet.url();
    let foreign = refusal(&url, &other.token(1), "a", &[]);
    assert!(foreign.contains("another fleet") && foreign.contains("nothing was told to it"), "{foreign}");

    let once = fleet.token(1);
    let first = fleet.host("first", &once);
    let used = refusal(&url, &once, "second", &[]);
    assert!(used.contains("used up"), "{used}");
    let taken = refusal(&url, &fleet.token(1), "first", &[]);
    assert!(taken.contains("belongs to a host that joined with another key"), "{taken}");
    assert!(taken.contains("join under another name"), "{taken}");

    let of_europe = fleet.json(&["token", "create", "--allow", "region=eu"])["token"].as_str().unwrap().to_owned();
    let elsewhere = refusal(&url, &of_europe, "third", &["--label", "region=us"]);
    assert!(elsewhere.contains("does not allow the label region=us; it allows region=eu"), "{elsewhere}");

    let parts: Vec<_> = once.split('.').collect();
    let [id, _, authority] = parts[..] else { panic!("{once} has three parts") };
    let guessed = "0".repeat(32);
    let wrong = refusal(&url, &format!("{id}.{guessed}.{authority}"), "fourth", &[]);
    assert!(wrong.contains(&format!("the secret of join token {id} is wrong")), "{wrong}");
    let unknown = refusal(&url, &format!("0011223344556677.{guessed}.{authority}"), "fourth", &[]);
    assert!(unknown.contains("there is no join token 0011223344556677"), "{unknown}");

    let short = fleet.json(&["token", "create", "--expires", "1s"])["token"].as_str().unwrap().to_owned();
    fleet.eventually("the token expires", || {
        let host = Host::unstarted();
        let done = host.cli(&["run", "--join", &url, "--token", &short, "--host-name", "first"]);
        // Until then it is refused because of the name.
        assert!(done.code == 1 && done.stderr.contains("did not let this machine join"), "{done:?}");
        done.stderr.contains("expired")
    });
    let nobody = Host::unstarted().cli(&["fleet", "status"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    drop(first);
}

#[test]
fn a_host_of_one_fleet_is_none_of_another_and_is_told_so_by_either_side() {
    let (fleet, other) = (Fleet::start(), Fleet::another());
    let wire = Wire::to(fleet.address());
    let mut host = fleet.host_at(&wire.url(), "h1", &fleet.token(1));
    fleet.until_connected(1);

    // Another coordinator answers where its own did.
    wire.lead_to(other.address());
    host.eventually("it does not believe that one", || host.log().contains("belongs to another fleet"));
    assert_eq!(other.connected(), 0);
    wire.lead_to(fleet.address());
    fleet.until_connected(1);

    // A data directory of one fleet with the token of another.
    assert_eq!(host.terminate(), 0);
    let (url, token) = (other.url(), other.token(1));
    let done = host.cli(&["run", "--join", &url, "--token", &token, "--host-name", "h1"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("in another fleet") && done.stderr.contains("nothing was changed"), "{done:?}");
    host.run();
    fleet.until_connected(1);
}

#[test]
fn of_two_hosts_with_one_identity_the_newer_stays_and_the_older_is_told_why() {
    let (fleet, mut hosts) = Fleet::with_hosts(1);
    assert_eq!(hosts[0].terminate(), 0);
    let mut copy = Host::unstarted();
    let copied = Command::new("cp").arg("-a").args([hosts[0].data(), copy.data()]).status().unwrap();
    assert!(copied.success());
    hosts[0].run();
    fleet.until_connected(1);

    copy.run();
    let older = &hosts[0];
    older.eventually("the older one is told", || older.log().contains("not in its fleet any more"));
    assert!(older.log().contains("is its identity used twice?"), "{}", older.log());
    let told = fleet.cli(&["fleet", "events", "host.replaced"]);
    assert!(told.stdout.contains("h1") && told.stdout.contains("identity used twice?"), "{told:?}");
    assert_eq!(older.cli(&["status"]).code, 0, "what runs there goes on");
    fleet.until_connected(1);
    assert!(!copy.log().contains("not in its fleet any more"), "{}", copy.log());
}
