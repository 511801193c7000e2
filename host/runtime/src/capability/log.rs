//! What a guest writes to its standard output and error: lines in the host's log.
//!
//! Target `guest`, fields `workload`, `version`, `stream`. Lines are bounded in length, and bytes per second are, over all
//! instances that a workload has or had: one that is made anew again and again has no more to say than one that lives. What
//! exceeds that is dropped and counted, and the count is told with the next line that passes. The last words on standard
//! error are kept until the next call begins, since they say why a call trapped. Writing never blocks a guest.

use std::{
    collections::HashMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use host_core::id::WorkloadName;
use semver::Version;
use wasmtime::component::Linker;
use wasmtime_wasi::{
    WasiView,
    p2::{DynOutputStream, OutputStream, Pollable, StreamResult},
};

use super::{Context, WASI_VERSION};
use crate::instance::words::legible;

/// Longest line that is logged whole: a line longer than a screen is data, and data does not belong in a log.
const LINE_LIMIT_BYTES: usize = 2 << 10;

/// Bytes a workload may log each second: about 600 ordinary lines, which nobody reads either.
const LOG_LIMIT_BYTES_PER_SECOND: usize = 64 << 10;

/// How much of standard error is kept to explain a trap: a panic's message and place.
const LAST_WORDS_LIMIT_BYTES: usize = 2 << 10;

/// What a stream takes in one write, so that a guest's buffer is copied in bounded pieces.
pub(super) const WRITE_LIMIT_BYTES: usize = 64 << 10;

/// A window of the limit above.
const WINDOW: Duration = Duration::from_secs(1);

/// What each workload may still log, over all its instances. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<HashMap<WorkloadName, Arc<Mutex<Budget>>>>>);

/// What the instances of one workload may still log within the second at hand.
#[derive(Default)]
struct Budget {
    window: Option<Instant>,
    spent_bytes: usize,
    dropped_lines: u64,
    dropped_bytes: u64,
}

/// The log of one instance. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

struct Lines {
    workload: WorkloadName,
    version: Version,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    last_words: String,
    budget: Arc<Mutex<Budget>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Logs {
    fn of(&self, workload: &WorkloadName) -> Arc<Mutex<Budget>> {
        let mut budgets = locked(&self.0);
        if let Some(budget) = budgets.get(workload) {
            return budget.clone();
        }
        // Those of workloads that are gone. One that was spent a moment ago stays: its workload may be made anew.
        budgets.retain(|_, budget| Arc::strong_count(budget) > 1 || locked(budget).is_young());
        budgets.entry(workload.clone()).or_default().clone()
    }
}

impl Budget {
    fn is_young(&self) -> bool {
        self.window.is_some_and(|began| began.elapsed() < WINDOW)
    }

    fn may_log(&mut self, bytes: usize) -> bool {
        if !self.is_young() {
            self.window = Some(Instant::now());
            self.spent_bytes = 0;
        }
        let fits = self.spent_bytes + bytes <= LOG_LIMIT_BYTES_PER_SECOND;
        if fits {
            self.spent_bytes += bytes;
        }
        fits
    }
}

impl Log {
    /// The log of an instance of this release.
    pub(crate) fn new(logs: &Logs, workload: WorkloadName, version: Version) -> Self {
        let budget = logs.of(&workload);
        let (stdout, stderr, last_words) = (Vec::new(), Vec::new(), String::new());
        Self(Arc::new(Mutex::new(Lines { workload, version, stdout, stderr, last_words, budget })))
    }

    /// Forgets what was said during earlier calls.
    pub(crate) fn begin_call(&self) {
        self.lines().last_words.clear();
    }

    /// What the guest said on standard error since its call began: for a Rust guest that panicked, where and why.
    pub(crate) fn last_words(&self) -> Option<String> {
        let mut lines = self.lines();
        lines.flush();
        let said: Vec<_> = lines
            .last_words
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"))
            .collect();
        (!said.is_empty()).then(|| said.join(" "))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        locked(&self.0)
    }
}

/// A panic while logging leaves at worst half a line.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let line = self.unfinished(stream);
            let room = LINE_LIMIT_BYTES.saturating_sub(line.len());
            line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if piece.len() > room {
                locked(&self.budget).dropped_bytes += (piece.len() - room) as u64;
            }
            if end.is_none() {
                return;
            }
            self.end_line(stream);
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    fn unfinished(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = mem::take(self.unfinished(stream));
        let text: String = String::from_utf8_lossy(&line).chars().map(legible).collect();
        if stream == Stream::Stderr {
            self.last_words.push_str(&text);
            self.last_words.push('\n');
            let excess = self.last_words.len().saturating_sub(LAST_WORDS_LIMIT_BYTES);
            // The last ones count: a guest that floods its log before it panics hides nothing.
            drop(self.last_words.drain(..self.last_words.ceil_char_boundary(excess)));
        }
        if text.trim().is_empty() {
            return;
        }
        let mut budget = locked(&self.budget);
        if !budget.may_log(text.len()) {
            budget.dropped_lines += 1;
            budget.dropped_bytes += text.len() as u64;
            return;
        }
        let (lines, bytes) = (mem::take(&mut budget.dropped_lines), mem::take(&mut budget.dropped_bytes));
        drop(budget);
        let Self { workload, version, .. } = self;
        if bytes > 0 {
            tracing::warn!(
                target: "guest", %workload, %version, dropped_lines = lines, dropped_bytes = bytes,
                "the guest logs too much: lines over {LINE_LIMIT_BYTES} bytes are cut, and what exceeds \
                 {LOG_LIMIT_BYTES_PER_SECOND} bytes a second is dropped"
            );
        }
        match stream {
            Stream::Stdout => tracing::info!(target: "guest", %workload, %version, stream = "stdout", "{text}"),
            Stream::Stderr => tracing::warn!(target: "guest", %workload, %version, stream = "stderr", "{text}"),
        }
    }

    /// Logs what is there, finished or not.
    fn flush(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.unfinished(stream).is_empty() {
                self.end_line(stream);
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A guest's handle on one of its streams.
struct Writer {
    log: Log,
    stream: Stream,
}

impl Pollable for Writer {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.lines().write(self.stream, &bytes);
        Ok(())
    }

    // Lines end with their newline, not with a flush: guests flush after every fragment they format.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_LIMIT_BYTES)
    }
}

pub(super) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    for (interface, name, stream) in
        [("stdout", "get-stdout", Stream::Stdout), ("stderr", "get-stderr", Stream::Stderr)]
    {
        linker.instance(&format!("wasi:cli/{interface}@{WASI_VERSION}"))?.func_wrap(
            name,
            move |mut store, (): ()| {
                let context: &mut Context = store.data_mut();
                let writer: DynOutputStream = Box::new(Writer { log: context.log.clone(), stream });
                Ok((context.ctx().table.push(writer)?,))
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_made_anew_again_and_again_may_say_no_more_than_one_that_lives() {
        let logs = Logs::default();
        let (name, version): (WorkloadName, _) = ("flood".parse().expect("a name"), Version::new(1, 0, 0));
        let mut said = 0;
        for _ in 0..100 {
            let log = Log::new(&logs, name.clone(), version.clone());
            let budget = log.lines().budget.clone();
            let mut budget = locked(&budget);
            // As if no second ended in between.
            budget.window = budget.window.map(|_| Instant::now());
            said += usize::from(budget.may_log(LOG_LIMIT_BYTES_PER_SECOND / 10));
        }
        assert_eq!(said, 10);
        let other = Log::new(&logs, "other".parse().expect("a name"), version);
        assert!(locked(&other.lines().budget).may_log(LOG_LIMIT_BYTES_PER_SECOND), "each workload has its own");
    }
}
