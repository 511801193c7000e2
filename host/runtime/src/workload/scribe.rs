//! The scribe: writes a workload's checkpoints, switch records and history, one after the other, off the actor.
//!
//! The order of the actor's words is the order on disk. Nothing here runs inside a pause.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use host_core::{
    history::SwapReport,
    id::{Generation, WorkloadName},
    status::CheckpointStatus,
    swap::Side,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    checkpoint::{Checkpoint, CheckpointFiles, CheckpointName},
    fault,
    ledger::{Entry, Ledger},
    telemetry::{WorkloadMetrics, checkpoint_span},
};

/// Jobs that wait: a swap has five, and a periodic checkpoint is never asked for while one waits.
const QUEUE_LIMIT: usize = 32;
/// Reports kept while the disk takes none: more swaps than anybody makes on a full disk, some kilobytes each.
const REPORTS_LATE_LIMIT: usize = 64;
/// How often those are tried again: soon after somebody made room.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What is to be written.
pub(crate) enum Job {
    /// A periodic checkpoint.
    Checkpoint { checkpoint: Arc<Checkpoint> },
    /// The checkpoint of a switch, pinned, then the record that names it.
    Record {
        side: Side,
        checkpoint: Arc<Checkpoint>,
        /// Size of the component, for the list of versions.
        size_bytes: u64,
        entry: Box<dyn FnOnce(CheckpointName) -> Entry + Send>,
    },
    /// How the workload stands now; frees the pinned checkpoint.
    Release { entry: Box<Entry> },
    /// The report of a swap, told to the one who asked once it is on disk.
    Finish { report: Box<SwapReport>, done: Vec<oneshot::Sender<SwapReport>> },
    /// What could not be written before.
    TryAgain,
    /// Everything before is on disk.
    Flush { flushed: oneshot::Sender<()> },
}

/// What was written.
#[derive(Debug)]
pub(crate) enum Done {
    Checkpointed(Result<CheckpointStatus, String>),
    Recorded(Side, Result<CheckpointStatus, String>),
    Released(Result<(), String>),
    /// Reports wait for the disk, or wait no more.
    Reported(Result<(), String>),
}

/// The actor's end.
#[derive(Clone, Debug)]
pub(crate) struct Scribe(mpsc::Sender<Job>);

struct Desk {
    name: WorkloadName,
    ledger: Ledger,
    files: CheckpointFiles,
    metrics: Arc<WorkloadMetrics>,
    /// The generation in the ledger: a host that starts anew asks for checkpoints of no other.
    named: Generation,
    pinned: Option<CheckpointName>,
    late: Late,
}

/// What the disk did not take.
#[derive(Default)]
struct Late {
    /// How the workload stands since a swap ended.
    entry: Option<Box<Entry>>,
    /// Reports, oldest first.
    reports: VecDeque<SwapReport>,
    /// Whether it was said that reports wait.
    said: bool,
}

impl Scribe {
    /// Starts a scribe. It ends when the last handle is gone and everything is written.
    pub(crate) fn spawn(
        name: WorkloadName,
        ledger: Ledger,
        files: CheckpointFiles,
        metrics: Arc<WorkloadMetrics>,
        (named, pinned): (Generation, Option<CheckpointName>),
    ) -> (Self, mpsc::Receiver<Done>) {
        let (jobs, mut queue) = mpsc::channel(QUEUE_LIMIT);
        let (done, results) = mpsc::channel(QUEUE_LIMIT);
        let mut desk = Desk { name, ledger, files, metrics, named, pinned, late: Late::default() };
        tokio::spawn(async move {
            while let Some(job) = desk.next(&mut queue).await {
                let written = tokio::task::spawn_blocking(move || {
                    let results = desk.write(job);
                    (desk, results)
                });
                // The runtime is going down.
                let Ok((returned, results)) = written.await else { return };
                desk = returned;
                for result in results {
                    // An actor that is gone no longer cares.
                    drop(done.send(result).await);
                }
            }
            // The entry is no longer this workload's own: whoever stopped it has written another.
            drop(tokio::task::spawn_blocking(move || desk.report()).await);
        });
        (Self(jobs), results)
    }

    /// Hands a job over. Waits only when the disk is far behind.
    pub(crate) async fn write(&self, job: Job) {
        drop(self.0.send(job).await);
    }

    /// Waits until everything before is on disk.
    pub(crate) async fn flush(&self) {
        let (flushed, done) = oneshot::channel();
        self.write(Job::Flush { flushed }).await;
        drop(done.await);
    }
}

impl Desk {
    /// The next job; now and then that of catching up, where the disk is behind.
    async fn next(&self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        if self.late.entry.is_none() && self.late.reports.is_empty() {
            return queue.recv().await;
        }
        match timeout(TRY_AGAIN, queue.recv()).await {
            Ok(job) => job,
            Err(_) => Some(Job::TryAgain),
        }
    }

    fn write(&mut self, job: Job) -> Vec<Done> {
        match job {
            Job::Checkpoint { checkpoint } => {
                vec![Done::Checkpointed(self.checkpoint(&checkpoint).map(|(status, _)| status))]
            }
            Job::Record { side, checkpoint, size_bytes, entry } => {
                // The checkpoint first: a record must never name a file that isn't there.
                let recorded = self.checkpoint(&checkpoint).and_then(|(status, name)| {
                    let entry = entry(name.clone());
                    fault::at("record-entry");
                    // From here on its version has these bytes for ever: it has run.
                    let stored = self.ledger.store_release(&entry.revision.release, size_bytes, checkpoint.made);
                    stored.and_then(|()| self.ledger.put_entry(&entry)).map_err(|error| error.to_string())?;
                    (self.named, self.late.entry) = (entry.generation, None);
                    self.pinned = entry.probation.is_some().then_some(name);
                    // Not before: until then the one before is what a host that starts anew goes on with.
                    self.files.prune(self.named, self.pinned.as_ref());
                    Ok(status)
                });
                vec![Done::Recorded(side, recorded)]
            }
            Job::Release { entry } => {
                self.late.entry = Some(entry);
                vec![Done::Released(self.release())]
            }
            Job::Finish { report, done } => {
                self.late.reports.push_back((*report).clone());
                let reported = self.report();
                for done in done {
                    // Whoever asked may have gone; the history has it.
                    drop(done.send((*report).clone()));
                }
                reported.into_iter().collect()
            }
            Job::TryAgain => self.catch_up(),
            Job::Flush { flushed } => {
                let caught_up = self.catch_up();
                let _gone = flushed.send(());
                caught_up
            }
        }
    }

    fn catch_up(&mut self) -> Vec<Done> {
        let released = self.late.entry.is_some().then(|| self.release()).filter(Result::is_ok).map(Done::Released);
        released.into_iter().chain(self.report()).collect()
    }

    /// The pinned checkpoint is free when the entry that names it is no longer on disk, not before.
    fn release(&mut self) -> Result<(), String> {
        let Some(entry) = &self.late.entry else { return Ok(()) };
        self.ledger.put_entry(entry).map_err(|error| error.to_string())?;
        (self.pinned, self.late.entry) = (None, None);
        Ok(())
    }

    /// Writes the reports that wait, in order. Says when that begins to fail, and when it no longer does.
    fn report(&mut self) -> Option<Done> {
        while let Some(report) = self.late.reports.front() {
            if let Err(error) = self.ledger.append(report) {
                if self.late.reports.len() > REPORTS_LATE_LIMIT {
                    self.late.reports.pop_front();
                }
                let first = !std::mem::replace(&mut self.late.said, true);
                return first.then(|| Done::Reported(Err(error.to_string())));
            }
            self.late.reports.pop_front();
        }
        std::mem::take(&mut self.late.said).then_some(Done::Reported(Ok(())))
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(CheckpointStatus, CheckpointName), String> {
        let _span = checkpoint_span(&self.name, checkpoint.batches).entered();
        let began = Instant::now();
        match self.files.write(checkpoint) {
            Ok(name) => {
                self.files.prune(self.named, self.pinned.as_ref());
                self.metrics.checkpoint_written(checkpoint.state.len() as u64, began.elapsed());
                Ok((checkpoint.status(), name))
            }
            Err(error) => {
                self.metrics.checkpoint_failed();
                Err(error.to_string())
            }
        }
    }
}
