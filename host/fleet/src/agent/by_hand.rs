//! What a person may do by hand on a host of a fleet: what the fleet has in its hands is left to it, unless it is taken out.

use host_core::id::WorkloadName;

use super::{Entry, JournalError, SharedJournal, on_disk};

/// Whose hands a workload is in. Clones share the journal.
#[derive(Clone, Debug)]
pub struct ByHand(SharedJournal);

impl ByHand {
    /// Over the agent's journal.
    #[must_use]
    pub const fn new(journal: SharedJournal) -> Self {
        Self(journal)
    }

    /// Whether the fleet has this workload in its hands here.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub async fn is_the_fleets(&self, workload: &WorkloadName) -> Result<bool, JournalError> {
        let workload = workload.clone();
        let entry = on_disk(self.0.clone(), move |journal| journal.entry(&workload)).await?;
        Ok(entry.revision.is_some() && !entry.detached)
    }

    /// Takes a workload out of the fleet's hands here. The coordinator hears of it with the next inventory.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub async fn detach(&self, workload: &WorkloadName) -> Result<(), JournalError> {
        let workload = workload.clone();
        let detach = move |journal: &mut super::Journal| {
            let entry = Entry { detached: true, holding: None, ..journal.entry(&workload)? };
            journal.keep(&workload, &entry)
        };
        on_disk(self.0.clone(), detach).await
    }
}
