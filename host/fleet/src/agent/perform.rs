//! A command, performed on the host: what is fetched, what is asked of the host, and what its report means to the fleet.

mod fetch;
mod health;

use std::{sync::Arc, time::Duration};

use host_api::{Control, Failure, ProgressSink};
use host_core::{
    fleet::{FleetRevision, Running},
    history::{SwapReport, Verdict},
    id::{Generation, WorkloadName},
    plan::Intent,
    policy::SwapPolicy,
    release::ListenAddress,
    request::{DeployRequest, Extent, RollbackRequest},
    rollout::{
        command::{Action, Command, Measured, Outcome},
        policy::HostPolicy,
        request::{Direction, Source},
    },
    status::{RunState, WorkloadStatus},
    swap::Outcome as SwapOutcome,
    trace::TraceContext,
};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::inventory::is_held;
use crate::{
    pb::fleet_client::FleetClient,
    protocol::{Task, Upkeep},
};

/// Performs commands. Clones share the host.
pub(super) struct Performer<C: Control> {
    control: Arc<C>,
    client: FleetClient<Channel>,
}

impl<C: Control> Clone for Performer<C> {
    fn clone(&self) -> Self {
        Self { control: self.control.clone(), client: self.client.clone() }
    }
}

/// Nobody looks at the progress of a command.
fn unheard() -> ProgressSink {
    tokio::sync::mpsc::channel(1).0
}

/// A failure in words.
fn words(failure: Failure) -> String {
    match failure.remedy {
        Some(remedy) => format!("{}; {remedy}", failure.what),
        None => failure.what,
    }
}

impl<C: Control> Performer<C> {
    pub(super) fn new(control: Arc<C>, client: FleetClient<Channel>) -> Self {
        Self { control, client }
    }

    /// Performs a command that has been written down. `deadline` is when it comes too late.
    pub(super) async fn perform(&self, command: &Command, deadline: Instant) -> Outcome {
        if Instant::now() >= deadline {
            return Outcome::Expired;
        }
        let here = match self.here(&command.workload).await {
            Ok(here) => here,
            Err(failure) => return Outcome::Refused { why: words(failure) },
        };
        // A way back is wanted whatever generation it leads from.
        if !matches!(command.action, Action::RollBack { .. })
            && let Err(why) = as_expected(command, here.as_ref())
        {
            return Outcome::Refused { why };
        }
        match &command.action {
            Action::Prepare { revision, source, direction, policy } => {
                self.prepare(revision, source, *direction, policy, command.trace).await
            }
            Action::Switch { revision, direction, policy } => {
                self.switch(revision, *direction, policy, command.trace, deadline).await
            }
            Action::Commit => self.commit(&command.workload, here.as_ref()).await,
            Action::RollBack { to, allow_loss } => {
                self.roll_back(command, here.as_ref(), to.as_ref(), *allow_loss).await
            }
        }
    }

    async fn here(&self, workload: &WorkloadName) -> Result<Option<WorkloadStatus>, Failure> {
        let status = self.control.status().await?;
        Ok(status.workloads.into_iter().find(|here| here.name == *workload))
    }

    /// Fetches, verifies, compiles and rehearses.
    async fn prepare(
        &self,
        revision: &FleetRevision,
        source: &Source,
        direction: Direction,
        policy: &HostPolicy,
        trace: Option<TraceContext>,
    ) -> Outcome {
        let rehearsed = async {
            let artifact = self.artifact(revision.digest, source).await?;
            let request = self.request(revision, direction, policy, Extent::Rehearse, trace).await?;
            self.control.deploy(request, artifact, unheard()).await.map_err(words)
        };
        match rehearsed.await {
            Err(why) => Outcome::Refused { why },
            Ok(report) => match &report.verdict {
                Verdict::Rehearsed | Verdict::Nothing => {
                    Outcome::Prepared { way_back: report.swap_plan().map(|plan| plan.way_back), notes: report.notes }
                }
                verdict => Outcome::Refused { why: verdict.why().unwrap_or(verdict.as_str()).to_owned() },
            },
        }
    }

    /// Swaps and holds the probation.
    async fn switch(
        &self,
        revision: &FleetRevision,
        direction: Direction,
        policy: &HostPolicy,
        trace: Option<TraceContext>,
        deadline: Instant,
    ) -> Outcome {
        let began = Instant::now();
        let refused = |why| Outcome::Refused { why };
        let artifact = match self.artifact(revision.digest, &Source::Host).await {
            Ok(artifact) => artifact,
            Err(why) => return refused(why),
        };
        let request = match self.request(revision, direction, policy, Extent::Swap, trace).await {
            Ok(request) => request,
            Err(why) => return refused(why),
        };
        let ready = match self.control.prepare(request, artifact, unheard()).await {
            Err(failure) => return refused(words(failure)),
            Ok(preparation) => match preparation.ready {
                Some(ready) => ready,
                None => return switched(preparation.report, began.elapsed()),
            },
        };
        // The last moment at which nothing has changed.
        if Instant::now() >= deadline {
            return Outcome::Expired;
        }
        match self.control.execute(ready.prepared, unheard()).await {
            Ok(report) => switched(report, began.elapsed()),
            Err(failure) => refused(words(failure)),
        }
    }

    async fn request(
        &self,
        revision: &FleetRevision,
        direction: Direction,
        policy: &HostPolicy,
        extent: Extent,
        trace: Option<TraceContext>,
    ) -> Result<DeployRequest, String> {
        let here = self.here(&revision.workload).await.map_err(words)?;
        let kept = here.is_some_and(|here| has_listeners(&here, &revision.listeners));
        Ok(DeployRequest {
            workload: revision.workload.clone(),
            version: revision.version.clone(),
            listeners: (!kept).then(|| revision.listeners.clone()),
            config: Some(revision.config.clone()),
            topology: Some(revision.topology),
            intent: Intent::Deploy { downgrade: direction.lowers() },
            policy: SwapPolicy {
                pause_limit: policy.pause_limit,
                hold: true,
                allow_loss: policy.allow_loss,
                force: policy.force,
                one_way: policy.one_way,
                ..SwapPolicy::default()
            },
            extent,
            trace,
        })
    }

    async fn commit(&self, workload: &WorkloadName, here: Option<&WorkloadStatus>) -> Outcome {
        let Some(here) = here else { return Outcome::Refused { why: format!("{workload} is not there") } };
        if !is_held(here) {
            return Outcome::Committed { generation: here.generation };
        }
        match self.control.commit(workload.clone()).await {
            Ok(report) => Outcome::Committed { generation: report.generation },
            Err(failure) => Outcome::Refused { why: words(failure) },
        }
    }

    async fn roll_back(
        &self,
        command: &Command,
        here: Option<&WorkloadStatus>,
        to: Option<&Running>,
        allow_loss: bool,
    ) -> Outcome {
        let workload = &command.workload;
        let back = |generation, why: &str| Outcome::RolledBack { generation, why: why.to_owned() };
        match (here, to) {
            (None, None) => back(None, "it was not there"),
            (None, Some(_)) => Outcome::Stuck { why: format!("{workload} is not there any more") },
            (Some(_), None) => match self.take_away(workload).await {
                Ok(()) => back(None, "removed, as it was not there before"),
                Err(why) => Outcome::Stuck { why },
            },
            (Some(here), Some(to)) if here.digest == to.digest && !is_held(here) => {
                back(Some(here.generation), "it ran that already")
            }
            (Some(_), Some(to)) => self.reinstate(workload, to, allow_loss, command.trace).await,
        }
    }

    async fn reinstate(
        &self,
        workload: &WorkloadName,
        to: &Running,
        allow_loss: bool,
        trace: Option<TraceContext>,
    ) -> Outcome {
        let policy = SwapPolicy { allow_loss, probation: Duration::ZERO, ..SwapPolicy::default() };
        let request = RollbackRequest { workload: workload.clone(), to: Some(to.version.clone()), policy, trace };
        match self.control.rollback(request, unheard()).await {
            Err(failure) => Outcome::Stuck { why: words(failure) },
            Ok(report) if report.running.as_ref() == Some(&to.version) => {
                let why = match &report.verdict {
                    Verdict::Swap { outcome: SwapOutcome::RolledBack { way, .. } } => {
                        format!("by the way `{way:?}`").to_lowercase()
                    }
                    verdict => verdict.as_str().to_owned(),
                };
                Outcome::RolledBack { generation: Some(report.generation), why }
            }
            Ok(report) => Outcome::Stuck { why: report.verdict.why().unwrap_or(report.verdict.as_str()).to_owned() },
        }
    }

    async fn take_away(&self, workload: &WorkloadName) -> Result<(), String> {
        let running = |here: WorkloadStatus| here.run_state == RunState::Running;
        if self.here(workload).await.map_err(words)?.is_some_and(running) {
            self.control.stop(workload.clone()).await.map_err(words)?;
        }
        self.control.remove(workload.clone()).await.map_err(words)?;
        Ok(())
    }

    /// Something outside of rollouts.
    pub(super) async fn keep_up(&self, upkeep: &Upkeep) -> Result<(), String> {
        let workload = upkeep.workload.clone();
        match &upkeep.task {
            Task::Deploy { revision, source, intent } => {
                let artifact = self.artifact(revision.digest, source).await?;
                let request = DeployRequest {
                    intent: *intent,
                    policy: SwapPolicy::default(),
                    ..self.request(revision, Direction::Upgrade, &HostPolicy::default(), Extent::Swap, None).await?
                };
                let report = self.control.deploy(request, artifact, unheard()).await.map_err(words)?;
                if report.running.as_ref() == Some(&revision.version) {
                    Ok(())
                } else {
                    Err(report.verdict.why().unwrap_or(report.verdict.as_str()).to_owned())
                }
            }
            Task::Commit => self.control.commit(workload).await.map(drop).map_err(words),
            Task::Start => self.control.start(workload).await.map(drop).map_err(words),
            Task::Stop => self.control.stop(workload).await.map(drop).map_err(words),
            Task::Remove => match self.here(&workload).await.map_err(words)? {
                None => Ok(()),
                Some(_) => self.take_away(&workload).await,
            },
            Task::Attach { .. } => Ok(()),
        }
    }
}

/// Whether a workload has the listeners that a revision names, each once. A port 0 stands for the one that the host chose; a
/// revision without any leaves them to the host.
fn has_listeners(here: &WorkloadStatus, wanted: &[ListenAddress]) -> bool {
    let mut open = here.listeners.clone();
    let mut take = |wanted: &ListenAddress| {
        let chosen = |open: &ListenAddress| wanted.address.port() == 0 && open.address.ip() == wanted.address.ip();
        let at = open.iter().position(|open| open == wanted || chosen(open));
        at.map(|at| open.remove(at)).is_some()
    };
    let all = wanted.iter().all(&mut take);
    wanted.is_empty() || (all && open.is_empty())
}

/// Whether what is in place is what the command was decided for.
fn as_expected(command: &Command, here: Option<&WorkloadStatus>) -> Result<(), String> {
    let workload = &command.workload;
    match (command.expected, here) {
        (None, None) => Ok(()),
        (None, Some(here)) => Err(format!("{workload} {} is there, and was not when this was decided", here.version)),
        (Some(_), None) => Err(format!("{workload} is not there, and was when this was decided")),
        (Some(expected), Some(here)) if (expected.digest, expected.generation) == (here.digest, here.generation) => {
            Ok(())
        }
        (Some(expected), Some(here)) => Err(format!(
            "{workload} {} runs at generation {}, and this was decided for generation {}",
            here.version, here.generation, expected.generation
        )),
    }
}

/// What a swap's report means to the fleet.
fn switched(report: SwapReport, took: Duration) -> Outcome {
    let generation = report.generation;
    let measured = Measured { pause: report.pause, connections: report.connections, took };
    match report.verdict {
        Verdict::Held | Verdict::Started | Verdict::Nothing | Verdict::Swap { outcome: SwapOutcome::Permanent } => {
            Outcome::Switched { generation, measured }
        }
        Verdict::Swap { outcome: SwapOutcome::RolledBack { why, .. } } => {
            Outcome::RolledBack { generation: existing(generation), why }
        }
        Verdict::Swap { outcome: SwapOutcome::Stopped { why } } => Outcome::Stuck { why },
        verdict => Outcome::Refused { why: verdict.why().unwrap_or(verdict.as_str()).to_owned() },
    }
}

/// Generation 0 is that of what never ran.
fn existing(generation: Generation) -> Option<Generation> {
    (generation != Generation(0)).then_some(generation)
}
