//! One-for-one supervision: an instance that fails is made anew, with its connections open and nothing lost.
//!
//! The new one is born as the old one was and given the same calls ([`Recorded::replayed`]). The batch that failed is handled
//! again one event at a time; the event that fails alone is set aside, with its connection. Only where there is no journal
//! the last checkpoint has to do, and what that costs is counted and said. Too many failures within a window stop the
//! workload, with its connections parked; on probation the first failure rolls back.

use std::{collections::VecDeque, sync::Arc};

use host_core::{
    history::{Cost, SwapKind, Verdict},
    status::RunState,
    swap::Input,
    time::{Moment, UnixNanos},
};

use super::{
    Active,
    actor::{Actor, ms},
    recorded::{Recorded, ReplayError},
    scribe::Job,
};
use crate::{
    bindings::types::{CloseReason, Event, Loss, Start},
    checkpoint::Checkpoint,
    engine::Purpose,
    telemetry::restart_span,
};

/// When a workload restarted lately.
#[derive(Debug, Default)]
pub(crate) struct Supervision {
    restarts: VecDeque<Moment>,
    /// Why `health` of this release is not asked again.
    pub(super) health_fails: Option<String>,
}

impl Supervision {
    /// Counts a restart. False when there were too many.
    fn allow(&mut self, now: Moment, limit: usize, window: std::time::Duration) -> bool {
        while self.restarts.front().is_some_and(|at| now.since(*at) > window) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        self.restarts.len() <= limit
    }
}

impl Actor {
    /// The instance was lost. On probation that rolls back; otherwise it is made anew.
    pub(super) async fn recover(&mut self, why: String) {
        self.tell("workload.failed", &why);
        // A predecessor that was just reinstated and fails is supervised like any other.
        if self.active.as_ref().is_some_and(Active::is_serving) {
            self.advance(Input::Failed(why)).await;
            return;
        }
        if self.is_start_convicted() {
            self.give_up(format!("it fails at its start: {why}"));
            return;
        }
        let (now, config) = (self.now(), self.around.config.clone());
        // A failed `snapshot` or `health` is not asked for again, so it can't fail over and over.
        if self.suspects.failed_alone() && !self.supervision.allow(now, config.restart_limit, config.restart_window) {
            let (limit, window) = (config.restart_limit, config.restart_window);
            self.give_up(format!("it failed more than {limit} times within {window:?}, the last time so: {why}"));
            return;
        }
        if let Err(error) = self.restart(&why).await {
            self.give_up(format!("{why}; and it could not be made anew: {error}"));
        }
    }

    /// Makes the instance anew, exactly if it can, and sets aside the event at fault if it is known.
    pub(super) async fn restart(&mut self, why: &str) -> Result<(), String> {
        let span = restart_span(&self.around.name, why);
        let began = self.around.clock.unix();
        let set_aside = self.set_aside();
        let (how, cost) = match self.replay_wreck().await {
            Ok(how) => (how, None),
            // The journal is kept: `host start` tries again, and nothing is lost by that.
            Err(error) if error.may_pass() => return Err(error.to_string()),
            Err(error) => {
                tracing::error!(workload = %self.around.name, "{error}; the last checkpoint has to do");
                let (how, cost) = self.rebirth(&format!("{why}; {error}")).await?;
                (how, Some(cost))
            }
        };
        {
            let mut live = self.around.shared.live();
            live.restarts += 1;
            live.run_state = RunState::Running;
        }
        self.around.metrics.restarted();
        let lost = cost.as_ref().map_or_else(
            || "nothing is lost".to_owned(),
            |cost| format!("{} events in {} batches since then are lost", cost.events, cost.batches),
        );
        let version = self.body.revision.release.version.clone();
        let message = format!("{version} runs again {how}; {lost} ({why})");
        tracing::error!(parent: &span, workload = %self.around.name, "{message}");
        self.tell("workload.restarted", &message);
        let mut report = self.blank_report(began);
        (report.kind, report.verdict) = (SwapKind::Recovery, Verdict::Done);
        (report.running, report.generation) = (Some(version), self.generation);
        report.cost = cost;
        report.ended = self.around.clock.unix();
        report.notes.push(message);
        report.notes.extend(set_aside.map(|what| format!("set aside: {what}")));
        self.around.scribe.write(Job::Finish { report: Box::new(report), done: Vec::new() }).await;
        Ok(())
    }

    /// The instance as it was before the call that it failed in.
    pub(super) async fn replay_wreck(&mut self) -> Result<String, ReplayError> {
        let journal = self.wreck.as_ref().ok_or(ReplayError::GivenUp)?;
        let (batches, began) = (journal.batches(), self.now());
        let instance = Recorded::replayed(&self.around.nursery, &self.body, journal, Purpose::Replacement).await?;
        // Kept until here: what can't be repeated now may be at another time, or by the predecessor.
        self.instance = self.wreck.take().map(|journal| Recorded::resumed(instance, journal));
        Ok(format!("as it was: {batches} batches were replayed in {}", ms(self.now().since(began))))
    }

    /// Makes the instance anew from the newest whole checkpoint of this generation.
    async fn rebirth(&mut self, why: &str) -> Result<(String, Cost), String> {
        let began = self.around.clock.unix();
        let checkpoint = Arc::new(self.newest_checkpoint().await?);
        let instance = self.around.nursery.born(&self.body, checkpoint.clone(), Purpose::Replacement).await?;
        let cost = self.cost_since(&checkpoint, began, why);
        (self.instance, self.wreck) = (Some(instance), None);
        let loss = Loss { batches: cost.batches, events: cost.events };
        self.restore(&checkpoint, Start::Restarted(loss), CloseReason::Error);
        self.calls.fail("the instance failed while it worked on this call; whether it took effect is not known");
        self.around.metrics.events_lost(cost.events);
        Ok((format!("from the checkpoint after batch {}", checkpoint.batches), cost))
    }

    /// By hand, after it was given up.
    pub(super) async fn revive(&mut self) -> Result<(), String> {
        if self.instance.is_some() {
            return Err("it runs already".to_owned());
        }
        self.supervision = Supervision::default();
        self.restart("started by hand").await?;
        self.take_back("failed");
        Ok(())
    }

    /// No instance will serve until somebody does something. Connections stay, events park.
    pub(super) fn give_up(&mut self, why: String) {
        if let Some(instance) = self.instance.take() {
            self.wreck = Some(instance.into_journal());
        }
        self.trouble = None;
        self.calls.fail("the workload failed and is stopped");
        let version = &self.body.revision.release.version;
        let name = &self.around.name;
        let message = format!(
            "{version} is stopped: {why}. Its connections are parked. `host start {name}` makes it anew as it was, or \
             from its last checkpoint where the journal is gone; \
             `host deploy FILE --version V --state-from last-checkpoint` puts another release in place"
        );
        tracing::error!(workload = %name, "{message}");
        self.around.shared.live().run_state = RunState::Failed { why: message.clone() };
        self.tell("workload.stopped", &message);
    }

    pub(super) async fn newest_checkpoint(&mut self) -> Result<Checkpoint, String> {
        // What the scribe still has in hand is newer than what is on disk.
        self.around.scribe.flush().await;
        let (files, generation) = (self.around.files.clone(), self.generation);
        let found = tokio::task::spawn_blocking(move || files.newest(generation)).await;
        let (found, damaged) = found.map_err(|_| "the host is stopping".to_owned())?;
        for error in damaged {
            self.warn("checkpoint-damaged", passed_over(&error.to_string()));
        }
        found.ok_or_else(|| format!("no whole checkpoint of generation {generation} is on disk"))
    }

    /// What going back to this checkpoint costs.
    pub(super) fn cost_since(&self, checkpoint: &Checkpoint, now: UnixNanos, why: &str) -> Cost {
        Cost {
            batches: self.batches.0.saturating_sub(checkpoint.batches.0),
            events: self.events.saturating_sub(checkpoint.events),
            checkpoint_age: now.since(checkpoint.made),
            why: why.to_owned(),
        }
    }

    /// Leads a state from a checkpoint to the connections there are, and takes over its timers. Events of a batch that failed
    /// are still to come. Numbers of batches never fall: what comes later sorts later.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint, start: Start, gone: CloseReason) {
        self.timers.restore(&checkpoint.timers);
        self.forget_fired();
        let suspects: Vec<_> = self.front.drain(..self.suspects.count().min(self.front.len())).collect();
        let any = !suspects.is_empty();
        self.front.clear();
        self.suspects.clear();
        self.front.push_back(Event::Started(start));
        self.front.extend(self.connections.reconcile(&checkpoint.connections, gone));
        // Who is open is told by the line above.
        let told = |event: &Event| matches!(event, Event::Started(_) | Event::Opened(_));
        self.front.extend(suspects.into_iter().filter(|event| !told(event)));
        if any {
            self.suspects.watch(self.front.len());
        }
        self.checkpoints.begin_anew(self.now());
    }

    /// The instance was replaced by one that has the live state: only the first event changes.
    pub(super) fn greet(&mut self, start: Start) {
        if matches!(self.front.front(), Some(Event::Started(_))) {
            self.front.pop_front();
        } else {
            self.suspects.shift();
        }
        self.front.push_front(Event::Started(start));
        self.checkpoints.begin_anew(self.now());
    }
}

/// What is held against the disk when a checkpoint did not read back. Shown until the next swap or start: a newer checkpoint
/// does not make a disk good again.
pub(crate) fn passed_over(damaged: &str) -> String {
    format!("{damaged}; the one before it was used")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_window_forgets() {
        let mut supervision = Supervision::default();
        let window = Duration::from_nanos(10);
        assert!((0..3).all(|at| supervision.allow(Moment(at), 3, window)));
        assert!(!supervision.allow(Moment(4), 3, window));
        assert!(supervision.allow(Moment(40), 3, window));
    }
}
