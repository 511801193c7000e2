//! One client connection: what the sender writes and the reader checks.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tokio::net::TcpStream;

use super::{LINE, OPEN_LIMIT, Shared};
use crate::demo::check::ConnectionCheck;

/// Bytes read at once: some hundred answers, and small enough for the stack.
const READ_BYTES: usize = 4096;

/// Lines written at once.
const BURST_LINES: usize = 256;

/// [`LINE`] again and again, and once more so that a write may begin within a line.
static BURST: LazyLock<Vec<u8>> = LazyLock::new(|| LINE.repeat(BURST_LINES + 1));

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    name: usize,
    /// Lines that are due on it.
    due: AtomicU64,
    /// Bytes of them that the system took.
    written: AtomicU64,
    answered: AtomicU64,
    closed: AtomicBool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything due is with the system.
    All,
    /// The system takes no more now: try again later.
    Some,
    /// The connection is gone.
    Nothing,
}

impl Connection {
    /// Opens it. Belongs on the reader's runtime, whose reactor it then stays with.
    pub(super) async fn open(address: SocketAddr, name: usize) -> anyhow::Result<Self> {
        let stream = tokio::time::timeout(OPEN_LIMIT, TcpStream::connect(address))
            .await
            .with_context(|| format!("connection {name} was not accepted within {OPEN_LIMIT:?}"))?
            .with_context(|| format!("connection {name}"))?;
        // Otherwise a line may wait for the acknowledgement of the one before, and that would look like a pause.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            name,
            due: AtomicU64::new(0),
            written: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// One more line is due. Only the sender calls this.
    pub(super) fn line_is_due(&self) {
        self.due.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes what is due, as far as the system takes it. Only the sender calls this.
    pub(super) fn write(&self) -> Written {
        let line = LINE.len() as u64;
        loop {
            let written = self.written.load(Ordering::Relaxed);
            let missing = self.due.load(Ordering::Relaxed) * line - written;
            if self.closed.load(Ordering::Relaxed) {
                return Written::Nothing;
            }
            if missing == 0 {
                return Written::All;
            }
            let begin = usize::try_from(written % line).unwrap_or_default();
            let length = usize::try_from(missing).unwrap_or(usize::MAX).min(BURST_LINES * LINE.len());
            match self.stream.try_write(BURST.get(begin..begin + length).unwrap_or_default()) {
                Ok(count) => self.written.store(written + count as u64, Ordering::Release),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Written::Some,
                // The reader meets the same error and tells of it.
                Err(_) => return Written::Nothing,
            }
        }
    }

    /// Lines that were written to the end.
    pub(super) fn sent(&self) -> u64 {
        self.written.load(Ordering::Acquire) / LINE.len() as u64
    }

    /// Answers that came.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Whether nobody closed it yet.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Whether an answer may still come.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_open() && self.answered() < self.due.load(Ordering::Relaxed)
    }
}

/// Reads and checks until the end is called or the connection is lost.
pub(super) async fn read(shared: Arc<Shared>, index: usize) {
    let Some(connection) = shared.connections.get(index) else { return };
    let mut check = ConnectionCheck::new(connection.name);
    let lost = tokio::select! {
        () = shared.finish.cancelled() => return,
        lost = read_on(&shared, connection, &mut check) => lost,
    };
    connection.closed.store(true, Ordering::Relaxed);
    shared.books().ledger.dropped(connection.name, &lost);
}

/// Reads as long as there is something to read; then why there is not.
async fn read_on(shared: &Shared, connection: &Connection, check: &mut ConnectionCheck) -> std::io::Error {
    loop {
        if let Err(error) = connection.stream.readable().await {
            return error;
        }
        match read_once(shared, connection, check) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return error,
        }
    }
}

/// One read. Apart, so that its buffer lives on the stack and not once per connection.
fn read_once(shared: &Shared, connection: &Connection, check: &mut ConnectionCheck) -> std::io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    let count = connection.stream.try_read(&mut buffer)?;
    let at = shared.started.elapsed();
    if count == 0 {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed by the host"));
    }
    let first = check.answered();
    let mut books = shared.books();
    // Read after the bytes: a line is counted as due before it is written.
    let limit = shared.due.load(Ordering::Acquire);
    let answers = check.bytes(&mut books.ledger, buffer.get(..count).unwrap_or_default(), limit, at);
    for nth in first..first + answers {
        let number = shared.schedule.number_of(connection.name as u64, nth);
        books.samples.add(shared.schedule.due_at(number), at);
    }
    connection.answered.store(check.answered(), Ordering::Release);
    Ok(())
}
