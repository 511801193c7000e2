//! A live instance with its journal: every call to it goes through here and is in the journal when it returns.

use std::sync::Arc;

use host_core::{id::BatchSeq, time::UnixNanos};

use super::{
    in_call::InCall,
    journal::{Damaged, Entry, Journal, JournalCopy},
    nursery::{Base, Body, Nursery},
};
use crate::{
    bindings::types::{Effect, Event},
    engine::Purpose,
    instance::{Batch, CallError, GuestHealth, GuestState, Instance},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Recorded {
    instance: Instance,
    journal: Journal,
    /// On probation.
    mark: Option<InCall>,
}

/// Why a replay did not lead to the instance that was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// No instance was born from the base.
    #[error("{0}")]
    Birth(String),
    /// A call that went well the first time did not.
    #[error("a call that had gone well failed when it was repeated: {0}")]
    Diverged(#[from] CallError),
    /// There is no journal.
    #[error("the journal had outgrown its limit and was given up")]
    GivenUp,
    /// The journal can't be read.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl ReplayError {
    /// The same replay may go well at another time: nothing is wrong with the journal or the guest.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Birth(_) => true,
            Self::Diverged(error) => error.may_be_others_doing(),
            Self::GivenUp | Self::Damaged(_) => false,
        }
    }
}

impl Recorded {
    /// An instance that was just born.
    pub(crate) const fn new(instance: Instance, base: Arc<Base>) -> Self {
        Self { instance, journal: Journal::new(base), mark: None }
    }

    /// An instance that has made the calls of this journal.
    pub(crate) const fn resumed(instance: Instance, journal: Journal) -> Self {
        Self { instance, journal, mark: None }
    }

    /// The instance as it was when this copy was made: the same birth, the same calls.
    ///
    /// # Errors
    /// The guest is not what it was, or there is no room for an instance.
    pub(crate) async fn replayed(
        nursery: &Nursery,
        body: &Body,
        journal: &Journal,
        purpose: Purpose,
    ) -> Result<Instance, ReplayError> {
        let copy = journal.copy().ok_or(ReplayError::GivenUp)?;
        let mut instance = nursery.reborn(body, &copy.base, purpose).await.map_err(ReplayError::Birth)?;
        repeat(&mut instance, &copy).await?;
        Ok(instance)
    }

    /// Handles a batch.
    ///
    /// # Errors
    /// The instance is lost; the journal is as before the batch.
    pub(crate) async fn handle(
        &mut self,
        seq: BatchSeq,
        now: UnixNanos,
        events: &[Event],
    ) -> Result<Vec<Effect>, CallError> {
        self.mark(true);
        let effects = self.instance.handle(Batch { now, seed: seq.0, events }).await;
        self.mark(false);
        let effects = effects?;
        self.journal.handled(seq, now, events, &effects);
        Ok(effects)
    }

    /// Its state. A guest that answers with an error was called all the same.
    ///
    /// # Errors
    /// As [`Instance::snapshot`].
    pub(crate) async fn snapshot(&mut self, now: UnixNanos, schema: u32) -> Result<GuestState, CallError> {
        self.instance.advance(now);
        self.mark(true);
        let state = self.instance.snapshot(schema).await;
        self.mark(false);
        if !self.instance.is_lost() {
            self.journal.snapshot(now, schema);
        }
        state
    }

    /// How it says it is.
    ///
    /// # Errors
    /// The instance is lost.
    pub(crate) async fn health(&mut self, now: UnixNanos) -> Result<GuestHealth, CallError> {
        self.instance.advance(now);
        self.mark(true);
        let health = self.instance.health().await;
        self.mark(false);
        let health = health?;
        self.journal.health(now);
        Ok(health)
    }

    /// From now on each call is marked on disk, or no call any more.
    pub(crate) fn mark_calls(&mut self, mark: Option<InCall>) {
        self.mark = mark;
    }

    /// The mark, for whoever takes its place.
    pub(crate) fn take_mark(&mut self) -> Option<InCall> {
        self.mark.take()
    }

    fn mark(&self, running: bool) {
        if let Some(mark) = &self.mark {
            mark.set(running);
        }
    }

    pub(crate) const fn is_lost(&self) -> bool {
        self.instance.is_lost()
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.instance.memory_bytes()
    }

    pub(crate) const fn peak_memory_bytes(&self) -> usize {
        self.instance.peak_memory_bytes()
    }

    pub(crate) const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// See [`Journal::give_up`].
    pub(crate) fn give_up_journal(&mut self) {
        self.journal.give_up();
    }

    /// What is left when the instance is lost.
    pub(crate) fn into_journal(self) -> Journal {
        self.journal
    }
}

/// Makes the journal's calls again. Effects are not looked at: the instance did the same when they were performed.
async fn repeat(instance: &mut Instance, journal: &JournalCopy) -> Result<(), ReplayError> {
    for entry in journal.entries() {
        match entry? {
            Entry::Handled(handled) => {
                let batch = Batch { now: handled.now, seed: handled.seq.0, events: &handled.events };
                instance.handle(batch).await?;
            }
            Entry::Snapshot { now, schema } => {
                instance.advance(now);
                match instance.snapshot(schema).await {
                    // It may have answered with an error the first time, too.
                    Ok(_) | Err(CallError::Failed(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Entry::Health { now } => {
                instance.advance(now);
                instance.health().await?;
            }
        }
    }
    Ok(())
}
