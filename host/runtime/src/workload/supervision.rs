//! One-for-one supervision: an instance that fails is made anew from the last checkpoint, with its connections open.
//!
//! What happened since that checkpoint is lost, counted and said. Too many failures within a window stop the workload
//! (its connections stay parked); on probation the first failure rolls back.

use std::collections::VecDeque;

use host_core::{
    history::{Cost, SwapKind, Verdict},
    status::RunState,
    swap::Input,
    time::{Moment, UnixNanos},
};

use super::{Active, actor::Actor, scribe::Job};
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
        let (now, config) = (self.now(), self.around.config.clone());
        if !self.supervision.allow(now, config.restart_limit, config.restart_window) {
            let (limit, window) = (config.restart_limit, config.restart_window);
            self.give_up(format!("it failed more than {limit} times within {window:?}, the last time so: {why}"));
            return;
        }
        if let Err(error) = self.rebirth(&why).await {
            self.give_up(format!("{why}; and it could not be made anew: {error}"));
        }
    }

    /// Makes the instance anew from the newest whole checkpoint of this generation.
    pub(super) async fn rebirth(&mut self, why: &str) -> Result<(), String> {
        let span = restart_span(&self.around.name, why);
        let began = self.around.clock.unix();
        let checkpoint = self.newest_checkpoint().await?;
        let instance = self.around.nursery.born(&self.body, &checkpoint, Purpose::Replacement).await?;
        let cost = self.cost_since(&checkpoint, began, why);
        self.instance = Some(instance);
        let loss = Loss { batches: cost.batches, events: cost.events };
        self.restore(&checkpoint, Start::Restarted(loss), CloseReason::Error);
        self.calls.fail("the instance failed while it worked on this call; whether it took effect is not known");
        {
            let mut live = self.around.shared.live();
            live.restarts += 1;
            live.run_state = RunState::Running;
        }
        self.around.metrics.restarted();
        self.around.metrics.events_lost(cost.events);
        let message = format!(
            "{} runs again from the checkpoint after batch {}; {} events in {} batches since then are lost ({why})",
            self.body.revision.release.version, checkpoint.batches, cost.events, cost.batches
        );
        tracing::error!(parent: &span, workload = %self.around.name, "{message}");
        self.tell("workload.restarted", &message);
        let mut report = self.blank_report(began);
        report.kind = SwapKind::Recovery;
        report.verdict = Verdict::Done;
        report.running = Some(self.body.revision.release.version.clone());
        report.generation = self.generation;
        report.cost = Some(cost);
        report.ended = self.around.clock.unix();
        report.notes.push(message);
        self.around.scribe.write(Job::Finish { report: Box::new(report), done: Vec::new() }).await;
        Ok(())
    }

    /// By hand, after it was given up.
    pub(super) async fn revive(&mut self) -> Result<(), String> {
        if self.instance.is_some() {
            return Err("it runs already".to_owned());
        }
        self.supervision = Supervision::default();
        self.rebirth("started by hand").await?;
        self.take_back("failed");
        Ok(())
    }

    /// No instance will serve until somebody does something. Connections stay, events park.
    pub(super) fn give_up(&mut self, why: String) {
        self.instance = None;
        self.calls.fail("the workload failed and is stopped");
        let version = &self.body.revision.release.version;
        let name = &self.around.name;
        let message = format!(
            "{version} is stopped: {why}. Its connections are parked. `host start {name}` tries its last checkpoint again; \
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
            self.warn("checkpoint-damaged", format!("{error}; the one before it is used"));
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

    /// Leads a state from a checkpoint to the connections there are, and takes over its timers. Numbers of batches never
    /// fall: what comes later sorts later.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint, start: Start, gone: CloseReason) {
        self.timers.restore(&checkpoint.timers);
        self.front.clear();
        self.front.push_back(Event::Started(start));
        self.front.extend(self.connections.reconcile(&checkpoint.connections, gone));
        self.checkpoints.begin_anew(self.now());
    }

    /// The instance was replaced by one that has the live state: only the first event changes.
    pub(super) fn greet(&mut self, start: Start) {
        self.front.retain(|event| !matches!(event, Event::Started(_)));
        self.front.push_front(Event::Started(start));
        self.checkpoints.begin_anew(self.now());
    }
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
