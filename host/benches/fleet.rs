//! Rollouts over many hosts, each a process of its own, with clients on each: how long they take, what they cost the coordinator,
//! and what clients see.
//!
//! `cargo bench --bench fleet` measures 10 and 50 hosts; `-- 10` only one of them; `ROUNDS=4` is how often each fleet goes up and
//! back. Waves of 25 %, no soak. Code is compiled once and lent to all hosts, as on machines that share a cache; what a host
//! fetches, verifies, rehearses and swaps is its own.
//!
//! Clients are open-loop, at a load that leaves most of the processors idle: a line's latency counts from when it was due. What
//! the coordinator and the hosts used is the system's count of their processes. The time of a rollout is the command's, from its
//! start to its end, as whoever types it waits.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that can't be set up ends")]

#[path = "fleet/clients.rs"]
mod clients;
#[path = "fleet/processes.rs"]
mod processes;

use std::time::{Duration, Instant};

use self::{
    clients::Clients,
    processes::{Fleet, Used},
};

/// Connections to each host.
const CONNECTIONS: usize = 2;
/// Lines a second on all hosts together: a tenth or so of what two cores answer.
const RATE: u64 = 4_000;

fn main() {
    let wanted: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for hosts in [10, 50].into_iter().filter(|hosts| wanted.is_empty() || wanted.contains(hosts)) {
        measure(hosts, rounds);
    }
}

/// What one rollout came to.
struct Measured {
    what: &'static str,
    took: Duration,
    coordinator: Used,
    hosts: Used,
    /// The host's own figures, one for each.
    pauses_ms: Vec<f64>,
    before: Seen,
    during: Seen,
}

/// What clients saw in a stretch of time.
struct Seen {
    answered_per_second: f64,
    hosts_cpu_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn measure(hosts: usize, rounds: usize) {
    let fleet = Fleet::start(hosts);
    fleet.place();
    let clients = Clients::connect(&fleet.addresses(), CONNECTIONS, RATE);
    // The first takes the component to every host; in the others each host has it.
    let mut all = vec![one(&fleet, &clients, "up, fetched", &["deploy", "counter", "--version", "1.1.0"])];
    for round in 1..2 * rounds {
        let (what, command): (_, &[&str]) = if round % 2 == 1 {
            ("back", &["rollback", "counter"])
        } else {
            ("up, had", &["deploy", "counter", "--version", "1.1.0"])
        };
        all.push(one(&fleet, &clients, what, command));
    }
    println!("{hosts} hosts, {} connections, {RATE} lines/s in all, waves of 25 %, no soak", hosts * CONNECTIONS);
    for what in ["up, fetched", "up, had", "back"] {
        print(hosts, what, &all.iter().filter(|measured| measured.what == what).collect::<Vec<_>>());
    }
    println!("  no line lost, doubled or wrong: {}\n", clients.end());
}

fn one(fleet: &Fleet, clients: &Clients, what: &'static str, command: &[&str]) -> Measured {
    let (before, _, _) = watched(fleet, clients, || std::thread::sleep(Duration::from_secs(3)));
    let began = Instant::now();
    let (during, coordinator, hosts) = watched(fleet, clients, || fleet.roll(command));
    Measured { what, took: began.elapsed(), coordinator, hosts, pauses_ms: fleet.pauses_ms(), before, during }
}

/// What clients saw meanwhile, and what the coordinator and the hosts used.
fn watched(fleet: &Fleet, clients: &Clients, work: impl FnOnce()) -> (Seen, Used, Used) {
    let (coordinator, hosts) = (fleet.coordinator_used(), fleet.hosts_used());
    clients.forget();
    let began = Instant::now();
    work();
    let took = began.elapsed();
    let mut waited = clients.waited_ms();
    waited.sort_by(f64::total_cmp);
    let used = fleet.hosts_used().since(&hosts);
    let seen = Seen {
        answered_per_second: waited.len() as f64 / took.as_secs_f64(),
        hosts_cpu_percent: 100.0 * used.cpu.as_secs_f64() / took.as_secs_f64(),
        p50_ms: quantile(&waited, 0.5),
        p99_ms: quantile(&waited, 0.99),
    };
    (seen, fleet.coordinator_used().since(&coordinator), used)
}

fn print(hosts: usize, what: &str, all: &[&Measured]) {
    let median = |of: &dyn Fn(&Measured) -> f64| {
        let mut values: Vec<_> = all.iter().map(|measured| of(measured)).collect();
        values.sort_by(f64::total_cmp);
        quantile(&values, 0.5)
    };
    let per_host = hosts as f64 * all.len() as f64;
    let total = |of: &dyn Fn(&Measured) -> f64| all.iter().map(|measured| of(measured)).sum::<f64>();
    let mut pauses: Vec<_> = all.iter().flat_map(|measured| measured.pauses_ms.iter().copied()).collect();
    pauses.sort_by(f64::total_cmp);
    println!(
        "  {what:<12} {} rollouts   took p50 {:.2} s   the coordinator, by host: {:.2} ms of processor, {:.1} KiB written, {:.1} KiB sent\n\
         \x20              pause, the hosts' figure: p50 {:.2} p99 {:.2} max {:.2} ms\n\
         \x20              answers/s {:.0} before, {:.0} meanwhile ({:.1} %)   p50 {:.2} and {:.2} ms, p99 {:.2} and {:.2} ms\n\
         \x20              the hosts' processors: {:.0} % of one before, {:.0} % meanwhile; resident {:+.1} MiB a host",
        all.len(),
        median(&|m| m.took.as_secs_f64()),
        total(&|m| m.coordinator.cpu.as_secs_f64() * 1e3) / per_host,
        total(&|m| m.coordinator.written_bytes as f64 / 1024.0) / per_host,
        total(&|m| m.coordinator.sent_bytes as f64 / 1024.0) / per_host,
        quantile(&pauses, 0.5),
        quantile(&pauses, 0.99),
        quantile(&pauses, 1.0),
        median(&|m| m.before.answered_per_second),
        median(&|m| m.during.answered_per_second),
        100.0 * median(&|m| m.during.answered_per_second / m.before.answered_per_second),
        median(&|m| m.before.p50_ms),
        median(&|m| m.during.p50_ms),
        median(&|m| m.before.p99_ms),
        median(&|m| m.during.p99_ms),
        median(&|m| m.before.hosts_cpu_percent),
        median(&|m| m.during.hosts_cpu_percent),
        total(&|m| m.hosts.resident_mib) / per_host,
    );
}

fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (last as f64 * fraction).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
