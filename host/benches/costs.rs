//! What a replay, a checkpoint and a rehearsal cost the workload that goes on running. (The journal: `--bench instance`.)
//!
//! `cargo bench --bench costs`; `SECONDS=20` serves longer before the replay, `ROUNDS=100` asks for more checkpoints and
//! rehearsals, `-- 10000` runs one size and no replay.
//!
//! The host is a process of its own. The client that is held up is open-loop, so a hold is seen by every line that was due in
//! it: of each window with one checkpoint or one rehearsal in it the longest wait counts, beside that of windows as long
//! in which nothing was asked for.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that can't be set up ends")]

#[path = "costs/lines.rs"]
mod lines;
#[path = "support/host.rs"]
mod support;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use example_workloads::example;
use serde_json::Value;

use self::{
    lines::{Lines, Waits},
    support::Host,
};

/// Rows of guest state.
const ROWS: [u32; 3] = [0, 10_000, 100_000];
/// Clients that keep the host busy before a replay.
const CLIENTS: usize = 8;
/// Lines that each of them has under way: where there are more in a chunk, more of the time is the guest's own, which no
/// replay can save.
const DEPTHS: [usize; 2] = [1, 16];
/// How often a checkpoint is made where that is measured, and how long a window is in which nothing is.
const EVERY: Duration = Duration::from_millis(500);
/// No checkpoint comes unasked.
const NEVER: [&str; 2] = ["--checkpoint-every", "1h"];

type Window = (Instant, Instant);

fn main() {
    let number = |name: &str, usual: u32| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (seconds, rounds) = (number("SECONDS", 5), number("ROUNDS", 20));
    let wanted: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if wanted.is_empty() {
        for depth in DEPTHS {
            replay(depth, Duration::from_secs(seconds.into()));
        }
    }
    println!(
        "an open-loop client, {} lines/s; of each window the longest wait of a line, milliseconds; processor time of the host\n\
         for one operation, that of serving the lines taken off\n",
        lines::RATE
    );
    println!(
        "{:>7}  {:<12} {:>8} {:>9} {:>13} {:>13} {:>13} {:>14}",
        "rows", "", "windows", "of (ms)", "longest p50", "longest max", "all lines p99", "processor (ms)"
    );
    for rows in ROWS.into_iter().filter(|rows| wanted.is_empty() || wanted.contains(rows)) {
        let rate = quiet_and_rehearsals(rows, rounds);
        checkpoints(rows, rounds, rate);
    }
}

/// Serves at full load, then handles all of it again on a copy.
fn replay(depth: usize, time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    // All of the traffic, not what came since the journal's last base.
    let host = Host::start(folder.path(), &[&NEVER[..], &["--journal", "2GiB"]].concat());
    deploy(&host, folder.path(), 0);
    let address = host.address("counter");
    let (began, before) = (Instant::now(), host.processor_time());
    let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(move || busy(address, depth, began + time))).collect();
    let lines: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let (served, serving) = (began.elapsed(), host.processor_time() - before);
    let (began, before) = (Instant::now(), host.processor_time());
    let output = host.command(&["replay", "counter", "--output", "json"]).output().unwrap();
    let (replayed, replaying) = (began.elapsed(), host.processor_time() - before);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{document}");
    println!("replay: {CLIENTS} clients with {depth} lines under way each, {lines} lines");
    println!("  served in   {served:>8.2?}, {serving:.2?} of processor time");
    println!("  replayed in {replayed:>8.2?}, {replaying:.2?} of processor time, the command included");
    println!("  the host says: {}", document["report"]["notes"][0].as_str().unwrap_or("nothing"));
    println!(
        "  {:.1} times as fast; in processor time {:.1} times\n",
        served.as_secs_f64() / replayed.as_secs_f64(),
        serving.as_secs_f64() / replaying.as_secs_f64()
    );
}

/// A line for each answer, without a rest. Gives the number of answers.
fn busy(address: SocketAddr, depth: usize, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut answers, mut answered, mut due) = ([0; 4096], 0, depth);
    while Instant::now() < until {
        stream.write_all("incr\n".repeat(due).as_bytes()).unwrap();
        let length = stream.read(&mut answers).unwrap();
        due = answers[..length].iter().filter(|byte| **byte == b'\n').count();
        answered += due as u64;
    }
    answered
}

/// Gives the part of a processor that serving the lines takes.
fn quiet_and_rehearsals(rows: u32, rounds: u32) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &NEVER);
    deploy(&host, folder.path(), rows);
    let next = example("counter", "1.1.0").unwrap();
    let rehearse = || assert!(host.deploy(next, "counter", &["--dry-run"]), "the rehearsal failed");
    // The first one compiles.
    rehearse();
    let lines = Lines::start(host.address("counter"));
    thread::sleep(EVERY);
    let (from, before) = (Instant::now(), host.processor_time());
    thread::sleep(EVERY * rounds);
    let to = Instant::now();
    let rate = (host.processor_time() - before).as_secs_f64() / (to - from).as_secs_f64();
    let quiet = windows(from, to, EVERY);
    let mut rehearsals = Vec::new();
    let before = host.processor_time();
    for _ in 0..rounds {
        let from = Instant::now();
        rehearse();
        rehearsals.push((from, Instant::now()));
    }
    let spent = host.processor_time() - before;
    let waits = lines.end();
    let took = rehearsals.iter().map(|(from, to)| *to - *from).sum::<Duration>();
    print(rows, "nothing", &waits, &quiet, None);
    // As long as the rehearsals were, to compare with.
    let alike = windows(from, to, took / rounds);
    print(rows, "nothing", &waits, &alike, None);
    print(rows, "a rehearsal", &waits, &rehearsals, Some(less(spent, rate, took) / f64::from(rounds)));
    rate
}

fn checkpoints(rows: u32, rounds: u32, rate: f64) {
    let folder = tempfile::tempdir().unwrap();
    let every = format!("{}ms", EVERY.as_millis());
    let host = Host::start(folder.path(), &["--checkpoint-every", &every]);
    deploy(&host, folder.path(), rows);
    let lines = Lines::start(host.address("counter"));
    thread::sleep(EVERY);
    let (from, before) = (Instant::now(), host.processor_time());
    thread::sleep(EVERY * rounds);
    let to = Instant::now();
    let spent = host.processor_time() - before;
    let waits = lines.end();
    let processor = less(spent, rate, to - from) / f64::from(rounds);
    print(rows, "a checkpoint", &waits, &windows(from, to, EVERY), Some(processor));
}

fn deploy(host: &Host, folder: &std::path::Path, rows: u32) {
    let config = folder.join("config");
    std::fs::write(&config, format!("rows = {rows}")).unwrap();
    let arguments = ["--listen", "tcp://127.0.0.1:0", "--config", config.to_str().unwrap()];
    assert!(host.deploy(example("counter", "1.0.0").unwrap(), "counter", &arguments), "counter was not deployed");
}

fn windows(from: Instant, to: Instant, of: Duration) -> Vec<Window> {
    let starts = std::iter::successors(Some(from), |start| Some(*start + of));
    starts.map(|start| (start, start + of)).take_while(|(_, end)| *end <= to).collect()
}

/// Milliseconds of processor time beside those of serving.
fn less(spent: Duration, rate: f64, time: Duration) -> f64 {
    (spent.as_secs_f64() - rate * time.as_secs_f64()) * 1e3
}

fn print(rows: u32, what: &str, waits: &Waits, windows: &[Window], processor_ms: Option<f64>) {
    let mut longest: Vec<f64> = windows.iter().map(|window| waits.within(*window).fold(0.0, f64::max)).collect();
    let mut all: Vec<f64> = windows.iter().flat_map(|window| waits.within(*window)).collect();
    longest.sort_by(f64::total_cmp);
    all.sort_by(f64::total_cmp);
    let length = windows.iter().map(|(from, to)| (*to - *from).as_secs_f64() * 1e3).sum::<f64>() / windows.len() as f64;
    let processor = processor_ms.map(|ms| format!("{ms:.1}")).unwrap_or_default();
    println!(
        "{rows:>7}  {what:<12} {:>8} {length:>9.0} {:>13.2} {:>13.2} {:>13.2} {processor:>14}",
        windows.len(),
        longest[longest.len() / 2],
        longest[longest.len() - 1],
        all[all.len() * 99 / 100],
    );
}
