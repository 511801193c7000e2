//! A fleet as a file declares it.

use std::path::PathBuf;

use serde_json::Value;

use super::{answers, harness::Fleet, traffic_on};

/// A file that declares.
struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.toml");
        Self { _folder: folder, path }
    }

    fn says(&self, text: &str) -> &str {
        std::fs::write(&self.path, text).unwrap();
        self.path.to_str().unwrap()
    }
}

fn counter(version: &str, more: &str) -> String {
    format!(
        "[workload.counter]\nversion = \"{version}\"\nlisten = [\"tcp://127.0.0.1:0\"]\n{more}\n\
         [workload.counter.rollout]\nsoak = \"0s\"\nwave = 2\n"
    )
}

/// What differs of the only workload, in words.
fn differs(told: &Value) -> String {
    assert_eq!(told["workloads"].as_array().unwrap().len(), 1, "{told}");
    told["workloads"][0]["differs"].to_string()
}

#[test]
fn what_a_file_declares_is_shown_applied_and_then_as_declared() {
    let (fleet, hosts) = Fleet::with_hosts(3);
    for version in ["1.0.0", "1.1.0"] {
        fleet.publish(&hosts[0].counter(version), "counter", version);
    }
    let file = File::new();
    let path = file.says(&counter("1.0.0", ""));
    let told = fleet.json(&["diff", "-f", path]);
    assert!(
        differs(&told).contains("it is assigned to every host") && differs(&told).contains("it runs 1.0.0"),
        "{told}"
    );
    assert!(fleet.json(&["status"])["fleet"]["assignments"].as_array().unwrap().is_empty(), "diff changes nothing");

    let done = fleet.end_of(&["apply", "-f", path]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    assert_eq!(done.json()["rollouts"][0]["summary"]["counts"]["upgraded"], 3, "{done:?}");
    let told = fleet.json(&["diff", "-f", path]);
    assert_eq!(differs(&told), "[]", "{told}");
    let again = fleet.end_of(&["apply", "-f", path]);
    assert_eq!((again.code, differs(&again.json()).as_str()), (0, "[]"), "{again:?}");

    let traffic = traffic_on(&hosts);
    file.says(&counter("1.1.0", ""));
    let told = fleet.json(&["diff", "-f", path]);
    assert!(differs(&told).contains("it runs 1.1.0, not 1.0.0"), "{told}");
    assert!(told["workloads"][0]["plan"].to_string().contains("h3"), "{told}");
    let done = fleet.end_of(&["apply", "-f", path]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| answers(host) == "1.1.0"));

    file.says(&counter("1.1.0", "hosts = [\"h1\", \"h2\"]\nrunning = false"));
    let done = fleet.json(&["apply", "-f", path]);
    assert!(differs(&done).contains("h3 let go") && differs(&done).contains("it is stopped"), "{done}");
    fleet.eventually("it is stopped where it is assigned", || {
        hosts[..2].iter().all(|host| host.json(&["status"]).to_string().contains("\"stopped\""))
    });
    assert_eq!(answers(&hosts[2]), "1.1.0", "nothing is taken away that nobody asked to be taken away");
}

#[test]
fn a_file_of_which_a_part_can_not_be_is_not_begun() {
    let (fleet, hosts) = Fleet::with_counter(2);
    let file = File::new();
    let path = file.says(&format!("{}[workload.chat]\nversion = \"1.0.0\"\n", counter("1.1.0", "")));
    let refused = fleet.end_of(&["apply", "-f", path]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("the fleet has no chat 1.0.0"), "{refused:?}");
    let told = fleet.json(&["diff", "-f", path]);
    assert!(told["workloads"].to_string().contains("it runs 1.1.0, not 1.0.0"), "the rest is shown: {told}");

    let path = file.says(&counter("1.0.0", "labels = [\"region=mars\"]"));
    let told = fleet.json(&["diff", "-f", path]);
    assert!(differs(&told).contains("h1, h2 let go"), "{told}");

    fleet.deploy("1.1.0", &["--soak", "5m", "--async"]);
    fleet.first_in("switched");
    let path = file.says(&counter("1.0.0", ""));
    let refused = fleet.end_of(&["apply", "-f", path]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("brings 1.1.0, which is not all that is declared"), "{refused:?}");
    let told = fleet.json(&["diff", "-f", file.says(&counter("1.1.0", ""))]);
    assert!(told["workloads"][0]["rollout"].is_u64(), "it is under way already: {told}");
    let stopped = fleet.end_of(&["apply", "-f", file.says(&counter("1.1.0", "running = false"))]);
    assert_eq!(stopped.code, 1, "not under a rollout's hands: {stopped:?}");
    drop(hosts);

    let unreadable = fleet.end_of(&["apply", "-f", file.says("[workload.counter]\nversion = 1\n")]);
    assert_eq!(unreadable.code, 2, "{unreadable:?}");
    assert!(unreadable.stdout.contains("fleet.toml declares no fleet: workload counter: "), "{unreadable:?}");
}
