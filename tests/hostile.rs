//! Guests that attack their host, each beside an innocent counter whose clients ask all the time. Every attack ends as
//! docs/LIMITS.md says; the innocent loses nothing, the host lives, and its commands answer.

mod bombs;
mod guests;
mod refused;
mod shared;

use serde_json::Value;

use crate::harness::{Client, Done, Host, Traffic};

/// A hundredth of the usual: burnt in a tenth of a second by a guest that never returns.
const LITTLE_FUEL: &str = "150000000";

/// A host with an innocent workload under traffic, and room for an attacker.
struct Beside {
    host: Host,
    innocent: Traffic,
    pid: Value,
}

impl Beside {
    fn start(arguments: &[&str]) -> Self {
        let host = Host::start_with(arguments, &[]);
        host.start_counter();
        let innocent = Traffic::start(host.address(), 2, 0);
        let pid = host.json(&["status"])["host"]["pid"].clone();
        Self { host, innocent, pid }
    }

    /// Deploys a guest under its own name, whatever comes of it.
    fn deploy(&self, guest: &str, name: &str, config: &str) -> Done {
        let config = self.host.file(&format!("{name}.config"), config.as_bytes());
        let arguments = ["--name", name, "--listen", "tcp://127.0.0.1:0", "--config", config.to_str().unwrap()];
        self.host.deploy(&self.host.fault(guest), "1.0.0", &arguments)
    }

    /// Deploys one that starts like any other, and connects to it.
    #[track_caller]
    fn attacker(&self, guest: &str, name: &str, config: &str) -> Client {
        let done = self.deploy(guest, name, config);
        assert_eq!(done.code, 0, "{guest}: {done:?}\n{}", self.host.log());
        self.host.connect_to(name)
    }

    /// Waits until that workload's instance was lost for a reason in which all of `words` are.
    fn lost(&self, name: &str, words: &[&str]) {
        self.host.eventually(&format!("{name} is lost for {words:?}"), || {
            let told = self.host.events("workload.failed");
            let mut messages =
                told.iter().filter(|event| event["workload"] == name).map(|event| event["message"].to_string());
            messages.any(|message| words.iter().all(|word| message.contains(word)))
        });
    }

    /// The attack is over: nobody else has noticed.
    #[track_caller]
    fn end(self) {
        let Self { host, innocent, pid } = self;
        assert_eq!(host.json(&["status"])["host"]["pid"], pid, "the process is the same");
        let innocent_workload = host.workload("counter");
        assert_eq!(
            (&innocent_workload["state"], &innocent_workload["restarts"]),
            (&"running".into(), &0.into()),
            "{innocent_workload}"
        );
        let total = innocent.stop();
        assert!(total > 0, "the innocent was served");
        assert_eq!(host.health("counter")["status"], "ok");
        // The host can still do all that a host does.
        let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        assert_eq!(host.connect().ask("incr"), format!("1.1.0 {} 1", total + 1));
    }
}

/// Why a deploy came to nothing.
#[track_caller]
fn why(done: &Done) -> String {
    assert_eq!(done.code, 1, "{done:?}");
    let report = &done.json()["report"];
    assert_eq!(report["verdict"], "refused", "{report}");
    report["why"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned()
}
