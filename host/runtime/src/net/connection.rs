//! One client's connection: a task that reads into the mailbox, and an outbox that the actor writes to.
//!
//! What it promises:
//! - its events reach the mailbox in order: one `opened`, the bytes, one `closed`;
//! - it reads only when the mailbox has room, so a slow workload slows its clients and nothing is dropped;
//! - what the actor sends leaves in order. A client that does not take it is closed at a stated limit.
//!
//! The actor writes straight to the socket when nothing waits before it: a hop to another task would cost more than the
//! write. Only what the socket does not take at once is queued for the connection's own task.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::Shutdown,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use host_core::id::ConnectionId;
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    bindings::types::CloseReason,
    mailbox::{Item, Mailbox},
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
    outbox_limit_bytes: usize,
    /// The task has something to do besides reading.
    work: Notify,
    metrics: Arc<WorkloadMetrics>,
}

#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
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

impl Connection {
    /// Takes over an accepted socket. Nothing happens until [`serve`](Self::serve) runs.
    pub(crate) fn new(
        id: ConnectionId,
        listener: Arc<str>,
        peer: Arc<str>,
        stream: TcpStream,
        outbox_limit_bytes: usize,
        metrics: Arc<WorkloadMetrics>,
    ) -> Self {
        let outbox = Mutex::default();
        Self { id, listener, peer, stream, outbox, outbox_limit_bytes, work: Notify::new(), metrics }
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
        if outbox.bytes > self.outbox_limit_bytes {
            outbox.queue.clear();
            outbox.bytes = 0;
            outbox.end = Some(End::Abort(CloseReason::TooSlow));
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
    pub(crate) async fn serve(self: Arc<Self>, mailbox: Arc<Mailbox>) {
        self.metrics.connection_opened();
        mailbox.put(Item::Opened(self.clone()));
        let mut told = false;
        let reason = self.pump(&mailbox, &mut told).await;
        if !told {
            mailbox.put(Item::Closed(self.id, reason));
        }
        self.metrics.connection_closed(reason.into());
        if !matches!(reason, CloseReason::TooSlow | CloseReason::Error) {
            self.linger(&mailbox).await;
        }
    }

    /// Moves bytes both ways until the end, and says why it ended. `told` is set when the workload knows already.
    async fn pump(&self, mailbox: &Mailbox, told: &mut bool) -> CloseReason {
        let mut reading = true;
        let mut why = None;
        let mut flush_until = None;
        loop {
            let (pending, end, draining) = self.pending();
            if draining && !*told {
                // Behind all that was read: when the workload has handled this, it has answered that.
                (reading, *told, why) = (false, true, Some(CloseReason::Drained));
                mailbox.put(Item::Closed(self.id, CloseReason::Drained));
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
            // Room before readiness: a full mailbox leaves the bytes with TCP.
            let input = async {
                mailbox.room().await;
                self.stream.readable().await
            };
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(flush_until.unwrap_or_else(Instant::now)), if flush_until.is_some() => {
                    return why.unwrap_or(CloseReason::TooSlow);
                }
                ready = self.stream.writable(), if pending => {
                    if ready.and_then(|()| self.flush()).is_err() {
                        return why.unwrap_or(CloseReason::Error);
                    }
                }
                ready = input, if reading => match ready.and_then(|()| self.read_chunk(mailbox)) {
                    // Left unread, so the client's TCP knows that nobody took it.
                    Ok(None) if mailbox.input_closed() => reading = false,
                    Ok(Some(data)) if data.is_empty() => {
                        // The client sends no more but may still read: the workload's answers to what it sent go out first.
                        (reading, *told, why) = (false, true, Some(CloseReason::Peer));
                        mailbox.put(Item::Closed(self.id, CloseReason::Peer));
                    }
                    Ok(Some(data)) => {
                        self.metrics.received(data.len() as u64);
                        mailbox.put(Item::Received(self.id, data));
                    }
                    Ok(None) => {}
                    Err(_) => return CloseReason::Error,
                },
            }
        }
    }

    fn pending(&self) -> (bool, Option<End>, bool) {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        (!outbox.queue.is_empty(), outbox.end, outbox.draining)
    }

    /// A chunk; an empty one at the end of the stream; none if there was nothing after all.
    fn read_chunk(&self, mailbox: &Mailbox) -> io::Result<Option<Vec<u8>>> {
        if mailbox.input_closed() {
            return Ok(None);
        }
        self.try_read()
    }

    fn try_read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; CHUNK_BYTES];
        match self.stream.try_read(&mut buffer) {
            Ok(length) => Ok(buffer.get(..length).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.write(&mut self.outbox.lock().unwrap_or_else(PoisonError::into_inner))
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the client to take the last bytes: closing a socket with unread input resets it, and the reset would
    /// overtake what was sent.
    async fn linger(&self, mailbox: &Mailbox) {
        if SockRef::from(&self.stream).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let drained = async {
            loop {
                let read = self.stream.readable().await.and_then(|()| self.try_read());
                match read {
                    Ok(Some(data)) if data.is_empty() => return,
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        };
        // A client that neither reads nor closes is left to the kernel; at the end of the host nobody is waited for.
        let patience = if mailbox.input_closed() { Duration::ZERO } else { LINGER };
        drop(timeout(patience, drained).await);
    }
}

fn advance(outbox: &mut Outbox, mut written: usize) {
    outbox.bytes = outbox.bytes.saturating_sub(written);
    while let Some(piece) = outbox.queue.front_mut() {
        if written < piece.len() {
            piece.advance(written);
            return;
        }
        written -= piece.len();
        outbox.queue.pop_front();
    }
}
