//! One client's connection: a task that reads into the mailbox, and an outbox that the actor writes to.
//!
//! What it promises:
//! - its events reach the mailbox in order: one `opened`, the bytes, one `closed`;
//! - it reads only when the mailbox has room, so a slow workload slows its clients and nothing is dropped;
//! - what the actor sends leaves in order. A client that does not take it is closed at a stated limit, and so is the one
//!   for which something would have to wait when too much waits for all clients of the workload together.
//!
//! The actor writes straight to the socket when nothing waits before it: a hop to another task would cost more than the
//! write. Only what the socket does not take at once is queued for the connection's own task.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::Shutdown,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use host_core::id::ConnectionId;
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    bindings::types::CloseReason,
    mailbox::{Inbox, Item},
    telemetry::WorkloadMetrics,
};

/// Most bytes of one `received` event: large enough to make the call into the guest cheap, small enough for a stack.
const CHUNK_BYTES: usize = 16 * 1024;
/// Slices given to one write.
const SLICES: usize = 64;
/// How long a closing connection waits for its client to take what was sent: a minute on a bad mobile link, not for ever.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);
/// How long it then waits for its client to close in turn.
const LINGER: Duration = Duration::from_secs(2);

/// A client's connection. See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// The listener that accepted it, as configured.
    pub(crate) listener: Arc<str>,
    pub(crate) peer: Arc<str>,
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    limits: Arc<OutboxLimits>,
    /// The task has something to do besides reading.
    work: Notify,
    /// It failed at its client's end. Set before its `closed` is told.
    broken_by_peer: AtomicBool,
    metrics: Arc<WorkloadMetrics>,
}

/// What may wait for the clients of one workload, and what does.
#[derive(Debug)]
pub(crate) struct OutboxLimits {
    each_bytes: usize,
    all_bytes: usize,
    waiting_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Of these, how many the workload's sum knows of.
    counted_bytes: usize,
    /// What the socket took of the first piece already.
    gone_bytes: usize,
    end: Option<End>,
    /// No more is to be read; it ends when what was read is answered.
    draining: bool,
}

/// How and why a connection shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After the outbox is empty.
    Flush(CloseReason),
    /// At once.
    Abort(CloseReason),
}

impl OutboxLimits {
    pub(crate) const fn new(each_bytes: usize, all_bytes: usize) -> Self {
        Self { each_bytes, all_bytes, waiting_bytes: AtomicUsize::new(0) }
    }

    /// Brings the workload's sum up to date with one outbox. Why its connection must end, if it must.
    fn settle(&self, outbox: &mut Outbox) -> Option<CloseReason> {
        let before = std::mem::replace(&mut outbox.counted_bytes, outbox.bytes);
        if outbox.bytes <= before {
            self.waiting_bytes.fetch_sub(before - outbox.bytes, Ordering::Relaxed);
            return None;
        }
        let more = outbox.bytes - before;
        let all = self.waiting_bytes.fetch_add(more, Ordering::Relaxed) + more;
        if outbox.bytes > self.each_bytes {
            return Some(CloseReason::TooSlow);
        }
        (all > self.all_bytes).then_some(CloseReason::Limit)
    }
}

impl Connection {
    /// Takes over an accepted socket. Nothing happens until [`serve`](Self::serve) runs.
    pub(crate) fn new(
        id: ConnectionId,
        listener: Arc<str>,
        peer: Arc<str>,
        stream: TcpStream,
        limits: Arc<OutboxLimits>,
        metrics: Arc<WorkloadMetrics>,
    ) -> Self {
        let outbox = Mutex::default();
        let (work, broken_by_peer) = (Notify::new(), AtomicBool::new(false));
        Self { id, listener, peer, stream, outbox, limits, work, broken_by_peer, metrics }
    }

    /// Sends these pieces, in order. What the socket does not take waits; past the limit the client is too slow.
    /// After an end was asked for, nothing more is sent.
    pub(crate) fn send(&self, pieces: &mut Vec<Bytes>) {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if outbox.end.is_some() {
            pieces.clear();
            return;
        }
        let waiting = !outbox.queue.is_empty();
        outbox.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        outbox.queue.extend(pieces.drain(..).filter(|piece| !piece.is_empty()));
        // A broken socket is the task's to find: it reads, and tells the workload.
        if !waiting && self.write(&mut outbox).is_ok() && outbox.queue.is_empty() {
            return;
        }
        if let Some(reason) = self.limits.settle(&mut outbox) {
            outbox.end = Some(End::Abort(reason));
            outbox.queue.clear();
            outbox.bytes = 0;
            self.limits.settle(&mut outbox);
        }
        drop(outbox);
        self.work.notify_one();
    }

    /// Ends the connection. The first end counts, except that an abort overrides a flush.
    pub(crate) fn end(&self, end: End) {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if outbox.end.is_none() || (matches!(outbox.end, Some(End::Flush(_))) && matches!(end, End::Abort(_))) {
            outbox.end = Some(end);
        }
        drop(outbox);
        self.work.notify_one();
    }

    /// Ends the connection as gently as its client could: nothing more is read, what was read is handled and answered.
    pub(crate) fn drain(&self) {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).draining = true;
        self.work.notify_one();
    }

    /// The connection's task: from `opened` to `closed`.
    pub(crate) async fn serve(self: Arc<Self>, inbox: Arc<impl Inbox>) {
        self.metrics.connection_opened();
        inbox.put(Item::Opened(self.clone()));
        let mut told = false;
        let reason = self.pump(&inbox, &mut told).await;
        if !told {
            inbox.put(Item::Closed(self.id, reason));
        }
        self.metrics.connection_closed(reason.into());
        if !matches!(reason, CloseReason::TooSlow | CloseReason::Limit | CloseReason::Error) {
            self.linger(&inbox).await;
        }
    }

    /// Moves bytes both ways until the end, and says why it ended. `told` is set when the workload knows already.
    async fn pump(&self, inbox: &Arc<impl Inbox>, told: &mut bool) -> CloseReason {
        // Waited for across turns: to begin anew each time would cost more than a read.
        let mut work = pin!(self.work.notified());
        let mut reading = true;
        let mut why = None;
        let mut flush_until = None;
        loop {
            let (pending, end, draining) = self.pending();
            if draining && !*told {
                // Behind all that was read: when the workload has handled this, it has answered that.
                (reading, *told, why) = (false, true, Some(CloseReason::Drained));
                inbox.put(Item::Closed(self.id, CloseReason::Drained));
            }
            match end {
                Some(End::Abort(reason)) => {
                    // A reset: what the client has not taken is gone, and it shall know.
                    drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
                    return why.unwrap_or(reason);
                }
                Some(End::Flush(reason)) if !pending => return why.unwrap_or(reason),
                Some(End::Flush(_)) => {
                    reading = false;
                    flush_until.get_or_insert_with(|| Instant::now() + FLUSH_LIMIT);
                }
                None => {}
            }
            tokio::select! {
                biased;
                () = &mut work => work.set(self.work.notified()),
                () = until(flush_until) => return why.unwrap_or(CloseReason::TooSlow),
                ready = self.stream.writable(), if pending => {
                    if let Err(error) = ready.and_then(|()| self.flush()) {
                        return why.unwrap_or_else(|| self.broke(&error));
                    }
                }
                chunk = self.chunk(inbox), if reading => match chunk {
                    // Left unread, so the client's TCP knows that nobody took it.
                    Ok(None) => reading = false,
                    Ok(Some(data)) if data.is_empty() => {
                        // The client sends no more but may still read: the workload's answers to what it sent go out first.
                        (reading, *told, why) = (false, true, Some(CloseReason::Peer));
                        inbox.put(Item::Closed(self.id, CloseReason::Peer));
                    }
                    Ok(Some(data)) => {
                        self.metrics.received(data.len() as u64);
                        inbox.put(Item::Received(self.id, data));
                    }
                    Err(error) => return self.broke(&error),
                },
            }
        }
    }

    /// The socket failed. Most do at the other end: a client that is killed with something unread sends a reset.
    fn broke(&self, error: &io::Error) -> CloseReason {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut) {
            self.broken_by_peer.store(true, Ordering::Release);
        }
        CloseReason::Error
    }

    /// Whether it was the host that dropped it, if this is why it ended: neither its client, the way to it, nor the workload.
    pub(crate) fn was_dropped(&self, reason: CloseReason) -> bool {
        match reason {
            CloseReason::Error => !self.broken_by_peer.load(Ordering::Acquire),
            reason => reason == CloseReason::Limit,
        }
    }

    fn pending(&self) -> (bool, Option<End>, bool) {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        (!outbox.queue.is_empty(), outbox.end, outbox.draining)
    }

    /// The next chunk; an empty one at the end of the stream; none if no more shall be read. Cancel safe.
    async fn chunk(&self, inbox: &Arc<impl Inbox>) -> io::Result<Option<Vec<u8>>> {
        // Room is asked for when there is something to read, or all who wait to read would take the same room. Where there is
        // none the bytes stay with TCP.
        poll_fn(|context| self.stream.poll_read_ready(context)).await?;
        inbox.room().await;
        poll_fn(
            |context| {
                if inbox.input_closed() { Poll::Ready(Ok(None)) } else { self.poll_read(context).map_ok(Some) }
            },
        )
        .await
    }

    /// What has come in, up to a chunk; nothing at the end of the stream.
    fn poll_read(&self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        // Not initialised, and copied into a vector that is no larger than it must be: it may wait for long.
        let mut buffer = [MaybeUninit::uninit(); CHUNK_BYTES];
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let mut chunk = None;
            let read = self.stream.try_io(Interest::READABLE, || {
                let (data, room) = rustix::io::read(&self.stream, &mut buffer)?;
                chunk = Some(data.to_vec());
                // A read that leaves room has emptied the socket. Said so, the next one waits instead of trying in vain.
                if room.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            match (chunk, read) {
                (Some(chunk), _) => return Poll::Ready(Ok(chunk)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                (None, _) => {}
            }
        }
    }

    fn flush(&self) -> io::Result<()> {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write(&mut outbox);
        self.limits.settle(&mut outbox);
        written
    }

    /// Writes what the socket takes now.
    fn write(&self, outbox: &mut Outbox) -> io::Result<()> {
        while !outbox.queue.is_empty() {
            let written = if let [only] = outbox.queue.make_contiguous() {
                self.stream.try_write(only)
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled =
                    outbox.queue.iter().zip(&mut slices).map(|(piece, slice)| *slice = IoSlice::new(piece)).count();
                self.stream.try_write_vectored(slices.get(..filled).unwrap_or_default())
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.metrics.sent(written as u64);
                    advance(outbox, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    release_taken(outbox);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the client to take the last bytes: closing a socket with unread input resets it, and the reset would
    /// overtake what was sent.
    async fn linger(&self, inbox: &Arc<impl Inbox>) {
        if SockRef::from(&self.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let drained =
            async { while poll_fn(|context| self.poll_read(context)).await.is_ok_and(|data| !data.is_empty()) {} };
        // A client that neither reads nor closes is left to the kernel; at the end of the host nobody is waited for.
        let patience = if inbox.input_closed() { Duration::ZERO } else { LINGER };
        drop(timeout(patience, drained).await);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let outbox = self.outbox.get_mut().unwrap_or_else(PoisonError::into_inner);
        outbox.bytes = 0;
        self.limits.settle(outbox);
    }
}

/// Waits for a moment, if there is one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

fn advance(outbox: &mut Outbox, mut written: usize) {
    outbox.bytes = outbox.bytes.saturating_sub(written);
    while let Some(piece) = outbox.queue.front_mut() {
        if written < piece.len() {
            piece.advance(written);
            outbox.gone_bytes += written;
            return;
        }
        written -= piece.len();
        outbox.gone_bytes = 0;
        outbox.queue.pop_front();
    }
}

/// A piece keeps all of its memory while any of it waits. Once more of it is gone than waits, what waits is moved to memory
/// of its own: a client that takes all but the last byte of each large answer would otherwise hold what nobody counts.
fn release_taken(outbox: &mut Outbox) {
    if let Some(piece) = outbox.queue.front_mut()
        && outbox.gone_bytes > piece.len()
    {
        *piece = Bytes::copy_from_slice(piece);
        outbox.gone_bytes = 0;
    }
}
