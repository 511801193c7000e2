//! What can't be meant, what isn't there, and hosts that don't answer.

use super::says;
use crate::harness::Host;

#[test]
fn values_that_cant_be_meant_are_exit_code_2_and_say_how_to_write_them() {
    let host = Host::unstarted();
    for (arguments, wanted) in [
        ("deploy x.wasm --version 1.0", "did you mean 1.0.0?"),
        ("deploy x.wasm --version v1.2.3", "did you mean 1.2.3?"),
        ("deploy x.wasm --version one", "write it as 1.2.3"),
        ("deploy x.wasm", "--version <V>"),
        ("deploy x.wasm --version 1.0.0 --listen 127.0.0.1:7000", "write it as tcp://127.0.0.1:7000"),
        ("deploy x.wasm --version 1.0.0 --listen tcp://host:7000", "an IP address and a port are wanted"),
        ("deploy x.wasm --version 1.0.0 --timeout 5", "write 500ms, 10s or 5m"),
        ("deploy x.wasm --version 1.0.0 --timeout 0s", "more than nothing"),
        ("deploy x.wasm --version 1.0.0 --timeout 1h", "above the limit of 10m"),
        ("deploy x.wasm --version 1.0.0 --probation fast", "write 500ms, 10s or 5m"),
        ("deploy x.wasm --version 1.0.0 --probation 2days", "above the limit of 1day"),
        ("deploy x.wasm --version 1.0.0 --drain soon", "write 500ms, 10s or 5m"),
        ("deploy x.wasm --version 1.0.0 --state-from nowhere", "last-checkpoint"),
        ("deploy x.wasm --version 1.0.0 --name My.Chat", "lower-case letters"),
        ("deploy My.wasm --version 1.0.0", "name the workload with --name"),
        ("rollback counter --to 1", "did you mean 1.0.0?"),
        ("history --limit 0", "1..=1000"),
        ("call counter total --timeout 1", "write 500ms, 10s or 5m"),
        ("run --max-memory-percent 101", "1..=100"),
        ("run --mailbox much", "write 100MiB"),
        ("status --output xml", "text, json"),
        ("frobnicate", "unrecognized subcommand"),
        ("", "requires a subcommand"),
    ] {
        let done = host.cli(&arguments.split_whitespace().collect::<Vec<_>>());
        assert_eq!(done.code, 2, "{arguments}: {done:?}");
        says(&done.stderr, &["error: ", wanted]);
        assert_eq!(done.stdout, "", "{arguments}");
    }
}

#[test]
fn files_that_cant_be_a_component_change_nothing_and_say_so() {
    let host = Host::with_counter();
    let deploy = |file: &str, code: i32, wanted: &[&str]| {
        host.refuses(&["deploy", file, "--name", "counter", "--version", "1.1.0"], code, wanted);
    };
    let still = "what runs goes on";
    deploy("/nowhere.wasm", 1, &["there is no file /nowhere.wasm", "look at the path", still]);
    deploy("/tmp", 1, &["/tmp is a directory", "name the file in it", still]);
    let empty = host.file("empty.wasm", b"");
    deploy(empty.to_str().unwrap(), 1, &["empty.wasm is empty", "wasm32-wasip2", still]);
    let next = host.counter("1.1.0");
    let config = |file: &str, wanted: &[&str]| {
        let deploy = ["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--config", file];
        host.refuses(&deploy, 1, wanted);
    };
    config("/nowhere.toml", &["there is no file /nowhere.toml", still]);
    config(next.to_str().unwrap(), &["is no UTF-8 text", still]);
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    assert_eq!(host.reports_of("counter").len(), 1, "the host was asked nothing");
}

#[test]
fn without_a_host_every_command_says_how_to_start_one() {
    let mut host = Host::unstarted();
    let component = host.counter("1.0.0");
    let component = component.to_str().unwrap();
    let start = format!("host run --data {}", host.data().display());
    for command in [
        "status",
        "status counter",
        "versions counter",
        "history",
        "health",
        "events",
        "call counter total",
        "rollback counter",
        "stop counter",
        "start counter",
        "remove counter",
    ] {
        let command: Vec<_> = command.split(' ').collect();
        host.refuses(&command, 5, &["no host runs in", &start]);
    }
    for verb in ["deploy", "plan"] {
        host.refuses(&[verb, component, "--version", "1.0.0"], 5, &["no host runs in", &start]);
    }
    assert_eq!(host.document(&["status"], 5)["error"]["kind"], "no-host");

    // Killed, it leaves its socket behind; that is no host either. And a host takes the place over.
    host.run();
    host.kill();
    host.refuses(&["status"], 5, &["no host runs in", &start]);
    host.run();
    host.words(&["status"], 0);
    // The wrong directory is not the right one.
    host.refuses(&["status", "--data", "/nowhere"], 5, &["no host runs in /nowhere", "host run --data /nowhere"]);
}

#[test]
fn a_second_host_in_the_same_directory_is_refused_and_the_first_goes_on() {
    let host = Host::with_counter();
    let pid = host.json(&["status"])["host"]["pid"].to_string();
    let words = host.words(&["run"], 1);
    says(&words, &["another host", &format!("(process {pid})"), "already runs", "the other host goes on", "--data"]);
    assert_eq!(host.document_of_run()["error"]["kind"], "in-use");
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
}

impl Host {
    /// The document of a host that does not start; its log stands beside it.
    fn document_of_run(&self) -> serde_json::Value {
        let done = self.cli(&["run", "--output", "json"]);
        assert_eq!(done.code, 1, "{done:?}");
        done.json()
    }
}

#[test]
fn a_metrics_address_that_is_taken_is_said_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let host = Host::unstarted();
    says(&host.words(&["run", "--metrics", &address], 1), &["error: ", &address]);
    assert!(!host.data().join("control/host.sock").exists());
}
