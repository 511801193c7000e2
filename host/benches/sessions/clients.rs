//! Thousands of clients in one thread, each with its own queue of lines that are due.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    task::{JoinHandle, spawn_local},
};

/// What is asked all the time.
const LINE: &[u8] = b"sum\n";
/// How often lines that are due are sent: often against what is measured.
const TICK: Duration = Duration::from_millis(1);
/// Connections that are being opened at once: as many as a listener's backlog holds easily.
const OPENING: usize = 256;

/// Clients that are connected.
pub(crate) struct Clients {
    all: Vec<Rc<Client>>,
    lines: Rc<RefCell<Vec<Line>>>,
    readers: Vec<JoinHandle<()>>,
}

/// When a line was due, and how long its answer took from then.
pub(crate) type Line = (Instant, Duration);

struct Client {
    stream: TcpStream,
    /// Of all clients.
    lines: Rc<RefCell<Vec<Line>>>,
    /// When each line was due that was sent and not answered yet.
    due: RefCell<VecDeque<Instant>>,
    longest: Cell<Duration>,
    answered: Cell<u64>,
    /// Ask again as soon as there is an answer.
    closed_loop: Cell<bool>,
}

impl Client {
    fn send(&self, due: Instant) {
        self.due.borrow_mut().push_back(due);
        let sent = self.stream.try_write(LINE);
        assert_eq!(sent.ok(), Some(LINE.len()), "a client could not send four bytes");
    }

    async fn read(&self) {
        let mut buffer = [0; 4096];
        loop {
            self.stream.readable().await.unwrap();
            let read = match self.stream.try_read(&mut buffer) {
                Ok(0) => panic!("a client was disconnected"),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => panic!("a client lost its connection: {error}"),
            };
            let now = Instant::now();
            for _ in buffer[..read].iter().filter(|byte| **byte == b'\n') {
                let due = self.due.borrow_mut().pop_front().expect("an answer that nobody asked for");
                self.longest.set(self.longest.get().max(now - due));
                self.lines.borrow_mut().push((due, now - due));
                self.answered.set(self.answered.get() + 1);
                if self.closed_loop.get() {
                    self.send(now);
                }
            }
        }
    }
}

impl Clients {
    /// Connects so many, each of which says this and has an answer.
    pub(crate) async fn connect(address: SocketAddr, count: usize, greeting: &'static [u8]) -> Self {
        let mut clients = Self { all: Vec::new(), lines: Rc::default(), readers: Vec::new() };
        while clients.all.len() < count {
            let opening: Vec<_> = (clients.all.len()..count.min(clients.all.len() + OPENING))
                .map(|_| spawn_local(TcpStream::connect(address)))
                .collect();
            for stream in opening {
                let stream = stream.await.unwrap().unwrap();
                stream.set_nodelay(true).unwrap();
                let due = RefCell::new(VecDeque::from([Instant::now()]));
                assert_eq!(stream.try_write(greeting).unwrap(), greeting.len());
                let (longest, answered) = (Cell::default(), Cell::new(0));
                let lines = clients.lines.clone();
                let client = Rc::new(Client { stream, lines, due, longest, answered, closed_loop: Cell::new(false) });
                let reader = client.clone();
                clients.readers.push(spawn_local(async move { reader.read().await }));
                clients.all.push(client);
            }
        }
        clients.settle().await;
        clients
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Lines a second that the first `active` can get answered when each asks again at once.
    pub(crate) async fn most(&self, active: usize, time: Duration) -> u64 {
        let answered = || self.all[..active].iter().map(|client| client.answered.get()).sum::<u64>();
        for client in &self.all[..active] {
            client.closed_loop.set(true);
            client.send(Instant::now());
        }
        let (before, began) = (answered(), Instant::now());
        tokio::time::sleep(time).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        let most = ((answered() - before) as f64 / began.elapsed().as_secs_f64()) as u64;
        self.all[..active].iter().for_each(|client| client.closed_loop.set(false));
        self.settle().await;
        most
    }

    /// All lines that were answered since the last [`forget`](Self::forget).
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.take()
    }

    /// Forgets how long they waited.
    pub(crate) fn forget(&self, active: usize) {
        self.lines.borrow_mut().clear();
        self.all[..active].iter().for_each(|client| client.longest.set(Duration::ZERO));
    }

    /// The longest that each waited, in milliseconds, those lines included that are due by now and not answered yet.
    pub(crate) async fn longest(&self, active: usize) -> Vec<f64> {
        let until = Instant::now();
        let waits = |client: &Rc<Client>| client.due.borrow().front().is_some_and(|due| *due <= until);
        while self.all[..active].iter().any(waits) {
            tokio::time::sleep(TICK).await;
        }
        self.all[..active].iter().map(|client| client.longest.get().as_secs_f64() * 1e3).collect()
    }

    /// Disconnects them all: their readers hold the sockets until each has ended.
    pub(crate) async fn close(self) {
        for reader in self.readers {
            reader.abort();
            drop(reader.await);
        }
    }

    /// Waits until everything is answered.
    async fn settle(&self) {
        while self.all.iter().any(|client| !client.due.borrow().is_empty()) {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Lines that fall due, evenly in time and in turn over the clients.
pub(crate) struct Load(JoinHandle<()>);

impl Load {
    pub(crate) fn start(clients: &Clients, active: usize, rate: u64) -> Self {
        let clients: Vec<_> = clients.all[..active].to_vec();
        Self(spawn_local(async move {
            let (began, mut sent) = (Instant::now(), 0_u64);
            let mut turn = clients.iter().cycle();
            loop {
                tokio::time::sleep(TICK).await;
                let elapsed = began.elapsed();
                while Duration::from_nanos(sent * 1_000_000_000 / rate) <= elapsed {
                    // Due when it was due, however late this task is.
                    turn.next().unwrap().send(began + Duration::from_nanos(sent * 1_000_000_000 / rate));
                    sent += 1;
                }
            }
        }))
    }

    pub(crate) fn stop(self) {
        self.0.abort();
    }
}
