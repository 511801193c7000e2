//! What ran before runs again: exactly one release of each workload, whole, and it is said which, from which checkpoint,
//! and why.

use std::sync::Arc;

use host_core::{
    history::{SwapKind, SwapReport, Verdict},
    release::Revision,
    swap::{Outcome, RollbackWay, Swap},
    time::UnixNanos,
};

use super::{Inner, Place, Slot, deploy::checkpoint_folder, describe};
use crate::{
    bindings::types::{CloseReason, Event, Loss, Start},
    checkpoint::{Checkpoint, CheckpointFiles},
    engine::Purpose,
    error::{HostError, StartError},
    instance::Instance,
    ledger::{Desired, Entry, ProbationRecord},
    net::listener::Bound,
    workload::{Active, Body, Old, actor::Beginning, connections::Connections},
};

/// A release on probation that saw this many starts of its host may be what kills it.
const STARTS_ON_PROBATION_LIMIT: u32 = 3;

/// A workload as it shall run again.
struct Recovered {
    entry: Entry,
    body: Body,
    instance: Instance,
    checkpoint: Checkpoint,
    start: Start,
    /// For the history.
    how: String,
    old: Option<Old>,
}

impl Inner {
    /// All workloads that shall run.
    pub(super) async fn recover(&self) -> Result<(), StartError> {
        for entry in self.ledger.run(|ledger| ledger.entries()).await? {
            let slot = self.slot_or_new(&entry.name);
            self.close_open_swaps(&entry).await?;
            match entry.desired {
                Desired::Stopped => slot.set(Place::Empty { entry: Some(Box::new(entry)), why: None }),
                Desired::Running => {
                    // Its failure is shown; the others run.
                    drop(self.resume(&slot, entry).await);
                }
            }
        }
        Ok(())
    }

    /// Swaps that were under way when the host died, and whose switch was not durable: nothing of them remains.
    async fn close_open_swaps(&self, entry: &Entry) -> Result<(), StartError> {
        let name = entry.name.clone();
        let on_probation = entry.probation.as_ref().map(|probation| probation.swap);
        for (id, attempt) in self.ledger.run(move |ledger| ledger.open_swaps(&name)).await? {
            if Some(id) == on_probation {
                continue;
            }
            let mut report = SwapReport::blank(attempt.workload, attempt.to, attempt.digest, attempt.began);
            (report.id, report.kind) = (id, SwapKind::Deploy);
            let why = format!(
                "the host died before the switch was durable; {} runs on from its last checkpoint",
                entry.revision.release.version
            );
            report.from = Some(entry.revision.release.version.clone());
            report.running = report.from.clone();
            report.generation = entry.generation;
            report.ended = self.clock.unix();
            report.verdict = Verdict::Swap { outcome: Outcome::Aborted { why: why.clone() } };
            self.events.tell("swap.aborted", Some(&entry.name), Some(id), why);
            self.ledger.run(move |ledger| ledger.append(&report)).await?;
        }
        Ok(())
    }

    /// Starts a workload from the ledger and its checkpoints. The error is kept in its slot.
    pub(super) async fn resume(&self, slot: &Slot, entry: Entry) -> Result<(), String> {
        let resumed = self.try_resume(slot, entry.clone()).await;
        if let Err(why) = &resumed {
            let why = format!("it could not be started: {why}; `host start {}` tries again", slot.name);
            tracing::error!(workload = %slot.name, "{why}");
            self.events.tell("workload.stopped", Some(&slot.name), None, why.clone());
            slot.set(Place::Empty { entry: Some(Box::new(entry)), why: Some(why) });
        }
        resumed
    }

    async fn try_resume(&self, slot: &Slot, entry: Entry) -> Result<(), String> {
        let began = self.clock.unix();
        let recovered = self.recovered(entry).await?;
        let bound = bind_all(&recovered.body.revision)?;
        let Recovered { mut entry, body, instance, checkpoint, start, how, old } = recovered;
        let mut front = vec![Event::Started(start)];
        // With an empty table every connection that the state knows is gone.
        front.extend(Connections::default().reconcile(&checkpoint.connections, CloseReason::HostRestarted));
        let active = self.active_again(&entry, old).await;
        // From now on until it is stopped cleanly, a death is a crash.
        (entry.clean, entry.desired) = (false, Desired::Running);
        let kept = entry.clone();
        self.ledger.run(move |ledger| ledger.put_entry(&kept)).await.map_err(|error| describe(&error))?;
        let beginning = Beginning {
            body,
            generation: entry.generation,
            predecessor: entry.predecessor.clone(),
            instance: Some(instance),
            listeners: Vec::new(),
            front,
            timers: checkpoint.timers.clone(),
            batches: checkpoint.batches,
            events: checkpoint.events,
            checkpoint: checkpoint.status(),
            active,
        };
        let workload = self.spawn(slot, beginning, bound).map_err(|error| describe(&error))?;
        slot.set(Place::Running(workload));
        tracing::info!(workload = %slot.name, "{how}");
        self.events.tell("workload.recovered", Some(&slot.name), None, how.clone());
        let mut report = SwapReport::blank(
            slot.name.clone(),
            entry.revision.release.version.clone(),
            entry.revision.release.digest,
            began,
        );
        (report.kind, report.verdict) = (SwapKind::Recovery, Verdict::Done);
        (report.running, report.generation) = (Some(report.to.clone()), entry.generation);
        report.ended = self.clock.unix();
        report.notes.push(how);
        self.ledger.run(move |ledger| ledger.append(&report)).await.map_err(|error| describe(&error))
    }

    /// Which release, and from what.
    async fn recovered(&self, mut entry: Entry) -> Result<Recovered, String> {
        let Some(probation) = entry.probation.clone() else {
            return self.newest(entry, None).await;
        };
        if let Some(record) = &mut entry.probation {
            record.host_starts += 1;
        }
        let Some(predecessor) = entry.predecessor.clone() else { return self.newest(entry, None).await };
        // Without its code the predecessor can't come back; the probation ends by time alone.
        let old = self.body_of(&predecessor).await.ok().map(|body| Old { instance: None, body, predecessor: None });
        let why = if probation.host_starts + 1 >= STARTS_ON_PROBATION_LIMIT {
            format!("the host started {} times while it was on probation", probation.host_starts + 1)
        } else {
            match self.newest(entry.clone(), old).await {
                Ok(recovered) => return Ok(recovered),
                Err(why) => why,
            }
        };
        self.predecessor(entry, &probation, predecessor, &why).await
    }

    /// The release in place, from its newest whole checkpoint.
    async fn newest(&self, entry: Entry, old: Option<Old>) -> Result<Recovered, String> {
        let body = self.body_of(&entry.revision).await?;
        let (found, damaged) = self.read(&entry, |files, generation| files.newest(generation)).await?;
        for error in &damaged {
            tracing::warn!(workload = %entry.name, "{}; the one before it is used", describe(error));
            self.events.tell("checkpoint.damaged", Some(&entry.name), None, describe(error));
        }
        let checkpoint = found.ok_or_else(|| {
            let damaged: Vec<_> = damaged.iter().map(|error| describe(error)).collect();
            format!("no whole checkpoint of generation {} is on disk {}", entry.generation, damaged.join("; "))
        })?;
        let instance = self.nursery.born(&body, &checkpoint, Purpose::Start).await?;
        let version = &entry.revision.release.version;
        let start = if checkpoint.written_by == *version {
            Start::Restarted(Loss { batches: 0, events: 0 })
        } else {
            Start::Swapped(checkpoint.written_by.to_string())
        };
        let how = format!("{version} runs again, {}", from_checkpoint(&checkpoint, entry.clean, self.clock.unix()));
        Ok(Recovered { entry, body, instance, checkpoint, start, how, old })
    }

    /// The predecessor, from the state as it was handed over at the switch.
    async fn predecessor(
        &self,
        entry: Entry,
        probation: &ProbationRecord,
        predecessor: Revision,
        why: &str,
    ) -> Result<Recovered, String> {
        let body = self.body_of(&predecessor).await?;
        let pinned = probation.pinned.clone();
        let read = self.read(&entry, move |files, _| files.read(&pinned)).await?;
        let mut checkpoint = read.map_err(|error| describe(&error))?;
        let instance = self.nursery.born(&body, &checkpoint, Purpose::Start).await?;
        let version = entry.revision.release.version.clone();
        let how = format!(
            "{version} was rolled back ({why}): {} runs again, {}",
            predecessor.release.version,
            from_checkpoint(&checkpoint, entry.clean, self.clock.unix())
        );
        let entry = Entry {
            generation: entry.generation.next(),
            revision: predecessor,
            predecessor: None,
            probation: None,
            ..entry
        };
        checkpoint.generation = entry.generation;
        let birth = checkpoint.clone();
        let written = self.read(&entry, move |files, _| files.write(&birth, None)).await?;
        written.map_err(|error| describe(&error))?;
        self.report_rollback(probation, &entry, &version, why).await?;
        Ok(Recovered {
            entry,
            body,
            instance,
            checkpoint,
            start: Start::RolledBack(version.to_string()),
            how,
            old: None,
        })
    }

    async fn report_rollback(
        &self,
        probation: &ProbationRecord,
        entry: &Entry,
        version: &semver::Version,
        why: &str,
    ) -> Result<(), String> {
        let release = &entry.revision.release;
        let mut report = SwapReport::blank(entry.name.clone(), version.clone(), release.digest, probation.switched);
        (report.id, report.kind) = (probation.swap, SwapKind::Deploy);
        (report.from, report.running) = (Some(release.version.clone()), Some(release.version.clone()));
        (report.generation, report.ended) = (entry.generation, self.clock.unix());
        let outcome = Outcome::RolledBack { why: why.to_owned(), way: RollbackWay::Checkpoint };
        report.verdict = Verdict::Swap { outcome };
        self.events.tell("swap.rolled-back", Some(&entry.name), Some(probation.swap), why.to_owned());
        self.ledger.run(move |ledger| ledger.append(&report)).await.map_err(|error| describe(&error))
    }

    /// The probation that goes on, with the time that remains.
    async fn active_again(&self, entry: &Entry, old: Option<Old>) -> Option<Active> {
        let record = entry.probation.clone()?;
        let release = &entry.revision.release;
        let mut report =
            SwapReport::blank(entry.name.clone(), release.version.clone(), release.digest, record.switched);
        (report.id, report.kind) = (record.swap, SwapKind::Deploy);
        report.from = Some(record.plan.from.clone());
        report.notes.push("the host started again while it was on probation".to_owned());
        let pinned = record.pinned.clone();
        let handed = self.read(entry, move |files, _| files.read(&pinned)).await.ok().and_then(Result::ok);
        let now = self.clock.moment();
        let until = now.after(record.until.since(self.clock.unix()));
        Some(Active {
            swap: Swap::resumed(record.swap, record.policy, record.plan, now, until),
            report,
            span: None,
            progress: None,
            done: Vec::new(),
            candidate: None,
            ticket: None,
            old,
            handed: handed.map(Arc::new),
            quiesced: None,
            untold: Vec::new(),
            baseline: None,
        })
    }

    /// A revision's code.
    pub(super) async fn body_of(&self, revision: &Revision) -> Result<Body, String> {
        let digest = revision.release.digest;
        let component = self.compiler.load(&self.store, digest).await.map_err(|error| describe(&error))?;
        let (name, version) = (revision.release.workload.clone(), revision.release.version.clone());
        let stored = self.ledger.run(move |ledger| ledger.release(&name, &version)).await;
        let size_bytes = stored.ok().flatten().map_or(0, |stored| stored.size_bytes);
        Ok(Body { revision: revision.clone(), component, size_bytes })
    }

    async fn read<T: Send + 'static>(
        &self,
        entry: &Entry,
        work: impl FnOnce(&CheckpointFiles, host_core::id::Generation) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (folder, generation) = (checkpoint_folder(&self.config.data, &entry.name), entry.generation);
        let done = tokio::task::spawn_blocking(move || {
            let files = CheckpointFiles::open(folder).map_err(|error| describe(&error))?;
            Ok(work(&files, generation))
        });
        done.await.map_err(|_| HostError::Stopping.to_string())?
    }
}

/// Binds all listeners of a revision.
fn bind_all(revision: &Revision) -> Result<Vec<Bound>, String> {
    let bind = |listener: &host_core::release::ListenAddress| {
        Bound::bind(*listener).map_err(|error| format!("can't listen on {listener}: {error}"))
    };
    revision.listeners.iter().map(bind).collect()
}

fn from_checkpoint(checkpoint: &Checkpoint, clean: bool, now: UnixNanos) -> String {
    let age = now.since(checkpoint.made);
    let lost = if clean {
        "nothing is lost: it was stopped cleanly"
    } else {
        "what happened since then is lost: the host died"
    };
    format!(
        "from the checkpoint of {} after batch {}, made {:.1} s ago; {lost}",
        checkpoint.written_by,
        checkpoint.batches,
        age.as_secs_f64()
    )
}
