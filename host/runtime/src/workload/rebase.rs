//! A new base for a journal that has outgrown its limit: the live instance is replaced by one born from its snapshot.
//!
//! That is a pause, of the length of a swap's. It comes once in [`HostConfig::journal_bytes`](crate::HostConfig) of traffic.

use std::sync::Arc;

use super::{actor::Actor, recorded::Recorded};
use crate::{
    bindings::types::{Loss, Start},
    engine::Purpose,
};

impl Actor {
    /// Looks at the journal after a batch.
    pub(super) async fn rebase_if_full(&mut self) {
        let Some(instance) = &self.instance else { return };
        let bytes = instance.journal().bytes();
        self.around.metrics.set_journal(bytes as u64);
        if bytes < self.around.config.journal_bytes {
            return;
        }
        if let Err(why) = self.rebase().await {
            let Some(instance) = &mut self.instance else {
                // Lost in its `snapshot`: first it is made anew, by the journal that it still has. Then it goes without.
                self.checkpoints.disable();
                return;
            };
            instance.give_up_journal();
            let version = &self.body.revision.release.version;
            self.warn(
                "journal",
                format!(
                    "{version} has no journal any more, for it grew to {bytes} bytes and {why}; should it fail, what happened \
                     since its last checkpoint is lost"
                ),
            );
        }
    }

    async fn rebase(&mut self) -> Result<(), String> {
        if self.checkpoints.is_disabled() {
            return Err("its `snapshot` fails".to_owned());
        }
        let checkpoint = Arc::new(self.snapshot(self.state_schema()).await?);
        let born = self.around.nursery.born(&self.body, checkpoint, Purpose::Replacement).await;
        let mut born = born.map_err(|error| format!("no new base could be made: {error}"))?;
        born.mark_calls(self.instance.as_mut().and_then(Recorded::take_mark));
        // The old one is taken apart off this thread.
        self.instance = Some(born);
        self.greet(Start::Restarted(Loss { batches: 0, events: 0 }));
        let version = &self.body.revision.release.version;
        tracing::debug!(workload = %self.around.name, %version, batches = %self.batches, "the journal has a new base");
        Ok(())
    }
}
