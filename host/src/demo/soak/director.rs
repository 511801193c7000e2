//! Does to the host what the schedule says, and keeps track of which versions may answer.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use host_api::{Client, ClientError};
use host_core::{
    history::{SwapReport, Verdict},
    id::WorkloadName,
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent, Progress as Told, RollbackRequest},
    status::{RunState, WorkloadStatus},
    swap::{Outcome, PhaseName},
};
use semver::Version;
use tokio::sync::oneshot;

use super::{
    behaviour::{Behaviour, Provocation},
    clients::Clients,
    record::VERSIONS,
    schedule::{Act, Trapping},
};
use crate::demo::{
    child::HostProcess,
    plan::{self, FAULTS},
};

/// The workload's name.
const WORKLOAD: &str = "counter";

/// How often the host checkpoints: often enough that a kill costs little and hits one being written now and then.
const CHECKPOINT_EVERY: &str = "500ms";

/// Restarts within a minute: what fails here does so on purpose, and shall go on failing.
const RESTARTS: &str = "10000";

/// Longest wait for clients that provoked a failure to be answered or closed.
const PROVOKED_LIMIT: Duration = Duration::from_secs(60);

/// Longest pause: a machine that is busy with other things must not make a good swap look like a bad one.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for the workload's own total.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Probation of a release that is rolled back by hand: longer than the wait for that.
const REGRET_PROBATION: Duration = Duration::from_secs(30);

/// What the host answered, or its refusal in words.
type Said = Result<SwapReport, String>;

/// See the module.
#[derive(Debug)]
pub(super) struct Director {
    pub(super) host: HostProcess,
    client: Client,
    workload: WorkloadName,
    /// The release in place, as the host said last.
    running: Version,
    /// The versions that may have answered since the round began, in order.
    pub(super) places: Vec<usize>,
    /// When a version that keeps no count per connection may have come. Kept over rounds, as clients are.
    pub(super) resets: Vec<(Duration, Duration)>,
    /// When what a release had counted may have been counted again by another.
    pub(super) replays: Vec<(Duration, Duration)>,
    /// When acts were under way.
    pub(super) busy: Vec<(Duration, Duration)>,
    /// How often each kind of act ended how.
    pub(super) outcomes: BTreeMap<String, u64>,
    pub(super) pauses: Vec<Duration>,
    /// What did not end as it should.
    pub(super) problems: Vec<String>,
}

/// The number of the version whose answers a release gives. Faults answer as the first.
fn answers_as(version: &Version) -> usize {
    VERSIONS.iter().position(|known| known == version).unwrap_or(0)
}

impl Director {
    /// A host with the workload on it.
    pub(super) async fn start(rows: u32) -> anyhow::Result<Self> {
        let mut host = HostProcess::start_with(&["--checkpoint-every", CHECKPOINT_EVERY, "--restarts", RESTARTS])?;
        let client = host.client().await?;
        let first = plan::BEFORE;
        let director = Self {
            host,
            client,
            workload: WORKLOAD.parse()?,
            places: vec![answers_as(&first)],
            running: first,
            resets: Vec::new(),
            replays: Vec::new(),
            busy: Vec::new(),
            outcomes: BTreeMap::new(),
            pauses: Vec::new(),
            problems: Vec::new(),
        };
        let mut request = director.request(&plan::BEFORE, Duration::ZERO);
        request.listeners = Some(vec!["tcp://127.0.0.1:0".parse()?]);
        request.config = (rows > 0).then(|| format!("rows = {rows}\n"));
        let said = director.deploy(request, plan::counter(&plan::BEFORE)?.component, |_| {}).await?;
        match said {
            Ok(SwapReport { verdict: Verdict::Started, .. }) => Ok(director),
            said => bail!("{WORKLOAD} did not start: {said:?}"),
        }
    }

    /// A new round: only what runs now may answer.
    pub(super) fn begin_round(&mut self) {
        self.places = vec![answers_as(&self.running)];
        self.busy.clear();
    }

    /// The host was started again: finds it and what runs on it.
    pub(super) async fn find_again(&mut self) -> anyhow::Result<WorkloadStatus> {
        self.client = self.host.client().await?;
        let status = self.status().await?;
        self.running = status.version.clone();
        Ok(status)
    }

    pub(super) async fn status(&self) -> anyhow::Result<WorkloadStatus> {
        let status = self.client.status().await?;
        status.workloads.into_iter().find(|one| one.name == self.workload).context("the host knows the workload")
    }

    /// Where the workload listens.
    pub(super) async fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.status().await?.listeners.first().context("the workload has a listener")?.address)
    }

    /// Resident memory of the host.
    pub(super) async fn memory_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.client.status().await?.memory_bytes)
    }

    /// The workload's own word on how many lines it counted.
    pub(super) async fn total(&self) -> anyhow::Result<u64> {
        let total = self.client.call(&self.workload, "total", Bytes::new(), CALL_LIMIT).await;
        let total = total.context("asking the workload for its total")?;
        std::str::from_utf8(&total)?.parse().context("the workload's total is a number")
    }

    /// Does one thing to the end.
    pub(super) async fn perform(&mut self, act: Act, clients: &mut Clients) -> anyhow::Result<()> {
        let began = clients.now();
        self.busy.push((began, Duration::MAX));
        match act {
            Act::Swap { choice, probation } => self.swap(choice, probation, clients).await?,
            Act::Regret { choice, after } => self.regret(choice, after, clients).await?,
            Act::Rollback => self.roll_back(clients).await?,
            Act::Fault { way } => self.fault(way, clients).await?,
            Act::Poison { clients: count } => self.poison(count, clients).await?,
            Act::Trap { call } => self.trap(call, clients).await?,
            Act::Rehearse { choice } => self.rehearse(choice).await?,
            Act::Look => self.look().await?,
            Act::Storm { clients: count } => clients.come(self.address().await?, Behaviour::Caller, count),
            Act::Leavers { clients: count } => clients.come(self.address().await?, Behaviour::Leaver, count),
        }
        if let Some((_, to)) = self.busy.last_mut() {
            *to = clients.now();
        }
        Ok(())
    }

    async fn swap(&mut self, choice: u64, probation: Duration, clients: &Clients) -> anyhow::Result<()> {
        let target = self.choose(choice)?;
        let component = plan::counter(&target)?.component;
        self.swap_begins(&target, clients);
        let said = self.deploy(self.request(&target, probation), component, |_| {}).await?;
        let done = said.as_ref().is_ok_and(|report| {
            report.verdict == Verdict::Swap { outcome: Outcome::Permanent } && report.running.as_ref() == Some(&target)
        });
        self.swap_ended("swap", &target, &said, done, clients);
        Ok(())
    }

    async fn regret(&mut self, choice: u64, after: Duration, clients: &Clients) -> anyhow::Result<()> {
        let target = self.choose(choice)?;
        let component = plan::counter(&target)?.component;
        self.swap_begins(&target, clients);
        let request = self.request(&target, REGRET_PROBATION);
        let (on_probation, reached) = probation_reached();
        let rolling_back = async {
            if reached.await.is_ok() {
                tokio::time::sleep(after).await;
                self.roll_back_by_hand().await?;
            }
            anyhow::Ok(())
        };
        let (said, ()) = tokio::try_join!(self.deploy(request, component, on_probation), rolling_back)?;
        let done = self.is_back(&said);
        self.swap_ended("regretted swap", &target, &said, done, clients);
        Ok(())
    }

    /// A release that traps in normal running: who made it trap is set aside, and nothing else happens.
    async fn poison(&mut self, count: u32, clients: &mut Clients) -> anyhow::Result<()> {
        let (target, component) = guest("handle-traps")?;
        self.swap_begins(&target, clients);
        let said = self.deploy(self.request(&target, Duration::ZERO), component, |_| {}).await?;
        let done = said.as_ref().is_ok_and(|report| report.running.as_ref() == Some(&target) && report.cost.is_none());
        self.swap_ended("swap to poison", &target, &said, done, clients);
        let provoker = Behaviour::Provoker(Provocation::Trap);
        clients.come(self.address().await?, provoker, count);
        if !clients.until_gone(provoker, PROVOKED_LIMIT).await {
            self.problems.push("a client that made its release trap was neither closed nor answered".to_owned());
        }
        let status = self.status().await?;
        if status.run_state != RunState::Running {
            self.problems.push(format!("after {count} traps it does not run: {:?}", status.run_state));
        }
        Ok(())
    }

    /// A release that traps on probation: the one before it takes over what it had done.
    async fn trap(&mut self, call: Trapping, clients: &mut Clients) -> anyhow::Result<()> {
        let (name, provocation) = match call {
            Trapping::Handle => ("handle-traps", Provocation::Trap),
            Trapping::Snapshot => ("snapshot-traps", Provocation::Break),
            Trapping::Health => ("health-traps", Provocation::Break),
        };
        let (target, component) = guest(name)?;
        if target == self.running {
            // It runs already, and for good.
            return Ok(());
        }
        self.swap_begins(&target, clients);
        let (request, address) = (self.request(&target, REGRET_PROBATION), self.address().await?);
        let (on_probation, reached) = probation_reached();
        let provoking = async {
            if reached.await.is_ok() {
                let provoker = Behaviour::Provoker(provocation);
                clients.come(address, provoker, 1);
                clients.until_gone(provoker, PROVOKED_LIMIT).await;
                match call {
                    Trapping::Handle => {}
                    Trapping::Snapshot => self.roll_back_by_hand().await?,
                    Trapping::Health => drop(self.client.health(None).await?),
                }
            }
            anyhow::Ok(())
        };
        let (said, ()) = tokio::try_join!(self.deploy(request, component, on_probation), provoking)?;
        let done = self.is_back(&said);
        self.swap_ended(&format!("{name} on probation"), &target, &said, done, clients);
        Ok(())
    }

    /// Whether what ran before a swap runs again, and nothing was lost.
    fn is_back(&self, said: &Said) -> bool {
        said.as_ref().is_ok_and(|report| {
            matches!(report.verdict, Verdict::Swap { outcome: Outcome::RolledBack { .. } })
                && report.running.as_ref() == Some(&self.running)
                && report.cost.is_none()
        })
    }

    async fn roll_back_by_hand(&self) -> anyhow::Result<()> {
        let request = RollbackRequest {
            workload: self.workload.clone(),
            to: None,
            policy: self.policy(Duration::ZERO),
            trace: None,
        };
        // A refusal shows in what becomes of the swap.
        drop(report_of(self.client.rollback(request).await, |_| {}).await?);
        Ok(())
    }

    async fn roll_back(&mut self, clients: &Clients) -> anyhow::Result<()> {
        let predecessor =
            self.client.history(Some(&self.workload), 1).await?.into_iter().next().and_then(|one| one.from);
        let target = predecessor.unwrap_or_else(|| self.running.clone());
        self.swap_begins(&target, clients);
        // The host decides what came before; any of them may answer for a while.
        self.places.extend(0..VERSIONS.len());
        self.resets.push((clients.now(), Duration::MAX));
        let request = RollbackRequest {
            workload: self.workload.clone(),
            to: None,
            policy: self.policy(Duration::ZERO),
            trace: None,
        };
        let said = report_of(self.client.rollback(request).await, |_| {}).await?;
        // Where nothing came before, it is refused.
        let done = said.as_ref().map_or(true, |report| report.cost.is_none());
        let target = said.as_ref().ok().and_then(|report| report.running.clone()).unwrap_or(target);
        self.swap_ended("rollback", &target, &said, done, clients);
        Ok(())
    }

    async fn fault(&mut self, way: u64, clients: &Clients) -> anyhow::Result<()> {
        let before = self.running.clone();
        let way = usize::try_from(way)? % (FAULTS.len() + 2);
        let mut policy = self.policy(Duration::ZERO);
        let (name, version, component) = match FAULTS.get(way) {
            Some(fault) => {
                let guest = example_workloads::fault(fault.guest).context("this program carries its faults")?;
                policy.pause_limit = fault.pause_limit.unwrap_or(PAUSE_LIMIT);
                (fault.guest, format!("9.0.0-{}", fault.guest).parse()?, Bytes::from_static(guest.component))
            }
            None if way == FAULTS.len() => ("no component", Version::new(9, 0, 0), Bytes::from_static(b"\0asm what?")),
            // A version's bytes never change.
            None => ("other bytes", plan::BEFORE, Bytes::from_static(plan::counter(&plan::AFTER)?.component)),
        };
        self.swap_begins(&plan::BEFORE, clients);
        let mut request = self.request(&version, Duration::ZERO);
        (request.policy, request.intent) = (policy, Intent::Deploy { downgrade: true });
        let said = self.deploy_bytes(request, component, |_| {}).await?;
        let done = said.as_ref().map_or(true, |report| {
            let failed = match &report.verdict {
                Verdict::Refused { .. } => true,
                Verdict::Swap { outcome } => !matches!(outcome, Outcome::Permanent | Outcome::Stopped { .. }),
                _ => false,
            };
            failed && report.running.as_ref() == Some(&before) && report.cost.is_none()
        });
        self.swap_ended(&format!("fault: {name}"), &before, &said, done, clients);
        Ok(())
    }

    async fn rehearse(&mut self, choice: u64) -> anyhow::Result<()> {
        let target = self.choose(choice)?;
        let mut request = self.request(&target, Duration::ZERO);
        request.extent = Extent::Rehearse;
        let said = self.deploy(request, plan::counter(&target)?.component, |_| {}).await?;
        let done = said.as_ref().is_ok_and(|report| report.verdict == Verdict::Rehearsed);
        self.note("rehearsal", &said, done);
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        self.client.history(Some(&self.workload), 10).await?;
        self.client.health(None).await?;
        self.client.versions(&self.workload).await?;
        *self.outcomes.entry("look".to_owned()).or_default() += 1;
        Ok(())
    }

    /// One of the versions that don't run.
    fn choose(&self, choice: u64) -> anyhow::Result<Version> {
        let mut others: Vec<_> = VERSIONS.iter().filter(|version| **version != self.running).collect();
        let index = usize::try_from(choice)? % others.len().max(1);
        (index < others.len()).then(|| others.swap_remove(index).clone()).context("there are three versions")
    }

    fn request(&self, version: &Version, probation: Duration) -> DeployRequest {
        DeployRequest {
            workload: self.workload.clone(),
            version: version.clone(),
            listeners: None,
            config: None,
            topology: None,
            intent: Intent::Deploy { downgrade: *version < self.running },
            policy: self.policy(probation),
            extent: Extent::Swap,
            trace: None,
        }
    }

    fn policy(&self, probation: Duration) -> SwapPolicy {
        SwapPolicy { probation, pause_limit: PAUSE_LIMIT, ..SwapPolicy::default() }
    }

    /// From now on the target may answer, and after it what runs now.
    fn swap_begins(&mut self, target: &Version, clients: &Clients) {
        let (target, back) = (answers_as(target), answers_as(&self.running));
        self.places.extend([target, back]);
        let from_now_on = (clients.now(), Duration::MAX);
        if target == 0 || back == 0 {
            self.resets.push(from_now_on);
        }
        self.replays.push(from_now_on);
    }

    /// It is over: narrows what may answer to what the report says.
    fn swap_ended(&mut self, what: &str, target: &Version, said: &Said, done: bool, clients: &Clients) {
        for (_, to) in self.resets.iter_mut().chain(&mut self.replays).filter(|(_, to)| *to == Duration::MAX) {
            *to = clients.now();
        }
        let rolled_back =
            |report: &SwapReport| matches!(report.verdict, Verdict::Swap { outcome: Outcome::RolledBack { .. } });
        if !said.as_ref().is_ok_and(rolled_back) {
            // Nobody had counted what another would have had to count again.
            self.replays.pop();
        }
        if let Ok(report) = said {
            self.pauses.extend(report.pause);
            if let Some(running) = &report.running {
                self.running = running.clone();
            }
        }
        let now = answers_as(&self.running);
        if *target == self.running && self.places.last() != Some(&now) {
            // It took its place for good: what ran before does not come back.
            while self.places.last().is_some_and(|last| *last != now) {
                self.places.pop();
            }
        } else if self.places.last() != Some(&now) {
            self.places.push(now);
        }
        self.note(what, said, done);
    }

    fn note(&mut self, what: &str, said: &Said, done: bool) {
        let how = said.as_ref().map_or("refused", |report| report.verdict.as_str());
        *self.outcomes.entry(format!("{what}, {how}")).or_default() += 1;
        if !done {
            let why = match said {
                Ok(report) => format!(
                    "{}; {} runs, cost {:?}",
                    report.verdict.why().unwrap_or("no reason given"),
                    report.running.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string),
                    report.cost
                ),
                Err(refusal) => refusal.clone(),
            };
            self.problems.push(format!("{what} ended as {how}: {why}"));
        }
    }

    async fn deploy(
        &self,
        request: DeployRequest,
        component: &'static [u8],
        told: impl FnMut(Told),
    ) -> anyhow::Result<Said> {
        self.deploy_bytes(request, Bytes::from_static(component), told).await
    }

    async fn deploy_bytes(
        &self,
        request: DeployRequest,
        component: Bytes,
        told: impl FnMut(Told),
    ) -> anyhow::Result<Said> {
        report_of(self.client.deploy(request, component).await, told).await
    }
}

/// A guest that fails when it is told to, and its version: higher than any other, and its own, for bytes never change.
fn guest(name: &str) -> anyhow::Result<(Version, &'static [u8])> {
    let guest = example_workloads::fault(name).with_context(|| format!("this program carries no guest {name}"))?;
    Ok((format!("9.1.0-{name}").parse()?, guest.component))
}

/// Notices in a deploy's progress that probation begins.
fn probation_reached() -> (impl FnMut(Told), oneshot::Receiver<()>) {
    let (on_probation, reached) = oneshot::channel();
    let mut on_probation = Some(on_probation);
    let told = move |told: Told| {
        if let Told::Phase { phase: PhaseName::Probation, .. } = told
            && let Some(on_probation) = on_probation.take()
        {
            // Whoever waited has given up.
            let _ = on_probation.send(());
        }
    };
    (told, reached)
}

/// The host's report, or its refusal; an error where it could not be heard.
async fn report_of(swapping: Result<host_api::Swapping, ClientError>, told: impl FnMut(Told)) -> anyhow::Result<Said> {
    let report = match swapping {
        Ok(mut swapping) => swapping.report(told).await,
        Err(error) => Err(error),
    };
    match report {
        Ok(report) => Ok(Ok(report)),
        Err(ClientError::Host(failure)) => Ok(Err(failure.to_string())),
        Err(error) => Err(error.into()),
    }
}
