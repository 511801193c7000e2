//! A client that is open-loop: its lines are due at a steady rate, whatever the answers do, and it notes how long each had
//! to wait from the moment it was due.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Lines a second: a hundredth of what the host can answer, and one within every half millisecond.
pub(crate) const RATE: u32 = 2_000;

/// Lines under way: more than come together in the longest pause.
const UNDER_WAY: usize = 100_000;

/// A line, answered.
#[derive(Clone, Copy)]
struct Answered {
    due: Instant,
    wait: Duration,
}

/// A client at work, on one connection and two threads.
pub(crate) struct Lines {
    over: Arc<AtomicBool>,
    sender: JoinHandle<()>,
    reader: JoinHandle<Vec<Answered>>,
}

/// What it has noted.
pub(crate) struct Waits(Vec<Answered>);

impl Lines {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let (under_way, dues) = mpsc::sync_channel(UNDER_WAY);
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let sender = thread::spawn(move || {
            let mut due = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                due += Duration::from_secs(1) / RATE;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                under_way.send(due).unwrap();
                stream.write_all(b"incr\n").unwrap();
            }
        });
        let reader = thread::spawn(move || {
            let (mut answered, mut line) = (Vec::new(), String::new());
            for due in dues {
                line.clear();
                assert!(answers.read_line(&mut line).unwrap() > 0, "the host closed the connection");
                answered.push(Answered { due, wait: due.elapsed() });
            }
            answered
        });
        Self { over, sender, reader }
    }

    pub(crate) fn end(self) -> Waits {
        self.over.store(true, Ordering::Relaxed);
        self.sender.join().unwrap();
        Waits(self.reader.join().unwrap())
    }
}

impl Waits {
    /// The waits of the lines due in a window, in milliseconds.
    pub(crate) fn within(&self, (from, to): (Instant, Instant)) -> impl Iterator<Item = f64> {
        let due = self.0.iter().filter(move |line| from <= line.due && line.due < to);
        due.map(|line| line.wait.as_secs_f64() * 1e3)
    }
}
