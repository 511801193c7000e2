//! Echo through the host beside the same server in plain tokio, in turn, in one run.
//!
//! Each server is a process of its own, with all cores to share with the client's process (this one). Rounds alternate
//! between the two, so that a machine that slows down slows both; what counts is the ratio of the medians.
//!
//! `cargo bench --bench echo`; `ROUNDS=20 SECONDS=3` asks for more, `-- chunks` for the loads with that word in their name.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that can't be set up ends")]

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const CONNECTIONS: usize = 50;
/// One message.
const LINE: &[u8] = b"the quick brown fox jumps over\n";

/// What the clients do.
struct Load {
    name: &'static str,
    /// Messages under way on each connection.
    depth: usize,
    /// The host's workload that answers.
    workload: &'static str,
}

const LOADS: [Load; 3] = [
    Load { name: "depth 1", depth: 1, workload: "chunks" },
    Load { name: "depth 16, in chunks", depth: 16, workload: "chunks" },
    Load { name: "depth 16, a line at a time", depth: 16, workload: "lines" },
];

/// A process that ends with its owner.
struct Server(Child);

impl Server {
    /// What it has used of the processors, its own and the system's on its behalf.
    fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // After the name, which is in parentheses, from the third field on.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--plain-server") {
        plain_server();
        return;
    }
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, time) = (number("ROUNDS", 7), Duration::from_secs(number("SECONDS", 2)));
    let folder = tempfile::tempdir().unwrap();
    let (plain, plain_address) = start_plain();
    let (host, addresses) = start_host(folder.path());
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("echo, {CONNECTIONS} connections, {} bytes a message, {rounds} rounds of {time:?} in turn\n", LINE.len());
    // `cargo bench` adds a flag of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for load in LOADS.into_iter().filter(|load| wanted.is_empty() || wanted.iter().any(|word| load.name.contains(word)))
    {
        let address = addresses.iter().find(|(name, _)| *name == load.workload).unwrap().1;
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..rounds {
            for (figures, server, address) in [(&mut theirs, &plain, plain_address), (&mut ours, &host, address)] {
                let before = server.processor_time();
                let answered = client.block_on(drive(address, load.depth, time));
                figures.rates.push(answered as f64 / time.as_secs_f64());
                figures.answered += answered;
                figures.processor += server.processor_time() - before;
            }
        }
        let (our_rate, their_rate) = (median(ours.rates), median(theirs.rates));
        println!(
            "{:<28} plain {their_rate:>9.0}/s {:>6.2} µs   host {our_rate:>9.0}/s {:>6.2} µs   {:>5.1} %",
            load.name,
            theirs.processor.as_secs_f64() * 1e6 / theirs.answered as f64,
            ours.processor.as_secs_f64() * 1e6 / ours.answered as f64,
            100.0 * our_rate / their_rate
        );
    }
    drop((plain, host));
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of all rounds with one server.
#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    answered: usize,
    processor: Duration,
}

/// Messages answered.
async fn drive(address: SocketAddr, depth: usize, time: Duration) -> usize {
    let until = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (burst, mut answer) = (LINE.repeat(depth), vec![0; LINE.len() * depth]);
            let mut answered = 0;
            while Instant::now() < until {
                stream.write_all(&burst).await.unwrap();
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, burst, "an answer that was not asked for");
                answered += depth;
            }
            answered
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// The same server without a host, its address on standard output.
fn plain_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let Some(data) = buffer.get(..length) else { return };
                    if stream.write_all(data).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn start_plain() -> (Server, SocketAddr) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).arg("--plain-server").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Server(child), line.trim().parse().unwrap())
}

/// A host with echo in both ways.
fn start_host(folder: &std::path::Path) -> (Server, Vec<(&'static str, SocketAddr)>) {
    let data = folder.join("data");
    let host = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.env("HOST_DATA", &data).stderr(Stdio::null()).stdout(Stdio::null());
        command
    };
    let server = Server(host().arg("run").spawn().unwrap());
    while !host().arg("status").status().unwrap().success() {
        std::thread::yield_now();
    }
    let component = folder.join("echo.wasm");
    std::fs::write(&component, example_workloads::example("echo", "1.0.0").unwrap().component).unwrap();
    let mut addresses = Vec::new();
    for name in ["chunks", "lines"] {
        let config = folder.join(format!("{name}.config"));
        std::fs::write(&config, if name == "lines" { "mode = lines\n" } else { "" }).unwrap();
        let deployed = host()
            .arg("deploy")
            .arg(&component)
            .args(["--version", "1.0.0", "--name", name, "--listen", "tcp://127.0.0.1:0", "--config"])
            .arg(&config)
            .status();
        assert!(deployed.unwrap().success(), "echo was not deployed");
        let status = host().args(["status", name, "--output", "json"]).stdout(Stdio::piped()).output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let listener = status["workload"]["listeners"][0].as_str().unwrap();
        addresses.push((name, listener.strip_prefix("tcp://").unwrap().parse().unwrap()));
    }
    (server, addresses)
}
