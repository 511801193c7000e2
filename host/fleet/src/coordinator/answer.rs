//! An operator's questions and orders.

use std::collections::BTreeSet;

use host_api::{Failure, FailureKind};
use host_core::{
    fleet::{Assignment, FleetRevision, RunWanted, Selector},
    id::{HostId, RevisionId, RolloutId, WorkloadName},
    release::Topology,
    rollout::{
        Input as RolloutInput, Order, Rollout,
        policy::RolloutPolicy,
        request::{Direction, RolloutRequest, Source},
    },
    time::UnixNanos,
};
use semver::Version;

use super::{Coordinator, Step, audit, document, event, view};
use crate::{
    operator::{Ask, Deploy, Told},
    protocol::Task,
    store::{NewEvent, ReleaseRecord},
};

pub(super) type Answer = Result<Told, Failure>;

pub(super) fn refused(what: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Refused, what).still("nothing was changed")
}

fn unknown(what: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotFound, what).still("nothing was changed")
}

impl Coordinator {
    /// What is only in the store (history, events, audit) is answered by the shell.
    pub(super) fn asked(&mut self, by: &str, ask: Ask, now: UnixNanos, step: &mut Step) -> Answer {
        match ask {
            Ask::Status => Ok(Told::Status { fleet: self.status(now) }),
            Ask::Hosts => Ok(Told::Hosts { hosts: self.host_views() }),
            Ask::Where { workload } => Ok(Told::Where {
                assignment: self.assignments.get(&workload).cloned().map(Box::new),
                hosts: self.placements(&workload),
            }),
            Ask::Deploy { deploy } => self.deploy(by, *deploy, now, step),
            Ask::Plan { deploy } => self.plan(by, *deploy),
            Ask::Rollback { workload, to, hosts, policy } => {
                self.roll_back(by, &workload, to, hosts, *policy, now, step)
            }
            Ask::Order { rollout, order } => self.order(by, rollout, order, now, step),
            Ask::Show { rollout } => self.show(rollout, now),
            Ask::Versions { workload } => self.versions(&workload),
            Ask::Run { workload, running } => self.run(by, &workload, running, step),
            Ask::Remove { workload } => self.remove(by, workload, step),
            Ask::Adopt { host } => self.adopt(by, &host, step),
            Ask::Reconcile { host } => self.reconcile(by, &host, step),
            Ask::Declare { declared, apply } => self.declare(by, declared, apply, now, step),
            Ask::History { .. } | Ask::TokenCreate { .. } | Ask::AuditLog { .. } => {
                Err(Failure::new(FailureKind::Internal, "the store answers this"))
            }
        }
    }

    pub(super) fn published(&mut self, by: String, release: ReleaseRecord, step: &mut Step) {
        let name = format!("{} {}", release.workload, release.version);
        let key = (release.workload.clone(), release.version.clone());
        let answer = match self.releases.get(&key) {
            Some(known) if known.digest != release.digest => Err(refused(format!(
                "{name} was published with digest {}, and this is {}; a version's bytes never change",
                known.digest.short(),
                release.digest.short()
            ))
            .remedy("give the new build a version of its own")),
            _ => {
                let message = format!("{name} is published, digest {}", release.digest.short());
                step.changes.audit.push(audit(&by, "publish", &*name, "done"));
                step.changes.events.push(NewEvent {
                    workload: Some(release.workload.clone()),
                    ..event("release.published", message.clone())
                });
                step.changes.releases.push(release.clone());
                self.releases.insert(key, release);
                Ok(Told::Done { message })
            }
        };
        step.answer = Some(answer);
    }

    /// What a deploy asks for, complete and checked. An assignment that is not there yet is made, not kept.
    fn request(&mut self, by: &str, deploy: Deploy, step: &mut Step) -> Result<(Assignment, RolloutRequest), Failure> {
        let workload = &deploy.workload;
        // One that is being removed is begun anew.
        let kept = self.assignments.get(workload).filter(|known| known.run != RunWanted::Removed);
        let assignment = kept.cloned();
        if let (Some(known), Some(wanted)) = (&assignment, &deploy.assign)
            && known.selector != *wanted
        {
            let what = format!("{workload} is assigned to {} already", known.selector);
            return Err(refused(what).remedy(
                "choose hosts of this rollout with --hosts or --on; `host fleet apply` changes the assignment",
            ));
        }
        let assignment =
            assignment.unwrap_or_else(|| Assignment::new(workload.clone(), deploy.assign.clone().unwrap_or_default()));
        let target = self.target(&deploy, &assignment, step)?;
        let request = self.request_for(by, deploy, target)?;
        Ok((assignment, request))
    }

    /// The revision that a deploy asks for.
    pub(super) fn target(
        &mut self,
        deploy: &Deploy,
        assignment: &Assignment,
        step: &mut Step,
    ) -> Result<FleetRevision, Failure> {
        let (workload, version) = (&deploy.workload, &deploy.version);
        let published = self.releases.get(&(workload.clone(), version.clone())).map(|release| release.digest);
        // What came past the store is known by what was made of it.
        let made = || assignment.revisions().find(|revision| revision.version == *version).map(|known| known.digest);
        let digest = match (deploy.digest, published.or_else(made)) {
            (Some(digest), Some(known)) if digest != known => {
                let what = format!("{workload} {version} has the digest {} in this fleet", known.short());
                return Err(refused(what).remedy("give the new build a version of its own"));
            }
            (Some(digest), _) => digest,
            (None, Some(known)) => known,
            (None, None) => {
                return Err(unknown(format!("the fleet has no {workload} {version}")).remedy(format!(
                    "publish it: host fleet publish FILE --name {workload} --version {version}; or name it with --digest and --from"
                )));
            }
        };
        let stable = assignment.stable.as_ref();
        let target = FleetRevision {
            id: RevisionId(0),
            workload: workload.clone(),
            version: version.clone(),
            digest,
            listeners: deploy.listeners.clone().or_else(|| Some(stable?.listeners.clone())).unwrap_or_default(),
            config: deploy.config.clone().or_else(|| Some(stable?.config.clone())).unwrap_or_default(),
            topology: deploy.topology.or_else(|| Some(stable?.topology)).unwrap_or(Topology::Single),
        };
        Ok(self.revision(target, step))
    }

    /// A request that brings a revision in the manner that a deploy asks for.
    pub(super) fn request_for(
        &self,
        by: &str,
        deploy: Deploy,
        target: FleetRevision,
    ) -> Result<RolloutRequest, Failure> {
        if deploy.source == Source::Store && !self.is_stored(target.digest) {
            let what = format!("the coordinator's store has no component {}", target.digest.short());
            return Err(unknown(what).remedy("publish it, or say --from host where each host has it already"));
        }
        let request = RolloutRequest {
            target,
            source: deploy.source,
            hosts: deploy.hosts,
            order: deploy.order,
            direction: deploy.direction,
            extent: deploy.extent,
            schedule: deploy.schedule,
            policy: deploy.policy,
            by: by.to_owned(),
        };
        request.checked().map_err(|why| refused(why.to_string()))
    }

    fn deploy(&mut self, by: &str, deploy: Deploy, now: UnixNanos, step: &mut Step) -> Answer {
        let (assignment, request) = self.request(by, deploy, step)?;
        // One that is being removed goes on being so until hosts are told of what is new.
        let run = self.assignments.get(&assignment.workload).map_or(assignment.run, |known| known.run);
        self.assign(Assignment { run, ..assignment }, step);
        let id = self.begin_rollout(by, request, now, step);
        self.shown(id, now)
    }

    /// Keeps an assignment.
    pub(super) fn assign(&mut self, assignment: Assignment, step: &mut Step) {
        if self.assignments.get(&assignment.workload) != Some(&assignment) {
            let (workload, text) = (assignment.workload.clone(), document(&assignment));
            step.changes.assignments.push((workload.clone(), Some(text)));
            self.assignments.insert(workload, assignment);
        }
    }

    pub(super) fn begin_rollout(
        &mut self,
        by: &str,
        request: RolloutRequest,
        now: UnixNanos,
        step: &mut Step,
    ) -> RolloutId {
        let what = format!("{} {}", request.workload(), request.target.version);
        let id = self.roll(request, now, step);
        step.changes.audit.push(audit(by, "rollout.start", format!("rollout {id}: {what}"), "begun"));
        id
    }

    fn plan(&mut self, by: &str, deploy: Deploy) -> Answer {
        // Nothing of this is kept.
        let (last_revision, mut nothing) = (self.last_revision, Step::default());
        let request = self.request(by, deploy, &mut nothing);
        self.last_revision = last_revision;
        let (assignment, request) = request?;
        Ok(Told::Plan { lines: self.planned(&request, &assignment)? })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one order")]
    fn roll_back(
        &mut self,
        by: &str,
        workload: &WorkloadName,
        to: Option<Version>,
        hosts: Selector,
        policy: RolloutPolicy,
        now: UnixNanos,
        step: &mut Step,
    ) -> Answer {
        let under_way =
            self.rollouts_of(workload).find(|id| self.rollouts.get(id).is_some_and(|rollout| !rollout.is_over()));
        // One that is not over is undone itself: every host has its predecessor still.
        if let Some(id) = under_way.filter(|_| to.is_none() && hosts == Selector::All) {
            return self.order(by, Some(id), Order::Rollback, now, step);
        }
        self.is_not_removed(workload)?;
        let assignment = self.assignments.get(workload).ok_or_else(|| not_assigned(workload))?;
        let known = assignment.previous.iter().chain(&assignment.stable).chain(assignment.pinned.values());
        let target = match &to {
            None => assignment.previous.clone().ok_or_else(|| {
                refused(format!("nothing was stable before what {workload} runs now"))
                    .remedy("name a version with --to; `host fleet versions` lists them")
            })?,
            Some(version) => match known.clone().find(|revision| revision.version == *version) {
                Some(revision) => revision.clone(),
                None => {
                    let release = self.releases.get(&(workload.clone(), version.clone()));
                    let release = release.ok_or_else(|| unknown(format!("the fleet has no {workload} {version}")))?;
                    let stable = assignment.stable.clone().ok_or_else(|| not_assigned(workload))?;
                    FleetRevision { version: version.clone(), digest: release.digest, ..stable }
                }
            },
        };
        let target = self.revision(target, step);
        let request = RolloutRequest {
            source: self.source_of(&target),
            hosts,
            direction: Direction::Rollback,
            policy,
            ..RolloutRequest::new(target, by)
        };
        let request = request.checked().map_err(|why| refused(why.to_string()))?;
        let what = format!("{workload} back to {}", request.target.version);
        let id = self.roll(request, now, step);
        step.changes.audit.push(audit(by, "rollout.rollback", format!("rollout {id}: {what}"), "begun"));
        self.shown(id, now)
    }

    fn order(&mut self, by: &str, rollout: Option<RolloutId>, order: Order, now: UnixNanos, step: &mut Step) -> Answer {
        let id = match rollout {
            Some(id) => id,
            None => self.only_one()?,
        };
        if !self.rollouts.contains_key(&id) {
            let what = if id <= self.last_rollout { "is over" } else { "does not exist" };
            return Err(refused(format!("rollout {id} {what}")).remedy("`host fleet history` lists them"));
        }
        let (what, target) = (format!("rollout.{}", order.as_str()), format!("rollout {id}"));
        let rejected = self.drive(id, RolloutInput::Order { by: by.to_owned(), order }, now, step);
        let result = rejected.clone().map_or_else(|| "done".to_owned(), |why| format!("refused: {why}"));
        step.changes.audit.push(audit(by, &what, target, result));
        match rejected {
            Some(why) => Err(refused(why)),
            None => self.shown(id, now),
        }
    }

    /// The rollout that is meant when none is named.
    fn only_one(&self) -> Result<RolloutId, Failure> {
        let mut going = self.rollouts.iter().filter(|(_, rollout)| !rollout.is_over()).map(|(id, _)| *id);
        match (going.next(), going.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(refused("no rollout is under way")),
            (Some(_), Some(_)) => {
                Err(refused("more than one rollout is under way").remedy("name one; `host fleet status` lists them"))
            }
        }
    }

    fn show(&self, rollout: Option<RolloutId>, now: UnixNanos) -> Answer {
        let id = rollout.unwrap_or(self.last_rollout);
        self.shown(id, now)
    }

    fn shown(&self, id: RolloutId, now: UnixNanos) -> Answer {
        let Some(rollout) = self.rollouts.get(&id) else {
            return Err(unknown(format!("there is no rollout {id}")).remedy("`host fleet history` lists them"));
        };
        Ok(Told::Rollout { rollout: Box::new(view::rollout(rollout, now)) })
    }

    fn versions(&self, workload: &WorkloadName) -> Answer {
        let releases: Vec<_> =
            self.releases.values().filter(|release| release.workload == *workload).cloned().collect();
        let assignment = self.assignments.get(workload);
        if releases.is_empty() && assignment.is_none() {
            return Err(unknown(format!("the fleet knows no workload {workload}")));
        }
        let stable = assignment.and_then(|assignment| assignment.stable.as_ref()).map(|stable| stable.version.clone());
        Ok(Told::Versions { releases, stable })
    }

    fn run(&mut self, by: &str, workload: &WorkloadName, running: bool, step: &mut Step) -> Answer {
        self.not_in_a_rollout(workload)?;
        self.is_not_removed(workload)?;
        let assignment = self.assignments.get_mut(workload).ok_or_else(|| not_assigned(workload))?;
        assignment.run = if running { RunWanted::Running } else { RunWanted::Stopped };
        step.changes.assignments.push((workload.clone(), Some(document(assignment))));
        let (what, word) = if running { ("workload.start", "started") } else { ("workload.stop", "stopped") };
        step.changes.audit.push(audit(by, what, workload.to_string(), "done"));
        Ok(Told::Done { message: format!("{workload} is {word} on every host it is assigned to, as they are reached") })
    }

    fn remove(&mut self, by: &str, workload: WorkloadName, step: &mut Step) -> Answer {
        self.not_in_a_rollout(&workload)?;
        if !self.assignments.contains_key(&workload) {
            return Err(not_assigned(&workload));
        }
        self.is_not_removed(&workload)?;
        let may_have_it = |host: &super::Host| {
            let known = host.inventory.as_ref().map(|inventory| inventory.of(&workload));
            known.is_none_or(|here| here.running.is_some() && !here.detached)
        };
        let (there, away): (Vec<_>, Vec<_>) =
            self.hosts.iter().filter(|(_, host)| may_have_it(host)).partition(|(_, host)| host.session.is_some());
        let mut message = format!("{workload} is removed from {} host(s), with its state", there.len());
        if !away.is_empty() {
            let names: Vec<_> = away.iter().map(|(name, _)| name.as_str()).collect();
            let are = if names.len() == 1 {
                "is away, and is told when it returns"
            } else {
                "are away, and are told when they return"
            };
            message.push_str(&format!("; {} {are}", names.join(", ")));
        }
        // Kept until nobody has it: whoever is away must find it when it returns, whatever becomes of this coordinator.
        let removed = Assignment { run: RunWanted::Removed, ..Assignment::new(workload.clone(), Selector::All) };
        step.changes.assignments.push((workload.clone(), Some(document(&removed))));
        step.changes.audit.push(audit(by, "workload.remove", workload.to_string(), "done"));
        self.assignments.insert(workload, removed);
        Ok(Told::Done { message })
    }

    fn is_not_removed(&self, workload: &WorkloadName) -> Result<(), Failure> {
        match self.assignments.get(workload) {
            Some(assignment) if assignment.run == RunWanted::Removed => {
                Err(refused(format!("{workload} is being removed from the fleet"))
                    .remedy(format!("`host fleet where {workload}` shows what is left; a deploy begins anew")))
            }
            _ => Ok(()),
        }
    }

    fn adopt(&mut self, by: &str, host: &HostId, step: &mut Step) -> Answer {
        let drifted = self.drifted(host)?;
        for workload in &drifted {
            let Some(running) = self.hosts.get(host).and_then(|known| known.inventory.as_ref()?.of(workload).running)
            else {
                continue;
            };
            let Some(stable) = self.assignments.get(workload).and_then(|assignment| assignment.stable.clone()) else {
                continue;
            };
            let wanted = FleetRevision { version: running.version, digest: running.digest, ..stable };
            let wanted = self.revision(wanted, step);
            let Some(assignment) = self.assignments.get_mut(workload) else { continue };
            if assignment.stable.as_ref() == Some(&wanted) {
                assignment.pinned.remove(host);
            } else {
                assignment.pinned.insert(host.clone(), wanted.clone());
            }
            step.changes.assignments.push((workload.clone(), Some(document(assignment))));
            let task = Task::Attach { revision: Some(wanted.id) };
            self.tell(host.clone(), workload.clone(), task, step);
        }
        step.changes.audit.push(audit(by, "host.adopt", host.to_string(), "done"));
        let message = format!("what {host} runs of {} is what it shall run", names(&drifted));
        Ok(Told::Done { message })
    }

    fn reconcile(&mut self, by: &str, host: &HostId, step: &mut Step) -> Answer {
        let drifted = self.drifted(host)?;
        for workload in &drifted {
            self.tell(host.clone(), workload.clone(), Task::Attach { revision: None }, step);
        }
        step.changes.audit.push(audit(by, "host.reconcile", host.to_string(), "done"));
        Ok(Told::Done { message: format!("{host} is brought back to what it shall run of {}", names(&drifted)) })
    }

    /// The workloads that a person took out of the fleet's hands on a host.
    fn drifted(&self, host: &HostId) -> Result<BTreeSet<WorkloadName>, Failure> {
        let known = self.hosts.get(host).ok_or_else(|| unknown(format!("the fleet has no host {host}")))?;
        if known.session.is_none() {
            return Err(refused(format!("{host} is not connected")).remedy("ask again when it is"));
        }
        let workloads = known.inventory.iter().flat_map(|inventory| &inventory.workloads);
        let drifted: BTreeSet<_> =
            workloads.filter(|(_, here)| here.detached).map(|(workload, _)| workload.clone()).collect();
        if drifted.is_empty() { Err(refused(format!("nothing has drifted on {host}"))) } else { Ok(drifted) }
    }

    fn not_in_a_rollout(&self, workload: &WorkloadName) -> Result<(), Failure> {
        let going = |rollout: &Rollout| rollout.workload() == workload && !rollout.is_over();
        match self.rollouts.iter().find(|(_, rollout)| going(rollout)) {
            None => Ok(()),
            Some((id, _)) => Err(refused(format!("rollout {id} of {workload} is under way"))
                .remedy(format!("wait for its end, or cancel it: host fleet cancel {id}"))),
        }
    }
}

fn not_assigned(workload: &WorkloadName) -> Failure {
    unknown(format!("{workload} is assigned to no host")).remedy("the first `host fleet deploy` assigns it")
}

fn names(workloads: &BTreeSet<WorkloadName>) -> String {
    let names: Vec<_> = workloads.iter().map(WorkloadName::as_str).collect();
    names.join(", ")
}

/// A stored rollout for people and programs.
pub(super) fn stored(text: &str, now: UnixNanos) -> Result<crate::operator::RolloutView, serde_json::Error> {
    Ok(view::rollout(&serde_json::from_str::<Rollout>(text)?, now))
}
