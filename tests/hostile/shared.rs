//! Attacks on what is shared: what waits for all clients of a workload together, and what a host does at its start.

use std::time::Duration;

use bytes::Bytes;
use host_api::socket;
use tokio::task::JoinSet;

use super::Beside;
use crate::harness::{Client, Host};

#[test]
fn calls_that_are_never_answered_fill_their_own_workload_and_no_other() {
    const HELD: usize = 10_000;
    /// On one connection to the control socket.
    const AT_ONCE: usize = 60;
    let beside = Beside::start(&[]);
    let _client = beside.attacker("holds-calls", "holds", "");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(async {
        let path = socket::path(&beside.host.data());
        let mut calls = JoinSet::new();
        let mut client = host_api::Client::connect(&path).await.unwrap();
        for number in 1..=HELD + 50 {
            if number % AT_ONCE == 0 {
                client = host_api::Client::connect(&path).await.unwrap();
            }
            let client = client.clone();
            calls.spawn(async move {
                let name = "holds".parse().unwrap();
                client.call(&name, "hold", Bytes::new(), Duration::from_secs(600)).await
            });
        }
        let mut refused = Vec::new();
        while refused.len() < 50 {
            refused.push(calls.join_next().await.unwrap().unwrap().unwrap_err().to_string());
        }
        assert_eq!(beside.host.workload("holds")["calls"], HELD);
        refused
    });
    assert!(refused.iter().all(|why| why.contains("10000 calls already wait")), "{refused:?}");
    beside.end();
}

#[test]
fn answers_that_wait_for_all_clients_together_have_an_end_before_each_of_them_has() {
    let beside = Beside::start(&["--outbox", "32MiB", "--outboxes", "48MiB"]);
    let mut calm = beside.attacker("floods", "floods", "");
    // Each takes less than a client may, nobody reads, and together it is too much. A quarter or so lies in the system.
    let mut greedy: Vec<_> = (0..8).map(|_| beside.host.connect_to("floods")).collect();
    for client in &mut greedy {
        client.send("flood 25000\n");
        beside.host.eventually("it has some, or it is closed", || client.has_answer() || client.is_closed());
    }
    beside.host.eventually("those that are too much are closed", || {
        let open = beside.host.workload("floods")["connections"].as_u64().unwrap();
        (1..9).contains(&open)
    });
    assert_eq!(calm.ask("incr"), "1.0.0 1", "who takes his answers is served");
    assert_eq!(beside.host.workload("floods")["slow_closed"], 0, "none was too slow by itself");
    // What the others held is free again.
    drop(greedy);
    beside.host.eventually("they are gone", || beside.host.workload("floods")["connections"] == 1);
    calm.send("flood 25000\n");
    assert_eq!(calm.line().len(), 25_000 * 1024);
    beside.end();
}

#[test]
fn a_workload_that_takes_its_time_at_the_hosts_start_keeps_no_other_waiting() {
    let mut host = Host::start();
    host.start_counter();
    let address = host.address();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    // Before the counter in every order, and busy for minutes with the state that it is given at a start.
    let slow = host.file("slow.config", b"burn = 14000000000\n");
    let arguments = ["--name", "a-slow-one", "--listen", "tcp://127.0.0.1:0", "--config", slow.to_str().unwrap()];
    assert_eq!(host.deploy(&host.fault("code-change-slow"), "1.0.0", &arguments).code, 0);
    assert_eq!(host.terminate(), 0);
    host.begin();
    let mut answer = None;
    host.eventually("the innocent serves", || {
        answer = Client::try_connect(address).map(|mut client| client.ask("incr"));
        answer.is_some()
    });
    assert_eq!(answer.unwrap(), "1.0.0 2");
    assert!(!host.log().contains("goes on without them"), "it was not waited for");
    host.kill();
}
