//! `host replay`: what the workload has handled since its last birth, handled again on a copy, and compared.
//!
//! By the running component the replay shows that the workload is deterministic: recovery rests on that. By another one it
//! shows, on real traffic, what that one would have done instead.

use std::sync::Arc;

use host_core::{
    comparison::Comparison,
    history::{Check, SwapKind, SwapReport, Verdict},
    id::WorkloadName,
    plan::Plan,
    release::Description,
    request::DeployRequest,
};

use super::{
    Inner, ProgressSink, Slot,
    deploy::ask,
    prepare::{Steps, current},
};
use crate::{
    artifact::Artifact,
    engine::Purpose,
    error::HostError,
    instance::{Batch, GuestState, Instance},
    workload::{Body, Control, Entry, JournalCopy, Witness, comparing},
};

/// What a replay came to.
struct Replayed {
    comparison: Comparison,
    /// Whether the states are alike at the end; none when they can't be compared, and why.
    state: Result<bool, String>,
}

impl Inner {
    /// By the running component.
    pub(super) async fn replay(self: Arc<Self>, name: &WorkloadName) -> Result<SwapReport, HostError> {
        let slot = self.slot(name)?;
        let mut report = self.replay_report(&slot)?;
        let witness = self.witness(name).await?;
        let began = self.clock.moment();
        let replayed = self.repeat(&witness).await.map_err(HostError::Refused)?;
        report.notes.push(speed(&witness.journal, self.clock.moment().since(began)));
        fill(&mut report, replayed);
        report.ended = self.clock.unix();
        Ok(report)
    }

    /// By another component. It is prepared like one to be deployed; nothing is asked of the workload but a copy.
    pub(super) async fn replay_with(
        self: Arc<Self>,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        let name = request.workload.clone();
        let slot = self.slot(&name)?;
        let mut report = self.draft(&slot, &request, &artifact, SwapKind::Replay);
        let mut steps = Steps::new(self.clock.clone(), progress);
        let prepared = self.prepare(&slot, request, artifact, &mut steps, None).await?;
        let done = match prepared {
            Ok(release) => {
                report.plan = Some(release.plan.clone()).filter(|plan| matches!(plan, Plan::Swap(_)));
                let witness = self.witness(&name).await?;
                steps.begin("replay");
                let began = self.clock.moment();
                let replayed = self.beside(&witness, &release.body).await;
                report.notes.push(speed(&witness.journal, self.clock.moment().since(began)));
                replayed
            }
            Err(why) => Err(why),
        };
        steps.end();
        report.steps = steps.done;
        match done {
            Ok(replayed) => fill(&mut report, replayed),
            Err(why) => report.verdict = Verdict::Refused { why },
        }
        report.ended = self.clock.unix();
        Ok(report)
    }

    fn replay_report(&self, slot: &Slot) -> Result<SwapReport, HostError> {
        let Some((revision, ..)) = current(slot) else {
            return Err(HostError::UnknownWorkload { name: slot.name.clone(), known: vec![] });
        };
        let release = revision.release;
        let mut report = SwapReport::blank(slot.name.clone(), release.version, release.digest, self.clock.unix());
        report.kind = SwapKind::Replay;
        self.fill_running(slot, &mut report);
        Ok(report)
    }

    /// The journal and the state at one batch boundary.
    async fn witness(&self, name: &WorkloadName) -> Result<Witness, HostError> {
        let workload = self.live(name)?;
        let witness = ask(&workload.control, |witness| Control::Witness { witness }).await?;
        witness.map_err(HostError::Refused)
    }

    /// The same component over again: its effects against what was done, its state against the live one.
    async fn repeat(&self, witness: &Witness) -> Result<Replayed, String> {
        let Witness { body, journal, .. } = witness;
        let mut instance = self.nursery.reborn(body, &journal.base, Purpose::Replacement).await?;
        let mut comparison = Comparison::default();
        for entry in journal.entries() {
            match entry.map_err(|error| error.to_string())? {
                Entry::Handled(handled) => {
                    let batch = Batch { now: handled.now, seed: handled.seq.0, events: &handled.events };
                    let effects = instance.handle(batch).await.map_err(|error| {
                        format!("batch {}, which had gone well, failed when it was repeated: {error}", handled.seq)
                    })?;
                    comparing::with_sums(&mut comparison, handled.seq, &handled.events, &handled.sums, &effects);
                }
                entry => aside(&mut instance, &entry).await?,
            }
            tokio::task::consume_budget().await;
        }
        let state = match &witness.state {
            Ok(live) => {
                instance.advance(witness.now);
                let schema = body.revision.release.description.writes.schema;
                instance.snapshot(schema).await.map(|state| state == *live).map_err(|error| error.to_string())
            }
            Err(why) => Err(why.clone()),
        };
        Ok(Replayed { comparison, state })
    }

    /// The running component and another, side by side.
    async fn beside(&self, witness: &Witness, other: &Body) -> Result<Replayed, String> {
        let Witness { body, journal, .. } = witness;
        let mut reference = self.nursery.reborn(body, &journal.base, Purpose::Replacement).await?;
        let born = self.nursery.reborn(other, &journal.base, Purpose::Replacement).await;
        let mut instance =
            born.map_err(|why| format!("it does not take the state that the replay begins with: {why}"))?;
        let mut comparison = Comparison::default();
        for entry in journal.entries() {
            match entry.map_err(|error| error.to_string())? {
                Entry::Handled(handled) => {
                    let (seq, events) = (handled.seq, &handled.events);
                    let batch = Batch { now: handled.now, seed: seq.0, events };
                    let expected = reference.handle(batch).await.map_err(|error| error.to_string())?;
                    let found =
                        instance.handle(batch).await.map_err(|error| format!("it failed in batch {seq}: {error}"))?;
                    comparing::with_effects(&mut comparison, seq, events, &expected, &found);
                }
                entry => aside(&mut reference, &entry).await?,
            }
            tokio::task::consume_budget().await;
        }
        let state = same_state(&mut reference, describe_of(body), &mut instance, describe_of(other)).await;
        Ok(Replayed { comparison, state })
    }
}

fn describe_of(body: &Body) -> &Description {
    &body.revision.release.description
}

/// A call that has no effects.
async fn aside(instance: &mut Instance, entry: &Entry) -> Result<(), String> {
    let lost = match entry {
        Entry::Handled(_) => None,
        Entry::Snapshot { now, schema } => {
            instance.advance(*now);
            instance.snapshot(*schema).await.err()
        }
        Entry::Health { now } => {
            instance.advance(*now);
            instance.health().await.err()
        }
    };
    match lost {
        Some(error) if error.is_lost() => {
            Err(format!("a call that had gone well failed when it was repeated: {error}"))
        }
        _ => Ok(()),
    }
}

/// The states in a format that both write.
async fn same_state(
    reference: &mut Instance,
    old: &Description,
    instance: &mut Instance,
    new: &Description,
) -> Result<bool, String> {
    let writes =
        |description: &Description, format| description.writes == format || description.downgrades_to.contains(&format);
    let formats = [old.writes, new.writes];
    let common = formats.into_iter().find(|format| writes(old, *format) && writes(new, *format));
    let schema = common.ok_or("they write no format in common")?.schema;
    let mut states: Vec<GuestState> = Vec::with_capacity(2);
    for instance in [reference, instance] {
        states.push(instance.snapshot(schema).await.map_err(|error| error.to_string())?);
    }
    Ok(states.first() == states.last())
}

fn fill(report: &mut SwapReport, replayed: Replayed) {
    let Replayed { comparison, state } = replayed;
    let alike = comparison.differing == 0;
    let effects = format!("{} of {} differ", comparison.differing, comparison.effects);
    report.checks.push(Check { name: "effects".to_owned(), passed: alike, seen: effects });
    let (passed, seen) = match &state {
        Ok(true) => (true, "alike to the last byte".to_owned()),
        Ok(false) => (false, "not alike".to_owned()),
        Err(why) => (true, format!("not compared: {why}")),
    };
    report.checks.push(Check { name: "state".to_owned(), passed, seen });
    report.verdict = match (alike, passed) {
        (true, true) => Verdict::Replayed,
        (true, false) => Verdict::Differs { why: "the same effects, but another state".to_owned() },
        (false, _) => {
            let first = comparison.examples.first().map(|example| format!(", first in batch {}", example.batch));
            let (differing, effects) = (comparison.differing, comparison.effects);
            Verdict::Differs { why: format!("{differing} of {effects} effects{}", first.unwrap_or_default()) }
        }
    };
    report.comparison = Some(comparison);
}

fn speed(journal: &JournalCopy, took: std::time::Duration) -> String {
    let base = match &journal.base.state {
        Some((_, checkpoint)) => format!("the state of {} after batch {}", checkpoint.written_by, checkpoint.batches),
        None => "the workload's first start".to_owned(),
    };
    format!("{} batches with {} events since {base}, in {took:.1?}", journal.batches, journal.events)
}
