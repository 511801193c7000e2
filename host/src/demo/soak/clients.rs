//! All clients of a soak: on a thread of their own, so that what else this process does shows in no latency.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{behaviour::Behaviour, client::Client, dice::Dice, record::Record};

/// What clients are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// As they please.
    Run,
    /// Send no more, and hand in for this round once everything is answered.
    Settle(u64),
    /// Their host is gone: read to the end.
    Gone,
}

/// Where clients put what they wrote down.
#[derive(Debug)]
pub(super) struct Shelf {
    started: Instant,
    books: Mutex<Books>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Books {
    records: Vec<Record>,
    /// Clients that live, by what they are like.
    living: BTreeMap<&'static str, u32>,
    /// Of these, how many have handed in for this round.
    settled: u32,
}

impl Books {
    fn living(&self) -> u32 {
        self.living.values().sum()
    }
}

impl Shelf {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, on the clock of the records.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A client handed in and stays.
    pub(super) fn settled(&self, record: Record) {
        let mut books = self.books();
        books.settled += 1;
        books.records.push(record);
        drop(books);
        self.changed.notify_one();
    }

    /// A client is no more.
    pub(super) fn ended(&self, record: Record) {
        let mut books = self.books();
        if let Some(count) = books.living.get_mut(record.behaviour) {
            *count = count.saturating_sub(1);
        }
        books.records.push(record);
        drop(books);
        self.changed.notify_one();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Clients {
    shelf: Arc<Shelf>,
    stage: watch::Sender<Stage>,
    runtime: Handle,
    dice: Dice,
    born: u64,
    rounds: u64,
    _end: DropGuard,
    _thread: JoinHandle<()>,
}

impl Clients {
    /// None yet. `started` is the zero of the records' clock.
    pub(super) fn new(dice: Dice, started: Instant) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let until = end.clone();
        let thread = std::thread::Builder::new()
            .name("soak-clients".to_owned())
            .spawn(move || runtime.block_on(until.cancelled()))?;
        let shelf = Shelf { started, books: Mutex::default(), changed: Notify::new() };
        Ok(Self {
            shelf: Arc::new(shelf),
            stage: watch::Sender::new(Stage::Run),
            runtime: handle,
            dice,
            born: 0,
            rounds: 0,
            _end: end.drop_guard(),
            _thread: thread,
        })
    }

    /// The time, on the clock of the records.
    pub(super) fn now(&self) -> Duration {
        self.shelf.now()
    }

    /// Lets everyone run, with as many of each as the cast says.
    pub(super) fn run(&mut self, address: SocketAddr, cast: &[(Behaviour, u32)]) {
        self.stage.send_replace(Stage::Run);
        for (behaviour, wanted) in cast {
            let there = self.shelf.books().living.get(behaviour.name()).copied().unwrap_or(0);
            self.come(address, *behaviour, wanted.saturating_sub(there));
        }
    }

    /// So many more come.
    pub(super) fn come(&mut self, address: SocketAddr, behaviour: Behaviour, count: u32) {
        *self.shelf.books().living.entry(behaviour.name()).or_default() += count;
        for _ in 0..count {
            self.born += 1;
            let (shelf, stage) = (Arc::clone(&self.shelf), self.stage.subscribe());
            let life = Client::live(self.born, behaviour, self.dice.fork(), address, shelf, stage);
            drop(self.runtime.spawn(life));
        }
    }

    /// How many live.
    pub(super) fn living(&self) -> u32 {
        self.shelf.books().living()
    }

    /// Waits until nobody of that kind lives any more; whether that came to be.
    pub(super) async fn until_gone(&self, behaviour: Behaviour, limit: Duration) -> bool {
        let living = || self.shelf.books().living.get(behaviour.name()).copied().unwrap_or(0);
        let gone = async {
            while living() > 0 {
                self.shelf.changed.notified().await;
            }
        };
        timeout(limit, gone).await.is_ok()
    }

    /// Waits until everyone who lives has handed in, and gives what all wrote down. Who is not ready by then has not
    /// got what it waits for; how many those are comes with it.
    pub(super) async fn settle(&mut self, limit: Duration) -> (Vec<Record>, u32) {
        self.rounds += 1;
        self.shelf.books().settled = 0;
        self.stage.send_replace(Stage::Settle(self.rounds));
        self.collect(limit, |books| books.living().saturating_sub(books.settled)).await
    }

    /// Waits until everyone has noticed that the host is gone.
    pub(super) async fn gone(&mut self, limit: Duration) -> (Vec<Record>, u32) {
        self.stage.send_replace(Stage::Gone);
        self.collect(limit, Books::living).await
    }

    async fn collect(&self, limit: Duration, missing: impl Fn(&Books) -> u32) -> (Vec<Record>, u32) {
        let all = async {
            while missing(&self.shelf.books()) > 0 {
                self.shelf.changed.notified().await;
            }
        };
        // What is missing is counted below.
        drop(timeout(limit, all).await);
        let mut books = self.shelf.books();
        (std::mem::take(&mut books.records), missing(&books))
    }
}
