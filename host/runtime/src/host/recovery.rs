//! What ran before runs again: exactly one release of each workload, whole, and it is said which, from which checkpoint,
//! and why.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use host_core::{
    history::{Cost, SwapKind, SwapReport, Verdict},
    id::SwapId,
    plan::common_format,
    release::{ListenAddress, Release, Revision, Topology},
    status::CheckpointStatus,
    swap::{Outcome, RollbackWay, Swap},
    time::UnixNanos,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    Inner, Place, Slot,
    deploy::{checkpoint_folder, workload_folder},
    describe,
};
use crate::{
    bindings::types::{CloseReason, Event, Loss, Start},
    checkpoint::{Checkpoint, CheckpointFiles},
    engine::Purpose,
    error::{HostError, StartError},
    ledger::{Desired, Entry, LastSwap, ProbationRecord},
    net::listener::Bound,
    workload::{
        Active, Body, Old, Recorded,
        actor::Beginning,
        connections::Connections,
        in_call::{self, InCall},
    },
};

/// A release on probation that saw this many starts of its host may be what kills it.
pub(super) const STARTS_ON_PROBATION_LIMIT: u32 = 3;

/// How long a start of the host waits for its workloads. A state of a million rows is back in a second; who takes longer
/// than this is started while the host serves.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Said of a swap whose end is known and whose report is not.
const NOT_REPORTED: &str = "its report could not be written before the host ended: phases and checks are not known";

/// A workload as it shall run again.
struct Recovered {
    entry: Entry,
    body: Body,
    instance: Recorded,
    checkpoint: Arc<Checkpoint>,
    /// What was passed over on the way to it.
    damaged: Vec<String>,
    start: Start,
    /// For the history.
    how: String,
    old: Option<Old>,
    /// What was rolled back on the way to it: told when it is so on disk.
    rolled_back: Option<RolledBack>,
}

/// A release that was on probation when the host died, and is not what runs again.
pub(super) struct RolledBack {
    pub(super) probation: ProbationRecord,
    pub(super) release: Release,
    pub(super) why: String,
    pub(super) way: RollbackWay,
    /// What it lost.
    pub(super) cost: Option<Cost>,
}

impl Inner {
    /// All workloads that shall run, each beside the others: one that takes its time, or never comes to an end, keeps nobody
    /// else from serving. It is waited for as long as a person would wait.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<(), StartError> {
        let mut resuming = JoinSet::new();
        for entry in self.ledger.run(|ledger| ledger.entries()).await? {
            let slot = self.slot_or_new(&entry.name);
            self.close_open_swaps(&entry).await?;
            match entry.desired {
                Desired::Stopped => {
                    let checkpoint = self.kept(&entry).await;
                    slot.set(Place::Empty { entry: Some(Box::new(entry)), why: None, checkpoint });
                }
                Desired::Running => {
                    let why = Some("it is still being started".to_owned());
                    slot.set(Place::Empty { entry: Some(Box::new(entry.clone())), why, checkpoint: None });
                    // Nobody else may start it meanwhile. Recovery has no number of its own.
                    let ticket = slot.ticket(SwapId(0));
                    let inner = self.clone();
                    resuming.spawn(async move {
                        // Its failure is shown; the others run.
                        drop(inner.resume(&slot, entry).await);
                        drop(ticket);
                    });
                }
            }
        }
        let all = async { while resuming.join_next().await.is_some() {} };
        if timeout(START_PATIENCE, all).await.is_err() {
            tracing::warn!("not every workload has started within {START_PATIENCE:?}; the host goes on without them");
            resuming.detach_all();
        }
        Ok(())
    }

    /// Swaps without a report: those that were under way when the host died, and those whose report did not get to disk.
    async fn close_open_swaps(&self, entry: &Entry) -> Result<(), StartError> {
        let name = entry.name.clone();
        let on_probation = entry.probation.as_ref().map(|probation| probation.swap);
        for (id, attempt) in self.ledger.run(move |ledger| ledger.open_swaps(&name)).await? {
            if Some(id) == on_probation {
                continue;
            }
            let running = &entry.revision.release.version;
            let outcome = fate(id, entry);
            let mut report = SwapReport::blank(attempt.workload, attempt.to, attempt.digest, attempt.began);
            (report.id, report.kind) = (id, SwapKind::Deploy);
            report.from = match (&outcome, &entry.predecessor) {
                (Outcome::Permanent, before) => before.as_ref().map(|before| before.release.version.clone()),
                _ => Some(running.clone()),
            };
            report.running = Some(running.clone());
            report.generation = entry.generation;
            report.ended = self.clock.unix();
            report.verdict = Verdict::Swap { outcome };
            let why = report.verdict.why().map(ToOwned::to_owned).unwrap_or_else(|| {
                report.notes.push(NOT_REPORTED.to_owned());
                NOT_REPORTED.to_owned()
            });
            let event = format!("swap.{}", report.verdict.as_str());
            self.events.tell(&event, Some(&entry.name), Some(id), why);
            self.ledger.run(move |ledger| ledger.append(&report)).await?;
        }
        Ok(())
    }

    /// Starts a workload from the ledger and its checkpoints. The error is kept in its slot.
    pub(super) async fn resume(&self, slot: &Slot, entry: Entry) -> Result<(), String> {
        let resumed = match entry.revision.topology {
            Topology::Single => self.try_resume(slot, entry.clone()).await,
            Topology::PerConnection => self.resume_sessions(slot, entry.clone()).await,
        };
        if let Err(why) = &resumed {
            let why = format!("it could not be started: {why}; `host start {}` tries again", slot.name);
            tracing::error!(workload = %slot.name, "{why}");
            self.events.tell("workload.stopped", Some(&slot.name), None, why.clone());
            let checkpoint = self.kept(&entry).await;
            slot.set(Place::Empty { entry: Some(Box::new(entry)), why: Some(why), checkpoint });
        }
        resumed
    }

    async fn try_resume(&self, slot: &Slot, entry: Entry) -> Result<(), String> {
        let began = self.clock.unix();
        let recovered = self.recovered(entry).await?;
        if self.stopping.load(Ordering::Acquire) {
            return Err(HostError::Stopping.to_string());
        }
        let bound = bind_all(&recovered.entry)?;
        let Recovered { mut entry, body, mut instance, checkpoint, damaged, start, how, old, rolled_back } = recovered;
        let cost = rolled_back.as_ref().and_then(|rolled_back| rolled_back.cost.clone());
        let mut front = vec![Event::Started(start)];
        // With an empty table every connection that the state knows is gone.
        front.extend(Connections::default().reconcile(&checkpoint.connections, CloseReason::HostRestarted));
        let active = self.active_again(&entry, old).await;
        if active.is_some() {
            instance.mark_calls(InCall::open(&workload_folder(&self.config.data, &entry.name)).ok());
        }
        // From now on until it is stopped cleanly, a death is a crash.
        (entry.clean, entry.desired) = (false, Desired::Running);
        let kept = entry.clone();
        self.ledger.run(move |ledger| ledger.put_entry(&kept)).await.map_err(|error| describe(&error))?;
        if let Some(rolled_back) = rolled_back {
            in_call::forget(&workload_folder(&self.config.data, &entry.name));
            self.report_rollback(&rolled_back, &entry).await?;
        }
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
            damaged,
        };
        let workload = self.spawn(slot, beginning, bound)?;
        slot.set(Place::Running(workload));
        self.resumed(slot, &entry, (how, cost), began).await
    }

    /// Says that it runs again, how, and what that cost.
    pub(super) async fn resumed(
        &self,
        slot: &Slot,
        entry: &Entry,
        (how, cost): (String, Option<Cost>),
        began: UnixNanos,
    ) -> Result<(), String> {
        match &cost {
            None => tracing::info!(workload = %slot.name, "{how}"),
            Some(Cost { events, batches, .. }) => tracing::warn!(workload = %slot.name, events, batches, "{how}"),
        }
        self.events.tell("workload.recovered", Some(&slot.name), None, how.clone());
        let mut report = SwapReport::blank(
            slot.name.clone(),
            entry.revision.release.version.clone(),
            entry.revision.release.digest,
            began,
        );
        (report.kind, report.verdict) = (SwapKind::Recovery, Verdict::Done);
        (report.running, report.generation) = (Some(report.to.clone()), entry.generation);
        (report.ended, report.cost) = (self.clock.unix(), cost);
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
        // On disk before anything of it runs: a birth that kills the host counts, too.
        let counted = entry.clone();
        self.ledger.run(move |ledger| ledger.put_entry(&counted)).await.map_err(|error| describe(&error))?;
        // Without its code the predecessor can't come back; the probation ends by time alone.
        let old = self.body_of(&predecessor).await.ok().map(|body| Old { instance: None, body, predecessor: None });
        let marks = workload_folder(&self.config.data, &entry.name);
        let in_call = tokio::task::spawn_blocking(move || in_call::was_running(&marks)).await.unwrap_or(false);
        let why = if probation.host_starts + 1 >= STARTS_ON_PROBATION_LIMIT {
            format!("the host started {} times while it was on probation", probation.host_starts + 1)
        } else if in_call {
            "the host died while it was on probation and a call into it was running".to_owned()
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
        let (found, damaged) = self.newest_whole(&entry).await?;
        let checkpoint = found.ok_or_else(|| {
            format!("no whole checkpoint of generation {} is on disk {}", entry.generation, damaged.join("; "))
        })?;
        let checkpoint = Arc::new(checkpoint);
        let instance = self.nursery.born(&body, checkpoint.clone(), Purpose::Start).await?;
        let version = &entry.revision.release.version;
        let start = if checkpoint.written_by == *version {
            Start::Restarted(Loss { batches: 0, events: 0 })
        } else {
            Start::Swapped(checkpoint.written_by.to_string())
        };
        let how = format!("{version} runs again, {}", from_checkpoint(&checkpoint, entry.clean, self.clock.unix()));
        Ok(Recovered { entry, body, instance, checkpoint, damaged, start, how, old, rolled_back: None })
    }

    /// The newest whole checkpoint; the damaged ones that were passed over are told, and given in words.
    async fn newest_whole(&self, entry: &Entry) -> Result<(Option<Checkpoint>, Vec<String>), String> {
        let (found, damaged) = self.read(entry, |files, generation| files.newest(generation)).await?;
        let damaged: Vec<_> = damaged.iter().map(|error| describe(error)).collect();
        for what in &damaged {
            tracing::warn!(workload = %entry.name, "{what}");
            self.events.tell("checkpoint.damaged", Some(&entry.name), None, what.clone());
        }
        Ok((found, damaged))
    }

    /// The newest state of the release on probation, in a format that its predecessor takes.
    async fn carried_down(
        &self,
        entry: &Entry,
        predecessor: &Revision,
        newest: Option<Checkpoint>,
    ) -> Result<Checkpoint, String> {
        let mut checkpoint = newest.ok_or("no whole checkpoint of it is on disk")?;
        if predecessor.release.description.accepts(checkpoint.format) {
            return Ok(checkpoint);
        }
        let format = common_format(&entry.revision, predecessor).ok_or("it does not write the old format")?;
        let body = self.body_of(&entry.revision).await?;
        let mut instance = self.nursery.grown(&body, &checkpoint, Purpose::Start).await?;
        let state = instance.snapshot(format.schema).await.map_err(|error| format!("snapshot failed: {error}"))?;
        let release = &entry.revision.release;
        (checkpoint.written_by, checkpoint.digest) = (release.version.clone(), release.digest);
        (checkpoint.format, checkpoint.state) = (state.format(), state.into_data().into());
        Ok(checkpoint)
    }

    /// The predecessor: from what the new release last wrote, if it can be carried down, or else from the state as it was handed
    /// over at the switch. That loses what came since. Nobody is there to allow it, and a workload that does not run serves
    /// nobody either: so it is done, counted and said.
    async fn predecessor(
        &self,
        entry: Entry,
        probation: &ProbationRecord,
        predecessor: Revision,
        why: &str,
    ) -> Result<Recovered, String> {
        let body = self.body_of(&predecessor).await?;
        let (newest, _) = self.read(&entry, |files, generation| files.newest(generation)).await?;
        let (mut checkpoint, way, cost) = match self.carried_down(&entry, &predecessor, newest.clone()).await {
            Ok(checkpoint) => (checkpoint, RollbackWay::Downgrade, None),
            Err(error) => {
                let pinned = probation.pinned.clone().ok_or("the switch left no state behind")?;
                let read = self.read(&entry, move |files, _| files.read(&pinned)).await?;
                let handed = read.map_err(|error| describe(&error))?;
                let cost = cost_of(&handed, newest.as_ref(), &error, entry.clean, self.clock.unix());
                (handed, RollbackWay::Checkpoint, Some(cost))
            }
        };
        checkpoint.generation = entry.generation.next();
        let checkpoint = Arc::new(checkpoint);
        let instance = self.nursery.born(&body, checkpoint.clone(), Purpose::Start).await?;
        let release = entry.revision.release.clone();
        let version = &release.version;
        let from = match &cost {
            None => from_checkpoint(&checkpoint, entry.clean, self.clock.unix()),
            Some(cost) => lossy(&checkpoint, cost),
        };
        let how = format!("{version} was rolled back ({why}): {} runs again, {from}", predecessor.release.version);
        let entry = Entry {
            generation: entry.generation.next(),
            revision: predecessor,
            predecessor: None,
            probation: None,
            last_swap: Some(LastSwap { id: probation.swap, undone: Some(way) }),
            ..entry
        };
        // What it is to take the place of stays until the ledger names this one.
        let birth = checkpoint.clone();
        let written = self.read(&entry, move |files, _| files.write(&birth)).await?;
        written.map_err(|error| describe(&error))?;
        Ok(Recovered {
            entry,
            body,
            instance,
            checkpoint,
            damaged: Vec::new(),
            start: Start::RolledBack(version.to_string()),
            how,
            old: None,
            rolled_back: Some(RolledBack { probation: probation.clone(), release, why: why.to_owned(), way, cost }),
        })
    }

    /// The end of a swap whose release does not run again; `entry` is how the workload now stands.
    pub(super) async fn report_rollback(&self, rolled_back: &RolledBack, entry: &Entry) -> Result<(), String> {
        let RolledBack { probation, release, why, way, cost } = rolled_back;
        let running = &entry.revision.release.version;
        let mut report =
            SwapReport::blank(entry.name.clone(), release.version.clone(), release.digest, probation.switched);
        (report.id, report.kind) = (probation.swap, SwapKind::Deploy);
        (report.from, report.running) = (Some(running.clone()), Some(running.clone()));
        (report.generation, report.ended) = (entry.generation, self.clock.unix());
        let outcome = Outcome::RolledBack { why: why.clone(), way: *way };
        (report.verdict, report.cost) = (Verdict::Swap { outcome }, cost.clone());
        let message = match cost {
            None => why.clone(),
            Some(cost) => format!("{why}; {}", lost(cost)),
        };
        self.events.tell("swap.rolled-back", Some(&entry.name), Some(probation.swap), message);
        if let Some(cost) = cost {
            self.metrics.workload(&entry.name).events_lost(cost.events);
        }
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
        let pinned = record.pinned.clone()?;
        let handed = self.read(entry, move |files, _| files.read(&pinned)).await.ok().and_then(Result::ok);
        let now = self.clock.moment();
        let until = now.after(record.until.since(self.clock.unix()));
        Some(Active {
            swap: Swap::resumed(record.swap, record.policy, record.plan, now, until),
            report,
            span: None,
            progress: None,
            done: Vec::new(),
            asker: None,
            candidate: None,
            ticket: None,
            old,
            handed: handed.map(Arc::new),
            migrated: UnixNanos(0),
            quiesced: None,
            untold: Vec::new(),
            baseline: None,
        })
    }

    /// What a workload that does not run would begin from.
    pub(super) async fn kept(&self, entry: &Entry) -> Option<CheckpointStatus> {
        let (found, _) = self.newest_whole(entry).await.ok()?;
        found.map(|checkpoint| checkpoint.status())
    }

    /// A revision's code.
    pub(super) async fn body_of(&self, revision: &Revision) -> Result<Body, String> {
        let digest = revision.release.digest;
        let component =
            self.compiler_for(revision.topology)?.load(&self.store, digest).await.map_err(|error| describe(&error))?;
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

/// What became of a swap that has no report: the entry knows it if the switch was made.
fn fate(id: SwapId, entry: &Entry) -> Outcome {
    let running = &entry.revision.release.version;
    match entry.last_swap.filter(|last| last.id == id).map(|last| last.undone) {
        Some(None) => Outcome::Permanent,
        Some(Some(way)) => Outcome::RolledBack { why: format!("{running} was reinstated; {NOT_REPORTED}"), way },
        None => Outcome::Aborted {
            why: format!("the host died before the switch was durable; {running} runs on from its last checkpoint"),
        },
    }
}

/// Binds all listeners of what is in place. On probation those of its predecessor, too, as before the host started anew: a
/// rollback must find its clients' doors open.
pub(super) fn bind_all(entry: &Entry) -> Result<Vec<Bound>, String> {
    let bind = |listener: &ListenAddress| {
        Bound::bind(*listener).map_err(|error| format!("can't listen on {listener}: {error}"))
    };
    let wanted = &entry.revision.listeners;
    let mut bound = wanted.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let before = entry.predecessor.as_ref().filter(|_| entry.probation.is_some());
    let only_before = before.into_iter().flat_map(|before| &before.listeners).filter(|old| !wanted.contains(old));
    for listener in only_before {
        match bind(listener) {
            Ok(listener) => bound.push(listener),
            // What serves does not need it.
            Err(why) => tracing::warn!(workload = %entry.name, "{why}: after a rollback it would be missing"),
        }
    }
    Ok(bound)
}

fn from_checkpoint(checkpoint: &Checkpoint, clean: bool, now: UnixNanos) -> String {
    let age = now.since(checkpoint.made);
    let lost = if clean {
        "nothing is lost: it was stopped cleanly"
    } else {
        "what happened since then is lost: the host died, or it failed while it was being stopped"
    };
    format!(
        "from the checkpoint of {} after batch {}, made {:.1} s ago; {lost}",
        checkpoint.written_by,
        checkpoint.batches,
        age.as_secs_f64()
    )
}

/// What going back to the state of the switch costs, as far as the disk knows it.
fn cost_of(handed: &Checkpoint, newest: Option<&Checkpoint>, error: &str, clean: bool, now: UnixNanos) -> Cost {
    let uncounted = match (newest, clean) {
        (None, _) => "; how much it had handled since is not known, for no checkpoint of it reads back",
        (Some(_), false) => "; what came after its last checkpoint is lost, too, and not counted",
        (Some(_), true) => "",
    };
    Cost {
        batches: newest.map_or(0, |newest| newest.batches.0.saturating_sub(handed.batches.0)),
        events: newest.map_or(0, |newest| newest.events.saturating_sub(handed.events)),
        checkpoint_age: now.since(handed.made),
        why: format!("the state as it was at the switch was reinstated, for {error}{uncounted}"),
    }
}

/// What was lost, in one line.
fn lost(Cost { batches, events, why, .. }: &Cost) -> String {
    format!("{events} events in {batches} batches since the switch are lost: {why}")
}

fn lossy(checkpoint: &Checkpoint, cost: &Cost) -> String {
    format!(
        "from the state at the switch, after batch {}, made {:.1} s ago; {}",
        checkpoint.batches,
        cost.checkpoint_age.as_secs_f64(),
        lost(cost)
    )
}

#[cfg(test)]
mod tests {
    use host_core::{
        id::{Digest, Generation},
        release::{Description, Release, StateFormat, Topology},
    };

    use super::*;

    fn entry(last_swap: Option<LastSwap>) -> Entry {
        let release = Release {
            workload: "counter".parse().unwrap(),
            version: "1.1.0".parse().unwrap(),
            digest: Digest::new([1; 32]),
            description: Description {
                writes: StateFormat { schema: 1, fingerprint: 1 },
                upgrades_from: Vec::new(),
                downgrades_to: Vec::new(),
                protocols: Vec::new(),
            },
            capabilities: Default::default(),
        };
        Entry {
            name: release.workload.clone(),
            desired: Desired::Running,
            generation: Generation(2),
            revision: Revision { release, config: String::new(), listeners: Vec::new(), topology: Topology::Single },
            predecessor: None,
            probation: None,
            last_swap,
            clean: false,
        }
    }

    #[test]
    fn a_swap_without_a_report_took_hold_if_the_entry_says_so() {
        let (id, way) = (SwapId(7), RollbackWay::Downgrade);
        assert_eq!(fate(id, &entry(Some(LastSwap { id, undone: None }))), Outcome::Permanent);
        let undone = fate(id, &entry(Some(LastSwap { id, undone: Some(way) })));
        assert!(matches!(undone, Outcome::RolledBack { way: RollbackWay::Downgrade, .. }), "{undone:?}");
        for other in [None, Some(LastSwap { id: SwapId(6), undone: None })] {
            assert!(matches!(fate(id, &entry(other)), Outcome::Aborted { .. }), "{other:?}");
        }
    }
}
