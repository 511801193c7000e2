//! Whose word on health a rollout takes, and what it does when that is bad.

use super::harness::Fleet;
use crate::harness::{Client, Host};

/// A client of the chat, with a name, past what newcomers are told.
fn named(host: &Host, name: &str) -> Client {
    let mut client = host.connect_to("chat");
    client.send(&format!("/nick {name}\n"));
    while !client.line().ends_with(&format!("is now {name}")) {}
    client
}

#[test]
fn a_chat_is_rolled_out_on_its_own_word_on_health_and_nobody_leaves_it() {
    let (fleet, hosts) = Fleet::with_hosts(2);
    let chat = |version| {
        let example = example_workloads::example("chat", version).unwrap();
        hosts[0].file(example.file_name, example.component)
    };
    for version in ["1.0.0", "1.1.0"] {
        fleet.publish(&chat(version), "chat", version);
    }
    let deploy = |version: &str, more: &[&str]| {
        fleet.json(&[&["deploy", "chat", "--version", version, "--health", "chat.health=ok"], more].concat())
    };
    deploy("1.0.0", &["--listen", "tcp://127.0.0.1:0", "--strategy", "all-at-once", "--soak", "0s"]);
    let mut talks: Vec<_> = hosts.iter().map(|host| (named(host, "ann"), named(host, "bob"))).collect();
    let canary = ["--strategy", "canary", "--canary", "1", "--monitor", "1s", "--wave", "25%", "--wave-delay", "0s"];
    deploy("1.1.0", &[&canary[..], &["--soak", "0s", "--retries", "3"]].concat());
    for (host, (ann, bob)) in hosts.iter().zip(&mut talks) {
        ann.send("still here\n");
        assert_eq!(bob.line(), "ann: still here");
        let said = host.cli(&["call", "chat", "health"]);
        assert!(said.stdout.contains(r#"{"status":"ok","users":2,"rooms":1}"#), "{said:?}");
    }
}

/// Two hosts; 1.2.0 says of itself, when it is called, how it is.
fn speaks_for_itself() -> (Fleet, Vec<Host>, Vec<Client>) {
    let (fleet, hosts) = Fleet::with_counter(2);
    fleet.publish(&hosts[0].fault("called-health-fails"), "counter", "1.2.0");
    let mut clients: Vec<_> = hosts.iter().map(Host::connect).collect();
    for client in &mut clients {
        assert_eq!(client.ask("incr"), "1.0.0 1");
    }
    (fleet, hosts, clients)
}

#[test]
fn health_that_fails_on_a_host_of_the_second_wave_undoes_the_first_with_every_session_kept() {
    let (fleet, hosts, mut clients) = speaks_for_itself();
    let health = ["--health", "counter.health=ok", "--retries", "1", "--retry-delay", "0s"];
    let canary = ["--strategy", "canary", "--monitor", "0s", "--soak", "1h"];
    // The canary's monitoring is as long as the soak: a person is content with it.
    fleet.deploy_detached("1.2.0", &[&health[..], &canary].concat());
    fleet.until("verifying");
    fleet.json(&["promote"]);
    fleet.until_hosts(&["h2"], "switched");
    fleet.until("verifying");
    for client in &mut clients {
        assert_eq!(client.ask("incr"), "1.0.0 2");
    }
    assert_eq!(clients[1].ask("break"), "1.0.0 broken");
    let ended = fleet.ends_with(3);
    let why = ended["summary"]["why"].as_str().unwrap();
    assert!(why.contains("h2: its health is failed"), "{ended}");
    assert_eq!(ended["summary"]["counts"]["rolled_back"], 2, "{ended}");
    fleet.settles(&hosts, "1.0.0");
    for client in &mut clients {
        assert_eq!(client.ask("incr"), "1.0.0 3", "what was counted since the switch is there, on the same connection");
    }
}

#[test]
fn health_that_nobody_can_find_out_is_for_a_person() {
    let (fleet, hosts, mut clients) = speaks_for_itself();
    // 1.1.0 has no such method: that it is well or not is not known.
    let unknown = ["--health", "counter.health=ok", "--retries", "0", "--soak", "0s"];
    fleet.deploy_detached("1.1.0", &unknown);
    let paused = fleet.ends_with(7);
    let why = paused["summary"]["why"].as_str().unwrap();
    assert!(
        why.contains("h1 is connected, and its health can't be found out") && why.contains("no method"),
        "{paused}"
    );
    let ended = fleet.end_of(&["cancel"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    fleet.ends_with(3);
    fleet.settles(&hosts, "1.0.0");
    for client in &mut clients {
        assert_eq!(client.ask("incr"), "1.0.0 2");
    }
}
