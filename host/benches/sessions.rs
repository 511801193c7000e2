//! Ten thousand instances with a connection each: how long a swap holds a client up, and what an idle one costs.
//!
//! `cargo bench --bench sessions`; `SESSIONS=10000 ACTIVE=1000 SWAPS=20` are the defaults. `RATE=N` sets the load in lines a second
//! instead of taking a part of what was measured. `JSON=1` prints a document for each row, for whoever puts it beside another
//! system's.
//!
//! The host is a process of its own, and this one is the clients'. They are open-loop: a line has a moment when it is due,
//! whatever became of the one before, and its latency counts from then; so a pause is seen by every line that was due in it.
//! What is said of the clients is said of each of them: the longest it waited for an answer during a deploy, its preparation
//! included. The same over the same time before the deploy is the baseline.
//!
//! Beside it, in the same run, Erlang/OTP with as many processes; where it is not installed, that is said.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that can't be set up ends")]

#[path = "otp/beam.rs"]
#[expect(dead_code, unreachable_pub, reason = "another bench has the same module and uses all of it")]
mod beam;
#[path = "sessions/clients.rs"]
mod clients;
#[path = "sessions/host.rs"]
mod host;
#[path = "support/host.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use self::{
    beam::{Beam, Way},
    clients::{Clients, Load},
    host::Host,
};

/// Part of what the clients could do at most that the load is: less than half, so that what waits is due to the pause.
const LOAD_PERCENT: u64 = 40;

/// A line that was due this much before the gate closed may still have waited behind it.
const JUST_BEFORE: Duration = Duration::from_millis(2);

fn main() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (sessions, active, swaps) = (number("SESSIONS", 10_000), number("ACTIVE", 1_000), number("SWAPS", 20));
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        idle(&host, sessions as usize).await;
        let clients = Clients::connect(host.address("session"), sessions as usize, b"login bench\n").await;
        for active in [active, sessions] {
            measure(&host, &clients, active as usize, swaps, number("RATE", 0)).await;
        }
    });
    if let Err(why) = erlang(sessions, swaps) {
        println!("Erlang/OTP, skipped: {why}");
    }
}

/// As many servers of Erlang/OTP, swapped as a release handler does it: all of them suspended, changed and resumed.
fn erlang(processes: u64, swaps: u64) -> Result<(), String> {
    let mut beam = Beam::start()?;
    beam.many(u32::try_from(processes).unwrap_or(u32::MAX))?;
    let pauses: Result<Vec<_>, _> =
        Way::BOTH.into_iter().cycle().take(swaps as usize).map(|way| beam.swap(way)).collect();
    let pauses = Sorted::of(pauses?.into_iter().map(|swap| swap.pause_ms).collect());
    let (p50, p99, max) = (pauses.at(0.5), pauses.at(0.99), pauses.at(1.0));
    println!(
        "Erlang/OTP, {processes} processes, {swaps} swaps\n  pause                         p50 {p50:>7.2}  p99 {p99:>7.2}  max {max:>7.2} ms"
    );
    if std::env::var_os("JSON").is_some() {
        let pause = json!({ "p50": p50, "p99": p99, "max": max });
        println!(
            "{}",
            json!({ "system": "otp", "what": "swap", "sessions": processes, "swaps": swaps, "pause_ms": pause })
        );
    }
    Ok(())
}

/// What an idle session costs, beside a connection to a workload with one instance.
async fn idle(host: &Host, sessions: usize) {
    host.deploy("echo", "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    host.deploy("session", "1.0.0", &["--topology", "per-connection", "--listen", "tcp://127.0.0.1:0"]);
    // What the first of them costs is not counted as any one's.
    let _firsts = [
        Clients::connect(host.address("echo"), 1, b"x\n").await,
        Clients::connect(host.address("session"), 1, b"login bench\n").await,
    ];
    let before = host.cost();
    let plain = Clients::connect(host.address("echo"), sessions, b"x\n").await;
    let connections = host.cost().since(before);
    plain.close().await;
    host.until_connections("echo", 1);
    let before = host.cost();
    let began = Instant::now();
    let idle = Clients::connect(host.address("session"), sessions, b"login bench\n").await;
    let took = began.elapsed();
    let all = host.cost().since(before);
    let each = |total: u64| total as f64 / sessions as f64;
    println!(
        "an idle session, one of {sessions}: {:.1} KiB resident, {:.1} KiB page tables, {:.2} mappings; a connection by itself \
         {:.1} KiB; connected and logged in in {:.0} µs each\n",
        each(all.resident_kib),
        each(all.page_tables_kib),
        each(all.mappings),
        each(connections.resident_kib),
        each(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
    );
    if std::env::var_os("JSON").is_some() {
        println!(
            "{}",
            json!({
                "system": "host", "what": "idle", "sessions": sessions, "resident_kib": each(all.resident_kib),
                "page_tables_kib": each(all.page_tables_kib), "mappings": each(all.mappings),
                "connection_kib": each(connections.resident_kib),
            })
        );
    }
    idle.close().await;
    host.until_connections("session", 1);
}

/// Swaps up and down while some of the sessions are active.
async fn measure(host: &Host, clients: &Clients, active: usize, swaps: u64, rate: u64) {
    let most = clients.most(active, Duration::from_secs(2)).await;
    let rate = if rate == 0 { most * LOAD_PERCENT / 100 } else { rate };
    let load = Load::start(clients, active, rate);
    let (mut pauses, mut in_pause) = (Vec::new(), Vec::new());
    let (mut before, mut during) = (Vec::new(), Vec::new());
    let (mut usual, mut paused) = (Vec::new(), Vec::new());
    let mut took = Duration::from_secs(3);
    for number in 0..swaps {
        clients.forget(active);
        tokio::time::sleep(took).await;
        before.extend(clients.longest(active).await);
        usual.extend(clients.lines().into_iter().map(|(_, waited)| ms(waited)));
        clients.forget(active);
        let (began, wall) = (Instant::now(), SystemTime::now());
        let version = if number % 2 == 0 { "1.1.0" } else { "1.0.0" };
        let report = host.swap("session", version).await;
        took = began.elapsed();
        during.extend(clients.longest(active).await);
        let (closed, opened) = pause(&report, began, wall);
        let met = |due: Instant| due + JUST_BEFORE > closed && due < opened;
        paused.extend(clients.lines().into_iter().filter(|(due, _)| met(*due)).map(|(_, waited)| ms(waited)));
        pauses.push(ms(Duration::from_nanos(report["pause_ns"].as_u64().unwrap())));
        in_pause.push(report["instances"]["in_pause"].as_u64().unwrap() as f64);
    }
    load.stop();
    let [before, during, pauses, in_pause, usual, paused] =
        [before, during, pauses, in_pause, usual, paused].map(Sorted::of);
    println!(
        "{} sessions, {active} active, {rate} lines/s of {most} at most, {swaps} swaps of {:.1} s\n\
         \x20 pause, the host's figure      p50 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms; {:.0} migrated in it (p50)\n\
         \x20 {} lines due in a pause    p50 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms\n\
         \x20 lines without a deploy        p50 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms\n\
         \x20 longest wait of each client   p50 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms\n\
         \x20 the same without a deploy     p50 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms\n",
        clients.len(),
        took.as_secs_f64(),
        pauses.at(0.5),
        pauses.at(0.99),
        pauses.at(1.0),
        in_pause.at(0.5),
        paused.0.len(),
        paused.at(0.5),
        paused.at(0.99),
        paused.at(1.0),
        usual.at(0.5),
        usual.at(0.99),
        usual.at(1.0),
        during.at(0.5),
        during.at(0.99),
        during.at(1.0),
        before.at(0.5),
        before.at(0.99),
        before.at(1.0),
    );
    if std::env::var_os("JSON").is_some() {
        let figures = |sorted: &Sorted| json!({ "p50": sorted.at(0.5), "p99": sorted.at(0.99), "max": sorted.at(1.0) });
        println!(
            "{}",
            json!({
                "system": "host", "what": "swap", "sessions": clients.len(), "active": active, "rate": rate, "swaps": swaps,
                "pause_ms": figures(&pauses), "lines_in_pause_ms": figures(&paused), "lines_ms": figures(&usual),
                "clients_ms": figures(&during), "baseline_ms": figures(&before),
            })
        );
    }
}

/// When the pause that a report tells of began and ended. The moments are the host's, of the same machine's clock.
fn pause(report: &Value, began: Instant, wall: SystemTime) -> (Instant, Instant) {
    let told: jiff::Timestamp = report["began"].as_str().unwrap().parse().unwrap();
    let since = SystemTime::from(told).duration_since(wall).unwrap_or_default();
    let prepared: u64 = report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|phase| phase["name"] == "prepare")
        .map(|phase| phase["took_ns"].as_u64().unwrap())
        .sum();
    let closed = began + since + Duration::from_nanos(prepared);
    (closed, closed + Duration::from_nanos(report["pause_ns"].as_u64().unwrap()))
}

/// Figures in order.
struct Sorted(Vec<f64>);

impl Sorted {
    fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    fn at(&self, fraction: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (last as f64 * fraction).round() as usize;
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
