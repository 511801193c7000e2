//! The demo's course: host up, clients on, swaps one after the other, clients off, sum.

mod window;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use host_api::{Client, ClientError};
use host_core::{
    history::{SwapReport, Verdict},
    id::WorkloadName,
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent, Progress as Told, RollbackRequest},
    swap::Outcome,
};
use semver::Version;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Args,
    check::Tally,
    child::HostProcess,
    limits,
    load::Load,
    plan::{self, Ask, BEFORE, Step, Wanted},
    progress::Progress,
    render::{grouped, length},
    results::{self, Connections, Memory, Preparing, Results, SCHEMA_VERSION, SwapResult, Used, micros},
    usage::{self, Usage},
};
use window::{Split, Window};

/// The workload's name.
const WORKLOAD: &str = "counter";

/// Before anything is measured: every connection has said something and the caches are warm.
const WARM_UP: Duration = Duration::from_millis(500);

/// After a swap, until the lines that it held up are answered and counted to it.
const SETTLE: Duration = Duration::from_millis(300);

/// Longest wait for the answers to what was due around a pause, where the machine has more to do than it can.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// Longest wait for the last answers.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How often the live line changes.
const GLANCE: Duration = Duration::from_millis(200);

/// Longest wait for the workload's own total.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How the demo ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It went through.
    Done(Box<Results>),
    /// Somebody ended it from outside.
    Interrupted(&'static str),
}

/// Runs it all. The host's process ends with it, however it ends.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Ending> {
    limits::raise_open_files(args.connections)?;
    let steps = plan::steps(args.swaps, args.recompile)?;
    let mut interrupts = Interrupts::new()?;
    let progress = Progress::new();
    progress.say("starting a host in a temporary directory");
    let mut host = HostProcess::start()?;
    let results = tokio::select! {
        results = course(args, &steps, &progress, &mut host) => results,
        how = interrupts.next() => {
            progress.now(|| format!("{how}: waiting for the host to end"));
            // It has nothing worth keeping: if it does not end in good order it is killed.
            let _ = host.stop().await;
            return Ok(Ending::Interrupted(how));
        }
    };
    match results {
        Ok(mut results) => {
            progress.now(|| "waiting for the host to end".to_owned());
            if let Err(error) = host.stop().await {
                results.problems.push(format!("{error:#}"));
                results.passed = false;
            }
            Ok(Ending::Done(Box::new(results)))
        }
        Err(error) => {
            // A host that died explains the error better than the error does.
            let error = match host.check() {
                Ok(()) => error,
                Err(died) => error.context(died.to_string()),
            };
            progress.say(&format!("the end of the host's log:\n{}\n", host.log_tail()));
            Err(error)
        }
    }
}

/// Ctrl-C, a kill, a closed terminal.
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupts {
    /// From here on none of them ends this process by itself: it has a child to end first.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("waiting for signals");
        Ok(Self {
            int: on(SignalKind::interrupt())?,
            term: on(SignalKind::terminate())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "interrupted",
            _ = self.term.recv() => "terminated",
            _ = self.hup.recv() => "the terminal was closed",
        }
    }
}

async fn course(args: &Args, steps: &[Step], progress: &Progress, host: &mut HostProcess) -> anyhow::Result<Results> {
    let client = host.client().await?;
    let began = Instant::now();
    let workload: WorkloadName = WORKLOAD.parse()?;
    let mut course = Course {
        client,
        pid: host.pid(),
        workload,
        progress,
        policy: policy(args.probation),
        running: BEFORE,
        steady: Mark::default(),
        swaps: Vec::new(),
    };
    let address = course.first_deploy(args).await?;

    let connections = usize::try_from(args.connections)?;
    progress.say(&format!("opening {connections} connections to {address}"));
    let load = Load::start(address, connections, args.rate(), plan::expected(&BEFORE)).await?;
    progress.say(&format!("sending {} lines per second", grouped(args.rate())));
    course.watch(&load, "warming up", WARM_UP).await;
    drop(load.take_samples());
    course.steady = course.mark(&load);

    for (index, step) in steps.iter().enumerate() {
        course.watch(&load, "steady", args.steady()).await;
        course.swap(&load, index + 1, step).await.with_context(|| format!("swap {}: {}", index + 1, step.what))?;
        host.check()?;
    }
    course.watch(&load, "steady", args.steady()).await;

    progress.now(|| "waiting for the last answers".to_owned());
    let (lines, open) = load.finish(DRAIN_LIMIT).await?;
    let total = course.total().await?;
    let problems = problems(&lines, open, total, args, &course.swaps);
    Ok(Results {
        schema_version: SCHEMA_VERSION,
        passed: problems.is_empty(),
        problems,
        connections: Connections { wanted: args.connections, open, dropped: lines.dropped },
        lines,
        total,
        lines_per_second: args.rate(),
        rows: args.rows,
        took_ms: u64::try_from(began.elapsed().as_millis())?,
        memory: Memory::of(&resident(&course.swaps)),
        swaps: course.swaps,
    })
}

/// What did not go as it should.
fn problems(lines: &Tally, open: u64, total: u64, args: &Args, swaps: &[SwapResult]) -> Vec<String> {
    let mut problems = Vec::new();
    if !lines.is_clean() {
        problems.push(format!(
            "{} lines lost, {} doubled, {} out of order, {} answered with something else; {} connections dropped",
            lines.lost, lines.doubled, lines.out_of_order, lines.wrong, lines.dropped
        ));
        problems.extend(lines.faults.iter().cloned());
    }
    if open != u64::from(args.connections) && lines.dropped == 0 {
        problems.push(format!("only {open} of {} connections are open", args.connections));
    }
    if total != lines.sent {
        problems.push(format!("the workload counted {total} lines, but {} were sent", lines.sent));
    }
    let unwanted = swaps.iter().filter(|swap| !swap.as_wanted);
    problems.extend(unwanted.map(|swap| {
        let why = swap.why.as_deref().unwrap_or("no reason given");
        format!("swap {} ({}) ended as {}: {why}", swap.number, swap.what, swap.outcome)
    }));
    problems
}

/// What was resident after each swap.
fn resident(swaps: &[SwapResult]) -> Vec<u64> {
    swaps.iter().filter_map(|swap| Some(swap.used?.resident_bytes_after)).collect()
}

fn policy(probation: Duration) -> SwapPolicy {
    SwapPolicy { probation, ..SwapPolicy::default() }
}

/// A moment, and what the host had used by then.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: Duration,
    usage: Option<Usage>,
}

impl Mark {
    /// Processor time from an earlier one until now, of one processor.
    fn cpu_percent_since(&self, earlier: &Self) -> Option<u64> {
        let cpu = self.usage?.cpu.saturating_sub(earlier.usage?.cpu);
        let time = self.at.saturating_sub(earlier.at).as_micros().max(1);
        u64::try_from(cpu.as_micros() * 100 / time).ok()
    }
}

/// What stays the same over the course.
struct Course<'a> {
    client: Client,
    /// The host's process.
    pid: Option<u32>,
    workload: WorkloadName,
    progress: &'a Progress,
    policy: SwapPolicy,
    /// The version that runs, as the host said last.
    running: Version,
    /// Since when time has been steady.
    steady: Mark,
    swaps: Vec<SwapResult>,
}

impl Course<'_> {
    /// Deploys 1.0.0 and says where it listens.
    async fn first_deploy(&self, args: &Args) -> anyhow::Result<std::net::SocketAddr> {
        let component = plan::counter(&BEFORE)?.component;
        let request = DeployRequest {
            workload: self.workload.clone(),
            version: BEFORE,
            listeners: Some(vec!["tcp://127.0.0.1:0".parse()?]),
            config: (args.rows > 0).then(|| format!("rows = {}\n", args.rows)),
            topology: None,
            intent: Intent::Deploy { downgrade: false },
            policy: self.policy.clone(),
            extent: Extent::Swap,
            trace: None,
        };
        self.progress.say(&format!("deploying {WORKLOAD} {BEFORE}, {} rows", grouped(args.rows)));
        let mut deploy = self.client.deploy(request, Bytes::from_static(component)).await?;
        let report = deploy.report(|told| self.told(&told)).await?;
        if report.verdict != Verdict::Started {
            bail!("{WORKLOAD} {BEFORE} did not start: {}", report.verdict.why().unwrap_or(report.verdict.as_str()));
        }
        let status = self.client.status().await?;
        if status.connection_capacity < u64::from(args.connections) {
            bail!(
                "the host takes {} connections at once on this machine (open-file limit): use --connections {}",
                status.connection_capacity,
                status.connection_capacity
            );
        }
        let workload = status.workloads.iter().find(|one| one.name == self.workload);
        let listener = workload.and_then(|one| one.listeners.first()).context("the workload has no listener")?;
        Ok(listener.address)
    }

    /// One deploy or rollback under load.
    async fn swap(&mut self, load: &Load, number: usize, step: &Step) -> anyhow::Result<()> {
        let before = self.running.clone();
        // A target that runs already is no swap: nothing new may answer.
        let target = step.target().filter(|target| **target != before);
        if let Some(target) = target {
            load.swap_begins(plan::expected(target), plan::expected(&before));
        }
        if let Some(pid) = self.pid {
            usage::forget_peak(pid);
        }
        let (steady, asked) = (self.steady, self.mark(load));
        let asking = self.ask(step);
        let report = tokio::select! {
            report = asking => report?,
            never = self.glances(load, &step.what) => match never {},
        };
        let answered = self.mark(load);
        let as_wanted = as_wanted(step, &before, &report);
        self.running = report.as_ref().ok().and_then(|report| report.running.clone()).unwrap_or(before);
        self.watch(load, "settling", SETTLE).await;
        let first_answer = target.and_then(|target| load.swap_ended(*target == self.running));
        let window = Window::around(load, asked.at, answered.at, first_answer, report.as_ref().ok());
        self.settle(load, &window).await;
        let samples = load.take_samples();
        let (from, to) = window.preparation();
        let split = window.split(&samples)?;
        let preparing = Preparing {
            took_ms: u64::try_from(to.saturating_sub(from).as_millis())?,
            seen: (&split.preparing).into(),
            answers_per_second: window::answers_per_second(&samples, from, to),
            before_per_second: window::answers_per_second(&samples, steady.at, from),
        };
        self.steady = self.mark(load);
        let used = self.used([steady, asked, answered, self.steady]);
        let result = result(number, step, as_wanted, &report, &window, (&split, preparing, used));
        let pause = result.pause_us.map_or_else(String::new, |us| format!(", pause {}", length(us)));
        self.progress.say(&format!("swap {number}: {} — {}{pause}", step.what, result.outcome));
        self.swaps.push(result);
        Ok(())
    }

    fn mark(&self, load: &Load) -> Mark {
        Mark { at: load.now(), usage: self.pid.and_then(Usage::of) }
    }

    fn used(&self, [steady, asked, answered, now]: [Mark; 4]) -> Option<Used> {
        Some(Used {
            cpu_percent: answered.cpu_percent_since(&asked)?,
            cpu_percent_before: asked.cpu_percent_since(&steady)?,
            resident_bytes_before: asked.usage?.resident_bytes,
            resident_bytes_peak: answered.usage?.peak_bytes,
            resident_bytes_after: now.usage?.resident_bytes,
        })
    }

    /// Asks the host for it. The inner error is the host's refusal, which for some steps is what is wanted.
    async fn ask(&self, step: &Step) -> anyhow::Result<Result<SwapReport, String>> {
        let swapping = match &step.ask {
            Ask::Deploy { component, version, pause_limit } => {
                let mut policy = self.policy.clone();
                policy.pause_limit = pause_limit.unwrap_or(policy.pause_limit);
                let request = DeployRequest {
                    workload: self.workload.clone(),
                    version: version.clone(),
                    listeners: None,
                    config: None,
                    topology: None,
                    intent: Intent::Deploy { downgrade: false },
                    policy,
                    extent: Extent::Swap,
                    trace: None,
                };
                self.client.deploy(request, component.clone()).await
            }
            Ask::Rollback { to } => {
                let (workload, policy) = (self.workload.clone(), self.policy.clone());
                self.client.rollback(RollbackRequest { workload, to: Some(to.clone()), policy, trace: None }).await
            }
        };
        let report = match swapping {
            Ok(mut swapping) => swapping.report(|told| self.told(&told)).await,
            Err(error) => Err(error),
        };
        match report {
            Ok(report) => Ok(Ok(report)),
            Err(ClientError::Host(failure)) => Ok(Err(failure.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The workload's own word on how many lines it counted.
    async fn total(&self) -> anyhow::Result<u64> {
        let total = self.client.call(&self.workload, "total", Bytes::new(), CALL_LIMIT).await;
        let total = total.context("asking the workload for its total")?;
        std::str::from_utf8(&total)?.parse().context("the workload's total is a number")
    }

    fn told(&self, told: &Told) {
        if let Told::Note { message } = told {
            self.progress.say(message);
        }
    }

    /// Lets time pass while the clients send.
    async fn watch(&self, load: &Load, what: &str, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            never = self.glances(load, what) => match never {},
        }
    }

    /// Waits for the answers of a window: those that come last are those that the pause held up longest.
    async fn settle(&self, load: &Load, window: &Window) {
        let began = Instant::now();
        while !load.is_answered_until(window.end()) && began.elapsed() < SETTLE_LIMIT {
            self.watch(load, "settling", GLANCE).await;
        }
    }

    /// Keeps the live line up to date, for ever.
    async fn glances(&self, load: &Load, what: &str) -> std::convert::Infallible {
        loop {
            self.progress.now(|| {
                let seen = load.glance();
                let (sent, answered) = (grouped(seen.sent), grouped(seen.answered));
                format!("{what} · {} connections open · {sent} lines sent · {answered} answered", seen.open)
            });
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Whether what came of a step is what had to. `before` is the version that ran before it.
fn as_wanted(step: &Step, before: &Version, report: &Result<SwapReport, String>) -> bool {
    let Ok(report) = report else { return step.wanted == Wanted::Failure };
    let failed = matches!(
        report.verdict,
        Verdict::Refused { .. } | Verdict::Swap { outcome: Outcome::Aborted { .. } | Outcome::RolledBack { .. } }
    );
    let target = step.target();
    failed == target.is_none() && report.running.as_ref() == Some(target.unwrap_or(before))
}

fn result(
    number: usize,
    step: &Step,
    as_wanted: bool,
    report: &Result<SwapReport, String>,
    window: &Window,
    (split, preparing, used): (&Split, Preparing, Option<Used>),
) -> SwapResult {
    let known = report.as_ref().ok();
    let why = match report {
        Ok(report) => report.verdict.why().map(str::to_owned),
        Err(failure) => Some(failure.clone()),
    };
    SwapResult {
        number,
        what: step.what.to_string(),
        wanted: step.wanted,
        as_wanted,
        outcome: known.map_or("refused", |report| report.verdict.as_str()),
        why,
        running: known.and_then(|report| Some(report.running.as_ref()?.to_string())),
        phases: known.map(results::phases).unwrap_or_default(),
        pause_us: known.and_then(|report| report.pause).map(micros),
        state_bytes: known.and_then(|report| Some(report.state?.bytes)),
        before: (&split.steady).into(),
        during: (&split.during).into(),
        window_ms: u64::try_from(window.length().as_millis()).unwrap_or(u64::MAX),
        preparing,
        used,
    }
}
