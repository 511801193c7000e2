//! What happens while no session runs: connections come and go, bytes come in, one session can't be migrated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::{count, counting};
use crate::harness::{Client, Host};

/// Clients that always have something under way, so that a swap finds them changed since they were migrated ahead.
struct Busy {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Client, u64)>>,
}

impl Busy {
    fn start(host: &Host, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |_| {
            let (stop, mut client) = (stop.clone(), host.connect());
            std::thread::spawn(move || {
                let mut said = 0;
                while !stop.load(Ordering::Relaxed) {
                    said += 1;
                    let answer = client.ask("incr");
                    let total = answer.split(' ').nth(1).and_then(|total| total.parse().ok());
                    assert_eq!(total, Some(said), "{said} was answered with `{answer}`");
                }
                (client, said)
            })
        };
        Self { clients: (0..clients).map(spawn).collect(), stop }
    }

    /// Stops them. Each was answered each time, in order; what they go on with.
    #[track_caller]
    fn stop(self, host: &Host) -> Vec<(Client, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = |_| panic!("an answer was lost or wrong\n{}", host.log());
        self.clients.into_iter().map(|client| client.join().unwrap_or_else(wrong)).collect()
    }
}

/// Waits until no session runs: all busy clients wait, and nothing is handled from one look to the next.
fn until_paused(host: &Host, busy: u64) {
    host.eventually("the pause has begun", || {
        let (one, next) = (host.workload("counter"), host.workload("counter"));
        one["batches"] == next["batches"] && count(&next, "queued_events") >= busy
    });
}

#[test]
fn who_comes_and_goes_in_the_pause_is_served_by_the_new_version_or_is_gone() {
    let host = counting("counter", &[]);
    let mut idle: Vec<_> = (0..4).map(|_| host.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.ask("incr"), "1.0.0 1");
    }
    let leaving: Vec<_> = (0..3).map(|_| host.connect()).collect();
    let busy = Busy::start(&host, 10);
    let config = host.file("slow.toml", b"burn = 200000000\n");
    let arguments = ["--config", config.to_str().unwrap(), "--timeout", "60s"];
    let deploy = host.begin_deploy(&host.fault("code-change-slow"), "1.0.1", &arguments);
    until_paused(&host, 10);
    // In the pause: some come, some go, some say something and go, and still want their answer.
    let mut comes = host.connect();
    comes.send("incr\n");
    drop(leaving);
    let mut last_words = idle.pop().unwrap();
    last_words.send("incr\n");
    last_words.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let done = deploy.end();
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert!(count(&report["instances"], "in_pause") >= 1, "{report}");
    assert_eq!(comes.line(), "1.0.0 1");
    assert_eq!(last_words.rest(), b"1.0.0 2\n");
    for client in &mut idle {
        assert_eq!(client.ask("incr"), "1.0.0 2");
    }
    let busy = busy.stop(&host);
    host.eventually("who left is gone", || count(&host.workload("counter"), "connections") == 10 + 3 + 1);
    drop((busy, comes));
}

#[test]
fn a_session_that_can_no_longer_be_migrated_in_the_pause_keeps_all_where_they_are() {
    let host = counting("counter", &[]);
    let mut idle = host.connect();
    assert_eq!(idle.ask("incr"), "1.0.0 1");
    // Connections of now are drained after they were migrated ahead; who comes meanwhile is migrated in the pause.
    let deploy = host.begin_deploy(&host.fault("code-change-unlucky"), "1.0.1", &["--drain", "1s"]);
    assert_eq!(idle.rest(), b"", "the drain has begun");
    let mut unlucky = host.connect();
    for said in 1..=13 {
        assert_eq!(unlucky.ask("incr"), format!("1.0.0 {said}"));
    }
    let done = deploy.end();
    assert_eq!(done.code, 1, "{done:?}\n{}", host.log());
    let report = &done.json()["report"];
    assert_eq!(report["verdict"], "aborted", "{report}");
    let why = report["why"].as_str().unwrap();
    assert!(why.starts_with("code-change failed: connection ") && why.contains("13 is no number"), "{why}");
    assert!(report["pause_ns"].is_u64(), "the pause there was is reported: {report}");
    assert_eq!(unlucky.ask("incr"), "1.0.0 14");
    assert_eq!(host.workload("counter")["generation"], 1);
}

#[test]
fn a_session_that_changed_while_one_swap_came_to_nothing_is_not_behind_after_the_next() {
    let host = counting("handle-busy", &["--handle-fuel", "1000000000000"]);
    let mut client = host.connect();
    let mut said = 0;
    for (line, timeout, code) in [("busy 20000\n", "400ms", 1), ("busy 6000\n", "60s", 0)] {
        // While it is busy the swap is prepared and waits; the other goes on.
        let mut busy = host.connect();
        busy.send(line);
        host.eventually("its turn has begun", || count(&host.workload("counter"), "queued_events") == 0);
        let file = host.fault("handle-traps");
        let deploy = std::thread::scope(|scope| {
            let deploy = scope.spawn(|| host.deploy(&file, "1.0.1", &["--timeout", timeout]));
            while !deploy.is_finished() {
                said += 1;
                assert_eq!(client.ask("incr"), format!("1.0.0 {said}"));
            }
            deploy.join().unwrap()
        });
        assert_eq!(deploy.code, code, "{deploy:?}\n{}", host.log());
    }
    assert_eq!(client.ask("incr"), format!("1.0.0 {}", said + 1));
    assert_eq!(host.workload("counter")["version"], "1.0.1");
}

#[test]
fn sessions_under_load_lose_nothing_over_many_swaps() {
    let host = counting("counter", &[]);
    let busy = Busy::start(&host, 8);
    for round in 0..3 {
        let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
        assert_eq!(done.code, 0, "{round}: {done:?}\n{}", host.log());
        let done = host.deploy(&host.fault("code-change-errors"), "1.1.1", &[]);
        assert_eq!(done.code, 1, "{round}: {done:?}\n{}", host.log());
        let done = host.cli(&["rollback", "counter", "--to", "1.0.0"]);
        assert_eq!(done.code, 0, "{round}: {done:?}\n{}", host.log());
    }
    for (mut client, said) in busy.stop(&host) {
        assert_eq!(client.ask("incr"), format!("1.0.0 {}", said + 1));
    }
}
