//! How many instances there are, and who may still make one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// How long a claim waits for instances that are already dropped and only have to be taken apart. Taking one apart takes
/// microseconds; who waits longer than this has a machine in trouble and shall hear of it.
const DYING_WAIT: Duration = Duration::from_secs(1);

/// What an instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A workload that did not run: leaves the reserved slots alone.
    Start,
    /// A swap's candidate or a restart: may take a reserved slot.
    Replacement,
}

/// There is no room for another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no instance slot is free: {in_use} of {total} in use, {reserved} of them kept back for swaps and restarts; \
     stop a workload or start the host with more"
)]
pub struct NoSlot {
    /// Instances alive.
    pub in_use: u32,
    /// Instances there may be.
    pub total: u32,
    /// Of these, kept back from this claim.
    pub reserved: u32,
}

/// The slots of an engine.
#[derive(Debug)]
pub(crate) struct Slots {
    total: u32,
    reserved: u32,
    in_use: AtomicU32,
    dying: AtomicU32,
    freed: Notify,
}

/// One slot in use. Dropped after the store that uses it.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    dying: bool,
}

impl Slots {
    pub(crate) fn new(total: u32, reserved: u32) -> Self {
        Self {
            total,
            reserved: reserved.min(total),
            in_use: AtomicU32::new(0),
            dying: AtomicU32::new(0),
            freed: Notify::new(),
        }
    }

    pub(crate) const fn total(&self) -> u32 {
        self.total
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Takes a slot, waiting only for those whose instance is already gone.
    pub(crate) async fn claim(slots: &Arc<Self>, purpose: Purpose) -> Result<Slot, NoSlot> {
        loop {
            // Registered before the look, so that a slot freed in between is not missed.
            let freed = slots.freed.notified();
            if let Some(slot) = Self::try_claim(slots, purpose) {
                return Ok(slot);
            }
            let none_dying = slots.dying.load(Ordering::Acquire) == 0;
            if none_dying || tokio::time::timeout(DYING_WAIT, freed).await.is_err() {
                // The last one may have gone between the two looks.
                return Self::try_claim(slots, purpose).ok_or_else(|| slots.full(purpose));
            }
        }
    }

    pub(crate) fn try_claim(slots: &Arc<Self>, purpose: Purpose) -> Option<Slot> {
        let limit = slots.total - slots.kept_back(purpose);
        slots
            .in_use
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_use| (in_use < limit).then_some(in_use + 1))
            .ok()?;
        Some(Slot { slots: Arc::clone(slots), dying: false })
    }

    const fn kept_back(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Start => self.reserved,
            Purpose::Replacement => 0,
        }
    }

    pub(crate) fn full(&self, purpose: Purpose) -> NoSlot {
        NoSlot { in_use: self.in_use(), total: self.total, reserved: self.kept_back(purpose) }
    }
}

impl Slot {
    /// Says that the instance is gone and its slot soon free.
    pub(crate) fn mark_dying(&mut self) {
        if !self.dying {
            self.dying = true;
            self.slots.dying.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.in_use.fetch_sub(1, Ordering::AcqRel);
        if self.dying {
            self.slots.dying.fetch_sub(1, Ordering::AcqRel);
        }
        self.slots.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_slots_are_for_replacements() {
        let slots = Arc::new(Slots::new(3, 1));
        let _two = [
            Slots::claim(&slots, Purpose::Start).await.expect("free"),
            Slots::claim(&slots, Purpose::Start).await.expect("free"),
        ];
        let error = Slots::claim(&slots, Purpose::Start).await.expect_err("kept back");
        assert_eq!(error, NoSlot { in_use: 2, total: 3, reserved: 1 });
        let last = Slots::claim(&slots, Purpose::Replacement).await.expect("for this");
        let error = Slots::claim(&slots, Purpose::Replacement).await.expect_err("full");
        assert!(error.to_string().starts_with("no instance slot is free: 3 of 3 in use"), "{error}");
        drop(last);
        Slots::claim(&slots, Purpose::Replacement).await.expect("free again");
    }

    #[tokio::test]
    async fn a_claim_waits_for_an_instance_that_is_already_gone() {
        let slots = Arc::new(Slots::new(1, 0));
        let mut slot = Slots::claim(&slots, Purpose::Start).await.expect("free");
        slot.mark_dying();
        let claim = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { Slots::claim(&slots, Purpose::Start).await }
        });
        tokio::task::yield_now().await;
        drop(slot);
        claim.await.expect("no panic").expect("free");
    }
}
