//! What the clients of one workload notice while another on the same host attacks it.
//!
//! `cargo bench --bench hostile`; `SECONDS=10` watches longer, `-- recurse` runs the attacks whose line has that word.
//!
//! The host is a process of its own. The innocent is an echo whose clients are open-loop: a message's latency counts from
//! the moment it was due. Each attack begins again as soon as it has ended, and the host restarts its guest every time.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that can't be set up ends")]

#[path = "support/host.rs"]
mod host;
#[path = "hostile/innocent.rs"]
mod innocent;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use self::{host::Host, innocent::Innocent};

/// How a guest attacks.
enum Attack {
    /// On this line from a client.
    Line(&'static str),
    /// When it is deployed, with this config.
    Deploy(&'static str),
}

use Attack::{Deploy, Line};

/// Guest, how, what it wants of the host.
const ATTACKS: [(&str, Attack, &str); 18] = [
    ("handle-never-returns", Line("hang"), "a processor, without end"),
    ("recurses", Line("recurse"), "stack"),
    ("eats-memory", Line("eat"), "memory, in `handle`"),
    ("eats-memory", Deploy("eat = init"), "memory, in `init`"),
    ("copies-memory", Line("copy 1000000"), "memory bandwidth"),
    ("answers-too-much", Line("effects 200000"), "effects"),
    ("answers-too-much", Line("bytes 80"), "bytes in effects"),
    ("answers-too-much", Line("targets 1500000"), "targets of effects"),
    ("forges-ids", Line("forge"), "others' connections, timers, calls"),
    ("storms", Line("spin"), "turns, by timers that are always due"),
    ("storms", Line("storm"), "turns, by closings"),
    ("storms", Line("churn 20000"), "timers, set and cancelled"),
    ("floods-log", Line("log 8"), "the log"),
    ("asks-too-much", Line("draw 100"), "random numbers"),
    ("asks-too-much", Line("hoard 100000"), "things of the system"),
    ("floods", Line("flood 60000"), "memory, by answers nobody takes"),
    ("describe-never-returns", Deploy(""), "a processor, in `describe`"),
    ("describes-too-much", Deploy(""), "memory, in `describe`"),
];

const LISTEN: [&str; 2] = ["--listen", "tcp://127.0.0.1:0"];

fn main() {
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let time = Duration::from_secs(seconds);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(Host::start(folder.path(), &["--restarts", "1000000"]));
    let echo = example_workloads::example("echo", "1.0.0").unwrap();
    assert!(host.deploy(echo, "echo", &LISTEN), "echo was not deployed");
    let innocent = Innocent::start(host.address("echo"));
    println!("an innocent echo, {} messages/s, each row watched for {time:?} before and during\n", innocent::RATE);
    println!("{:<24} {:<22} {:<36} {:>8} {:>16} {:>16}", "guest", "", "wants", "times", "p99 before", "p99 during");
    for (guest, attack, wants) in ATTACKS {
        let (what, line) = match attack {
            Line(line) | Deploy(line) => (format!("{guest} {line}"), line),
        };
        if !wanted.is_empty() && !wanted.iter().any(|word| what.contains(word)) {
            continue;
        }
        let before = innocent.p99(time);
        let attacker = match attack {
            Line(line) => by_line(&host, guest, line),
            Deploy(config) => by_deploy(&host, guest, config),
        };
        let during = innocent.p99(time);
        let times = attacker.end(&host);
        println!(
            "{guest:<24} {line:<22} {wants:<36} {times:>8} {:>13.2} ms {:>13.2} ms",
            before.as_secs_f64() * 1e3,
            during.as_secs_f64() * 1e3
        );
    }
    println!("\nmessages lost, doubled or changed: {}", innocent.end());
}

/// An attack under way.
struct Attacker {
    over: Arc<AtomicBool>,
    times: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Attacker {
    fn start(mut attack: impl FnMut() + Send + 'static) -> Self {
        let (over, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, count) = (over.clone(), times.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                attack();
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { over, times, thread }
    }

    /// How often it attacked. An attack without end counts as one.
    fn end(self, host: &Host) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        // Refused where a deploy never took hold: there is nothing to stop.
        host.ask(&["stop", "attacker"]);
        host.ask(&["remove", "attacker"]);
        self.thread.join().unwrap();
        self.times.load(Ordering::Relaxed).max(1)
    }
}

/// A client says the line, takes one answer or none, and says it again, on a connection that is open.
fn by_line(host: &Arc<Host>, guest: &str, line: &'static str) -> Attacker {
    let guest = example_workloads::fault(guest).unwrap();
    assert!(host.deploy(guest, "attacker", &LISTEN), "{} was not deployed", guest.name);
    let address = host.address("attacker");
    let mut reader = None;
    Attacker::start(move || {
        let again = attempt(address, &mut reader, line);
        if !again {
            reader = None;
        }
    })
}

/// Whether the connection is still good.
fn attempt(address: SocketAddr, reader: &mut Option<BufReader<TcpStream>>, line: &str) -> bool {
    let reader = match reader {
        Some(reader) => reader,
        None => {
            let Ok(stream) = TcpStream::connect(address) else {
                // It has been removed.
                std::thread::yield_now();
                return false;
            };
            reader.insert(BufReader::new(stream))
        }
    };
    let said = reader.get_mut().write_all(format!("{line}\n").as_bytes());
    said.is_ok() && reader.read_until(b'\n', &mut Vec::new()).is_ok_and(|length| length > 0)
}

/// It is deployed, refused, and deployed again.
fn by_deploy(host: &Arc<Host>, guest: &'static str, config: &'static str) -> Attacker {
    let (guest, host) = (example_workloads::fault(guest).unwrap(), host.clone());
    Attacker::start(move || {
        let config = host.file("attacker.config", config.as_bytes());
        let refused = !host.deploy(guest, "attacker", &[&LISTEN[..], &["--config", config.to_str().unwrap()]].concat());
        assert!(refused, "{} was deployed", guest.name);
    })
}
