//! Calls that wait for the guest's reply.

use std::collections::{BTreeSet, HashMap};

use host_core::{id::CallId, time::Moment};
use rustc_hash::FxBuildHasher;
use tokio::sync::oneshot;

use crate::mailbox::CallAnswer;

/// Calls by id and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_id: HashMap<u64, (Moment, oneshot::Sender<CallAnswer>), FxBuildHasher>,
    by_deadline: BTreeSet<(Moment, u64)>,
}

impl Calls {
    /// Takes a call in. Past the limit it is answered at once.
    pub(crate) fn add(
        &mut self,
        id: CallId,
        deadline: Moment,
        reply: oneshot::Sender<CallAnswer>,
        limit: usize,
    ) -> bool {
        if self.by_id.len() >= limit {
            answer(reply, CallAnswer::Replied(Err(format!("{limit} calls already wait; try again later"))));
            return false;
        }
        self.by_id.insert(id.0, (deadline, reply));
        self.by_deadline.insert((deadline, id.0));
        true
    }

    /// The guest answered. False if nobody waits under this id.
    pub(crate) fn reply(&mut self, id: u64, outcome: Result<Vec<u8>, String>) -> bool {
        let Some((deadline, reply)) = self.by_id.remove(&id) else { return false };
        self.by_deadline.remove(&(deadline, id));
        answer(reply, CallAnswer::Replied(outcome));
        true
    }

    /// When the next one is over its time.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Answers those whose time is over.
    pub(crate) fn expire(&mut self, now: Moment) {
        while let Some((deadline, id)) = self.by_deadline.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.by_deadline.remove(&(deadline, id));
            if let Some((_, reply)) = self.by_id.remove(&id) {
                answer(reply, CallAnswer::TimedOut);
            }
        }
    }

    /// Answers all of them: nobody will any more.
    pub(crate) fn fail(&mut self, why: &str) {
        self.by_deadline.clear();
        for (_, (_, reply)) in self.by_id.drain() {
            answer(reply, CallAnswer::Replied(Err(why.to_owned())));
        }
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// A caller that is gone needs no answer.
fn answer(reply: oneshot::Sender<CallAnswer>, answer: CallAnswer) {
    drop(reply.send(answer));
}
