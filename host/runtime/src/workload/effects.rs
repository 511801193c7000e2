//! What a guest asked for, done.

use bytes::Bytes;
use host_core::time::UnixNanos;

use super::actor::Actor;
use crate::{
    bindings::types::{CloseMode, CloseReason, Effect},
    net::connection::End,
};

/// The name of the warning that there are too many.
const TIMERS: &str = "timers";

impl Actor {
    /// Performs a batch's effects, in order. Ids that are not the workload's own do nothing and are counted; what belongs to
    /// protocols that have no listener yet can't be addressed, so it counts as unknown too.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        let (mut unknown, mut unset) = (0, 0);
        for effect in effects {
            unknown += self.effect(effect, &mut unset);
        }
        self.connections.flush();
        if unset > 0 {
            self.warn_of_timers();
        }
        if unknown > 0 {
            self.around.metrics.unknown_ids(unknown);
        }
    }

    /// How many ids it did not know.
    fn effect(&mut self, effect: Effect, unset: &mut u64) -> u64 {
        let known = match effect {
            Effect::Send(send) => {
                let data = Bytes::from(send.data);
                let unknown = send.to.into_iter().filter(|id| !self.connections.send(*id, data.clone())).count();
                return unknown as u64;
            }
            Effect::Close(close) => {
                let end = match close.mode {
                    CloseMode::Flush => End::Flush(CloseReason::Requested),
                    CloseMode::Abort => End::Abort(CloseReason::Requested),
                };
                self.connections.end(close.connection, end)
            }
            Effect::SetTimer(set) => {
                let limit = self.around.config.net.timers;
                *unset += u64::from(!self.timers.set(set.timer, UnixNanos(set.at), limit));
                true
            }
            // One that fired in the meantime is no mistake of the guest's.
            Effect::CancelTimer(timer) => self.timers.cancel(timer),
            Effect::Reply(reply) => self.calls.reply(reply.call, reply.outcome),
            Effect::Respond(_)
            | Effect::RespondBody(_)
            | Effect::SendMessage(_)
            | Effect::Fetch(_)
            | Effect::Connect(_) => false,
        };
        u64::from(!known)
    }

    /// Said once, however often it happens: what a guest does in a loop must not be a loop in the log.
    fn warn_of_timers(&self) {
        if !self.around.shared.live().warnings.contains_key(TIMERS) {
            let limit = self.around.config.net.timers;
            self.warn(TIMERS, format!("timers are not set: the workload already has {limit}, which is the limit"));
        }
    }
}
