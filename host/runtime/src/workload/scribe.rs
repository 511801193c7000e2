//! The scribe: writes a workload's checkpoints, switch records and history, one after the other, off the actor.
//!
//! The order of the actor's words is the order on disk. Nothing here runs inside a pause.

use std::{sync::Arc, time::Instant};

use host_core::{history::SwapReport, id::WorkloadName, status::CheckpointStatus, swap::Side};
use tokio::sync::{mpsc, oneshot};

use crate::{
    checkpoint::{Checkpoint, CheckpointFiles, CheckpointName},
    ledger::{Entry, Ledger},
    telemetry::{WorkloadMetrics, checkpoint_span},
};

/// Jobs that wait: a swap has five, and a periodic checkpoint is never asked for while one waits.
const QUEUE_LIMIT: usize = 32;

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
    /// Everything before is on disk.
    Flush { flushed: oneshot::Sender<()> },
}

/// What was written.
#[derive(Debug)]
pub(crate) enum Done {
    Checkpointed(Result<CheckpointStatus, String>),
    Recorded(Side, Result<CheckpointStatus, String>),
    Released(Result<(), String>),
}

/// The actor's end.
#[derive(Clone, Debug)]
pub(crate) struct Scribe(mpsc::Sender<Job>);

struct Desk {
    name: WorkloadName,
    ledger: Ledger,
    files: CheckpointFiles,
    metrics: Arc<WorkloadMetrics>,
    pinned: Option<CheckpointName>,
}

impl Scribe {
    /// Starts a scribe. It ends when the last handle is gone and everything is written.
    pub(crate) fn spawn(
        name: WorkloadName,
        ledger: Ledger,
        files: CheckpointFiles,
        metrics: Arc<WorkloadMetrics>,
        pinned: Option<CheckpointName>,
    ) -> (Self, mpsc::Receiver<Done>) {
        let (jobs, mut queue) = mpsc::channel(QUEUE_LIMIT);
        let (done, results) = mpsc::channel(QUEUE_LIMIT);
        let mut desk = Desk { name, ledger, files, metrics, pinned };
        tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                let written = tokio::task::spawn_blocking(move || {
                    let result = desk.write(job);
                    (desk, result)
                });
                // The runtime is going down.
                let Ok((returned, result)) = written.await else { return };
                desk = returned;
                if let Some(result) = result {
                    // An actor that is gone no longer cares.
                    drop(done.send(result).await);
                }
            }
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
    fn write(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Checkpoint { checkpoint } => {
                Some(Done::Checkpointed(self.checkpoint(&checkpoint).map(|(status, _)| status)))
            }
            Job::Record { side, checkpoint, size_bytes, entry } => {
                // The checkpoint first: a record must never name a file that isn't there.
                let recorded = self.checkpoint(&checkpoint).and_then(|(status, name)| {
                    let entry = entry(name.clone());
                    // From here on its version has these bytes for ever: it has run.
                    let stored = self.ledger.store_release(&entry.revision.release, size_bytes, checkpoint.made);
                    stored.and_then(|()| self.ledger.put_entry(&entry)).map_err(|error| error.to_string())?;
                    self.pinned = entry.probation.is_some().then_some(name);
                    Ok(status)
                });
                Some(Done::Recorded(side, recorded))
            }
            Job::Release { entry } => {
                self.pinned = None;
                Some(Done::Released(self.ledger.put_entry(&entry).map_err(|error| error.to_string())))
            }
            Job::Finish { report, done } => {
                if let Err(error) = self.ledger.append(&report) {
                    tracing::error!(workload = %report.workload, swap = %report.id, %error, "a report could not be kept");
                }
                for done in done {
                    // Whoever asked may have gone; the history has it.
                    drop(done.send((*report).clone()));
                }
                None
            }
            Job::Flush { flushed } => {
                let _gone = flushed.send(());
                None
            }
        }
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(CheckpointStatus, CheckpointName), String> {
        let _span = checkpoint_span(&self.name, checkpoint.batches).entered();
        let began = Instant::now();
        match self.files.write(checkpoint, self.pinned.as_ref()) {
            Ok(name) => {
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
