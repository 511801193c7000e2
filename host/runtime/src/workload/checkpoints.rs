//! When a workload is checkpointed, and what goes into it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use host_core::{
    status::CheckpointStatus,
    time::{Moment, UnixNanos},
};

use super::{actor::Actor, scribe::Job};
use crate::{checkpoint::Checkpoint, instance::GuestState};

/// Periodic checkpoints of one release.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    every: Duration,
    last: Moment,
    /// Something was handled since.
    changed: bool,
    /// One is being written.
    writing: bool,
    /// `snapshot` failed: not tried again for this release.
    disabled: bool,
}

impl Checkpoints {
    pub(super) const fn new(every: Duration, now: Moment) -> Self {
        Self { every, last: now, changed: false, writing: false, disabled: false }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        (self.changed && !self.writing && !self.disabled).then(|| self.last.after(self.every))
    }

    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// `snapshot` failed.
    pub(super) const fn disable(&mut self) {
        self.disabled = true;
    }

    /// Whether `snapshot` has failed, so that it is not asked for.
    pub(super) const fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Another release runs: what was learned of the one before does not count.
    pub(super) const fn begin_anew(&mut self, now: Moment) {
        (self.last, self.changed, self.disabled) = (now, true, false);
    }
}

impl Actor {
    /// What a checkpoint holds, after the last batch.
    pub(super) fn checkpoint_of(&mut self, state: GuestState, made: UnixNanos) -> Checkpoint {
        let timers = self.fired_to_come().chain(self.timers.list()).collect();
        let to_come: BTreeSet<u64> = self.opened_to_come().collect();
        let mut connections = self.connections.records();
        if !to_come.is_empty() {
            connections = Arc::new(connections.iter().filter(|one| !to_come.contains(&one.id)).cloned().collect());
        }
        let release = &self.body.revision.release;
        Checkpoint {
            written_by: release.version.clone(),
            digest: release.digest,
            format: state.format(),
            generation: self.generation,
            batches: self.batches,
            events: self.events,
            made,
            state: Bytes::from(state.into_data()),
            timers,
            calls: self.calls.ids(),
            connections,
        }
    }

    /// The periodic checkpoint. A guest whose `snapshot` fails keeps serving; only this stops, and it is said.
    pub(super) async fn checkpoint(&mut self) {
        self.checkpoints.last = self.now();
        self.checkpoints.changed = false;
        match self.snapshot(self.state_schema()).await {
            Ok(checkpoint) => {
                self.checkpoints.writing = true;
                self.around.scribe.write(Job::Checkpoint { checkpoint: Arc::new(checkpoint) }).await;
            }
            Err(why) => {
                self.checkpoints.disable();
                let version = &self.body.revision.release.version;
                let hint = "a deploy needs --state-from last-checkpoint";
                self.warn("checkpoint", format!("{version} is not checkpointed any more: {why}; {hint}"));
            }
        }
    }

    /// The checkpoint of a clean stop.
    pub(super) async fn last_checkpoint(&mut self) -> Result<(), String> {
        let checkpoint = self.snapshot(self.state_schema()).await?;
        self.around.scribe.write(Job::Checkpoint { checkpoint: Arc::new(checkpoint) }).await;
        Ok(())
    }

    pub(super) fn checkpointed(&mut self, result: Result<CheckpointStatus, String>) {
        self.checkpoints.writing = false;
        match result {
            Ok(status) => {
                self.note_durable(status);
                self.take_back("disk");
            }
            Err(error) => {
                self.checkpoints.changed = true;
                self.warn("disk", format!("a checkpoint could not be written: {error}; it is tried again"));
            }
        }
    }

    pub(super) fn note_durable(&mut self, status: CheckpointStatus) {
        self.around.shared.live().checkpoint = Some(status);
        self.tell(
            "checkpoint.written",
            &format!("{} bytes of state after batch {}", status.state_bytes, status.batches),
        );
    }
}
