//! Client connections that send all the time.
//!
//! Open loop: line number `n` is due at a moment that depends on nothing but `n` and the rate, and its latency counts from
//! that moment. A host that pauses therefore shows the pause to every line that was due meanwhile, as it would to
//! independent clients; a loop that waits for an answer before it sends the next line would show it to one.
//!
//! Two threads, whatever the number of connections: one sends what is due once per [`TICK`], one reads. The lines are dealt
//! out to the connections in turn, so that the moment of any answer's line is computed and never stored.

mod connection;
mod samples;
mod sender;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

pub(crate) use self::samples::{Latencies, Sample};
use self::{connection::Connection, samples::Samples};
use super::check::{Expected, Ledger, Tally};

/// What every line says.
const LINE: &[u8] = b"incr\n";

/// How often the sender wakes. Lines are due on this grid, so that the grid itself costs no latency.
const TICK: Duration = Duration::from_millis(1);

/// Connections opened at once: below any listener's backlog.
const OPENING_LIMIT: usize = 64;

/// Longest wait for one connection.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long to listen for answers that should not come, after the last one that should.
const AFTERMATH: Duration = Duration::from_millis(200);

/// When which line is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    lines_per_second: u64,
    connections: u64,
}

impl Schedule {
    /// When line `number` (from 0) is due, counted from the start.
    fn due_at(self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.lines_per_second);
        let ticks = nanos.div_ceil(TICK.as_nanos());
        Duration::from_nanos(u64::try_from(ticks * TICK.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How many lines are due at `elapsed`, which stands on the grid.
    fn due_by(self, elapsed: Duration) -> u64 {
        let lines = elapsed.as_nanos() * u128::from(self.lines_per_second) / 1_000_000_000;
        u64::try_from(lines + 1).unwrap_or(u64::MAX)
    }

    /// How many of the first `due` lines are a connection's.
    const fn share_of(self, connection: u64, due: u64) -> u64 {
        due.saturating_sub(connection).div_ceil(self.connections)
    }

    /// The number of a connection's `nth` line (from 0).
    const fn number_of(self, connection: u64, nth: u64) -> u64 {
        nth * self.connections + connection
    }
}

/// What both threads and the demo see.
#[derive(Debug)]
struct Shared {
    schedule: Schedule,
    connections: Vec<Connection>,
    started: Instant,
    /// Lines that were due so far; none is written before it is counted here.
    due: AtomicU64,
    /// No more lines are due.
    stop: AtomicBool,
    /// Nothing is expected any more: readers end.
    finish: CancellationToken,
    books: Mutex<Books>,
}

/// What the reader writes down.
#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    samples: Samples,
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Running clients. Dropping it ends them without a word.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    started_unix: Duration,
    threads: Vec<JoinHandle<()>>,
}

/// What can be seen while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) open: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
}

impl Load {
    /// Opens all connections and begins to send. `version` is what answers.
    pub(crate) async fn start(
        address: SocketAddr,
        connections: usize,
        lines_per_second: u64,
        version: Expected,
    ) -> anyhow::Result<Self> {
        // The readers' runtime is a thread of its own: what else the demo does must not show up in a latency.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let finish = CancellationToken::new();
        let until = finish.clone();
        let reader = std::thread::Builder::new()
            .name("demo-read".to_owned())
            .spawn(move || runtime.block_on(until.cancelled()))?;
        // From here on dropping the token's guard ends the thread.
        let guard = finish.clone().drop_guard();
        let opening = stream::iter(0..connections)
            .map(|name| {
                let opening = handle.spawn(Connection::open(address, name));
                async move { opening.await.context("the task that opens connections ended")? }
            })
            .buffered(OPENING_LIMIT)
            .try_collect::<Vec<_>>();
        let opened = opening.await.with_context(|| format!("opening {connections} connections to {address}"))?;

        let (started, unix) = (Instant::now(), SystemTime::now());
        let shared = Arc::new(Shared {
            schedule: Schedule { lines_per_second, connections: connections as u64 },
            connections: opened,
            started,
            due: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            finish: guard.disarm(),
            books: Mutex::default(),
        });
        shared.books().ledger.begin(version);
        for index in 0..connections {
            handle.spawn(connection::read(Arc::clone(&shared), index));
        }
        let sending = Arc::clone(&shared);
        let sender = std::thread::Builder::new().name("demo-send".to_owned()).spawn(move || sender::run(&sending))?;
        let started_unix = unix.duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
        Ok(Self { shared, started_unix, threads: vec![reader, sender] })
    }

    /// Now, on the clock of the samples.
    pub(crate) fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// A moment of the wall clock, on the clock of the samples. Zero if it was before the start.
    pub(crate) fn at_unix(&self, unix_nanos: u64) -> Duration {
        Duration::from_nanos(unix_nanos).saturating_sub(self.started_unix)
    }

    /// A swap begins: see [`Ledger::swap_begins`].
    pub(crate) fn swap_begins(&self, target: Expected, back: Expected) {
        self.shared.books().ledger.swap_begins(target, back);
    }

    /// It is over: see [`Ledger::swap_ended`].
    pub(crate) fn swap_ended(&self, target_runs: bool) -> Option<Duration> {
        self.shared.books().ledger.swap_ended(target_runs)
    }

    /// Every latency since the last call.
    pub(crate) fn take_samples(&self) -> Vec<Sample> {
        self.shared.books().samples.take()
    }

    /// Whether every line that is due until then has its answer, as far as its connection is open.
    pub(crate) fn is_answered_until(&self, until: Duration) -> bool {
        let Shared { schedule, connections, .. } = &*self.shared;
        let tick = until.as_nanos() / TICK.as_nanos();
        let due = schedule.due_by(TICK * u32::try_from(tick).unwrap_or(u32::MAX));
        let answered = |(index, connection): (u64, &Connection)| {
            !connection.is_open() || connection.answered() >= schedule.share_of(index, due)
        };
        self.now() >= until && (0..).zip(connections).all(answered)
    }

    /// How it goes.
    pub(crate) fn glance(&self) -> Glance {
        let answered = self.shared.books().ledger.answered();
        let connections = &self.shared.connections;
        Glance {
            open: connections.iter().filter(|connection| connection.is_open()).count() as u64,
            sent: connections.iter().map(Connection::sent).sum(),
            answered,
        }
    }

    /// Sends no more, waits at most `limit` for the answers that are due, then a moment for any that are not, closes all
    /// connections and sums up. The number is that of the connections that were open until then.
    pub(crate) async fn finish(mut self, limit: Duration) -> anyhow::Result<(Tally, u64)> {
        self.shared.stop.store(true, Ordering::Release);
        let deadline = Instant::now() + limit;
        while self.shared.connections.iter().any(Connection::is_waiting) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(AFTERMATH).await;
        let open = self.glance().open;
        self.shared.finish.cancel();
        for thread in self.threads.drain(..) {
            if tokio::task::spawn_blocking(move || thread.join()).await?.is_err() {
                bail!("a thread of the load generator panicked");
            }
        }
        let lines = self.shared.connections.iter().map(|connection| (connection.sent(), connection.answered()));
        Ok((self.shared.books().ledger.tally(lines), open))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.finish.cancel();
    }
}

#[cfg(test)]
mod tests;
