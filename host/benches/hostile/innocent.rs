//! The clients of the workload that is not to notice anything.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

/// Messages a second: a twentieth of what the host can echo.
pub(crate) const RATE: u32 = 2_000;
const CONNECTIONS: usize = 20;
const MESSAGE: &[u8] = b"are you still there?\n";

/// Forgets what was, waits, and answers what was seen.
struct Watch {
    time: Duration,
    p99: oneshot::Sender<Duration>,
}

/// Clients in a thread of their own.
pub(crate) struct Innocent {
    watches: tokio::sync::mpsc::Sender<Watch>,
    thread: JoinHandle<u64>,
}

/// What all connections have seen.
#[derive(Default)]
struct Seen {
    latencies: RefCell<Vec<Duration>>,
    sent: Cell<u64>,
    answered: Cell<u64>,
}

impl Innocent {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (watches, asked) = tokio::sync::mpsc::channel(1);
        let (begun, began) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, run(address, asked, begun))
        });
        began.recv().unwrap();
        Self { watches, thread }
    }

    /// The p99 of what is answered in this time.
    pub(crate) fn p99(&self, time: Duration) -> Duration {
        let (p99, seen) = oneshot::channel();
        assert!(self.watches.blocking_send(Watch { time, p99 }).is_ok(), "the clients are gone");
        seen.blocking_recv().unwrap()
    }

    /// How many messages have no answer. One that was doubled or changed ends the run when it comes.
    pub(crate) fn end(self) -> u64 {
        drop(self.watches);
        self.thread.join().unwrap()
    }
}

async fn run(address: SocketAddr, mut asked: tokio::sync::mpsc::Receiver<Watch>, begun: mpsc::SyncSender<()>) -> u64 {
    let seen = Rc::new(Seen::default());
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let due = Rc::new(RefCell::new(VecDeque::new()));
        spawn_local(read(reader, due.clone(), seen.clone()));
        senders.push((writer, due));
    }
    let counted = seen.clone();
    let sending = spawn_local(async move {
        let mut due = Instant::now();
        for number in 0.. {
            due += Duration::from_secs(1) / RATE;
            tokio::time::sleep_until(due.into()).await;
            let (writer, queue) = &mut senders[number % CONNECTIONS];
            queue.borrow_mut().push_back(due);
            writer.write_all(MESSAGE).await.unwrap();
            counted.sent.set(counted.sent.get() + 1);
        }
    });
    begun.send(()).unwrap();
    while let Some(Watch { time, p99 }) = asked.recv().await {
        seen.latencies.borrow_mut().clear();
        tokio::time::sleep(time).await;
        let mut latencies = seen.latencies.borrow().clone();
        latencies.sort_unstable();
        assert!(p99.send(latencies[latencies.len() * 99 / 100]).is_ok());
    }
    sending.abort();
    // What is under way gets its answer, or ten seconds.
    let until = Instant::now() + Duration::from_secs(10);
    while seen.answered.get() < seen.sent.get() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.sent.get() - seen.answered.get()
}

async fn read(mut reader: OwnedReadHalf, due: Rc<RefCell<VecDeque<Instant>>>, seen: Rc<Seen>) {
    let mut answer = vec![0; MESSAGE.len()];
    loop {
        reader.read_exact(&mut answer).await.expect("the innocent is connected");
        assert_eq!(answer, MESSAGE, "another answer");
        let due = due.borrow_mut().pop_front().expect("an answer that nobody asked for");
        seen.latencies.borrow_mut().push(due.elapsed());
        seen.answered.set(seen.answered.get() + 1);
    }
}
