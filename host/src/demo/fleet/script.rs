//! What happens in the demo, in order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use host_core::{
    fleet::Selector,
    id::{Digest, HostId, RolloutId, WorkloadName},
    rollout::{
        Verdict,
        policy::{HostPolicy, RolloutPolicy, Strategy, WaveSize},
        request::{Direction, Extent, Source},
    },
};
use host_fleet::{
    client::{Operator, Watch},
    operator::{Ask, Deploy, HostView, Publication, RolloutView, Told},
};
use semver::Version;
use sha2::{Digest as _, Sha256};

use super::{
    Args, HostLine, Results, RolloutLine,
    processes::{Coordinator, Member, until},
};
use crate::demo::{check::Expected, load::Load, progress::Progress};

/// How long a host may be away before it counts as unknown: short, so that the demo is.
const HOST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause of a swap; below the time-out.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);
/// How long switched hosts are watched.
const SOAK: Duration = Duration::from_secs(1);
/// How long answers are waited for at the end.
const ANSWERS_LIMIT: Duration = Duration::from_secs(10);

struct Demo<'a> {
    args: &'a Args,
    progress: Progress,
    workload: WorkloadName,
    coordinator: Coordinator,
    operator: Operator,
    members: Vec<Member>,
    loads: BTreeMap<HostId, Load>,
    pauses: BTreeMap<HostId, Duration>,
    killed: Option<HostId>,
    results: Results,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<Results> {
    let mut demo = Demo::begin(args).await?;
    demo.place().await?;
    demo.connect().await?;
    if !args.smooth {
        demo.lose_a_host().await?;
    }
    demo.upgrade(!args.smooth).await?;
    demo.end().await
}

fn expected(version: &str) -> Expected {
    Expected { version: version.to_owned(), counts_mine: version != "1.0.0" }
}

impl<'a> Demo<'a> {
    /// A fleet with all its hosts, nothing placed yet.
    async fn begin(args: &'a Args) -> anyhow::Result<Self> {
        let progress = Progress::new();
        progress.say(&format!("starting a coordinator and {} hosts", args.hosts));
        let mut coordinator = Coordinator::start()?;
        let operator = coordinator.operator().await?;
        let create =
            Ask::TokenCreate { uses: args.hosts, expires: Duration::from_secs(3600), operator: false, labels: None };
        let Told::Token { token, .. } = operator.ask(&create).await? else { bail!("no token came") };
        let names = (1..=args.hosts).map(|number| format!("h{number}"));
        let members: Vec<_> =
            names.map(|name| Member::start(&name, &coordinator.address(), &token)).collect::<Result<_, _>>()?;
        let all = members.len();
        let connected = |hosts: &[HostView]| hosts.iter().filter(|host| host.connected).count() == all;
        until(&operator, "all hosts are connected", connected).await?;
        Ok(Self {
            args,
            progress,
            workload: "counter".parse()?,
            coordinator,
            operator,
            members,
            loads: BTreeMap::new(),
            pauses: BTreeMap::new(),
            killed: None,
            results: Results::default(),
        })
    }

    /// Publishes both versions and places the first one everywhere.
    async fn place(&mut self) -> anyhow::Result<()> {
        for version in ["1.0.0", "1.1.0"] {
            self.publish(version).await?;
        }
        let strategy = Strategy::AllAtOnce;
        let rollout = self.deploy("1.0.0", strategy).await?;
        let ended = self.follow(rollout.id, |_| false).await?;
        self.note("1.0.0 placed on all hosts", &ended, Verdict::Done);
        // Every host compiles it and migrates a copy of its state; after that a rollout is as fast as hosts switch.
        let rollout = self.ask_for("1.1.0", Strategy::Rolling, Extent::Rehearse).await?;
        let ended = self.follow(rollout.id, |_| false).await?;
        self.note("1.1.0 rehearsed on all hosts", &ended, Verdict::Done);
        Ok(())
    }

    async fn publish(&self, version: &str) -> anyhow::Result<()> {
        let file = format!("counter-{version}.wasm");
        let example = example_workloads::all().iter().find(|example| example.file_name == file);
        let component = Bytes::from_static(example.with_context(|| format!("no example {file}"))?.component);
        let about = Publication {
            workload: self.workload.clone(),
            version: version.parse()?,
            digest: Digest::new(Sha256::digest(&component).into()),
            size_bytes: component.len() as u64,
        };
        self.operator.publish(&about, component).await?;
        Ok(())
    }

    /// Clients on every host.
    async fn connect(&mut self) -> anyhow::Result<()> {
        self.progress
            .say(&format!("{} connections to each host, {} lines/s on each", self.args.connections, self.args.rate));
        for member in &mut self.members {
            let status = member.process.client().await?.status().await?;
            let here = status.workloads.first().context("the workload is not there")?;
            let listener = here.listeners.first().context("the workload has no listener")?;
            let connections = usize::try_from(self.args.connections)?;
            let load = Load::start(listener.address, connections, self.args.rate, expected("1.0.0")).await?;
            self.loads.insert(member.name.clone(), load);
        }
        Ok(())
    }

    /// A rollout in the middle of which a host is killed: the others go back by themselves, and it follows.
    async fn lose_a_host(&mut self) -> anyhow::Result<()> {
        for load in self.loads.values() {
            load.swap_begins(expected("1.1.0"), expected("1.0.0"));
        }
        let rollout = self.deploy("1.1.0", Strategy::Rolling).await?;
        let victim = self.first_switched(rollout.id).await?;
        self.progress.say(&format!("{victim} is killed in the middle of rollout {}", rollout.id));
        let member = self.members.iter_mut().find(|member| member.name == victim).context("the victim is a member")?;
        member.process.kill().await?;
        self.loads.remove(&victim);
        self.killed = Some(victim.clone());
        let ended = self.follow(rollout.id, |_| false).await?;
        self.note("1.1.0, a host killed midway: the others go back", &ended, Verdict::Incomplete);
        for load in self.loads.values() {
            load.swap_ended(false);
        }
        self.progress.say(&format!("{victim} comes back"));
        let member = self.members.iter_mut().find(|member| member.name == victim).context("the victim is a member")?;
        member.process.start_again()?;
        let workload = self.workload.clone();
        let back = |hosts: &[HostView]| {
            let of = hosts.iter().find(|host| host.name == victim).and_then(|host| host.inventory.as_ref());
            let here = of.map(|inventory| inventory.of(&workload));
            here.is_some_and(|here| {
                !here.held && here.running.is_some_and(|running| running.version == Version::new(1, 0, 0))
            })
        };
        until(&self.operator, "the killed host runs what all others run", back).await?;
        self.progress.say(&format!("{victim} runs 1.0.0 again, as the others do"));
        Ok(())
    }

    /// The rollout to its end, in the middle of which the coordinator may be killed.
    async fn upgrade(&mut self, kill: bool) -> anyhow::Result<()> {
        for load in self.loads.values() {
            load.swap_begins(expected("1.1.0"), expected("1.0.0"));
        }
        let rollout = self.deploy("1.1.0", Strategy::Rolling).await?;
        if kill {
            let switched = self.first_switched(rollout.id).await?;
            self.progress.say(&format!("{switched} is switched; the coordinator is killed and started again"));
            self.coordinator.kill_and_start().await?;
            self.operator = self.coordinator.operator().await?;
        }
        let ended = self.follow(rollout.id, |_| false).await?;
        let what = if kill { "1.1.0, the coordinator killed midway" } else { "1.1.0" };
        self.note(what, &ended, Verdict::Done);
        for load in self.loads.values() {
            load.swap_ended(true);
        }
        Ok(())
    }

    async fn deploy(&self, version: &str, strategy: Strategy) -> anyhow::Result<RolloutView> {
        self.ask_for(version, strategy, Extent::Roll).await
    }

    async fn ask_for(&self, version: &str, strategy: Strategy, extent: Extent) -> anyhow::Result<RolloutView> {
        let (first, patient) = (version == "1.0.0", version == "1.0.0" || extent == Extent::Rehearse);
        let policy = RolloutPolicy {
            strategy,
            wave: WaveSize::QUARTER,
            soak: if first { Duration::ZERO } else { SOAK },
            host_timeout: if patient { Duration::from_secs(300) } else { HOST_TIMEOUT },
            host: HostPolicy { pause_limit: PAUSE_LIMIT, ..HostPolicy::default() },
            ..RolloutPolicy::default()
        };
        let deploy = Deploy {
            workload: self.workload.clone(),
            version: version.parse()?,
            digest: None,
            source: Source::Store,
            listeners: first.then(|| "tcp://127.0.0.1:0".parse().map(|listener| vec![listener])).transpose()?,
            config: None,
            topology: None,
            assign: None,
            hosts: Selector::All,
            order: Vec::new(),
            direction: Direction::Upgrade,
            extent,
            schedule: None,
            policy,
        };
        match self.operator.ask(&Ask::Deploy { deploy: Box::new(deploy) }).await? {
            Told::Rollout { rollout } => Ok(*rollout),
            _ => bail!("the coordinator began no rollout"),
        }
    }

    /// The first host of a rollout that serves the new release.
    async fn first_switched(&self, rollout: RolloutId) -> anyhow::Result<HostId> {
        let mut first = None;
        let seen = self
            .watch(rollout, |rollout| {
                let switched = |host: &&host_core::rollout::HostSummary| host.state == "switched";
                first = rollout.summary.hosts.iter().find(switched).map(|host| host.host.clone());
                first.is_some()
            })
            .await?;
        let why = seen.summary.why.unwrap_or_default();
        first.with_context(|| format!("the rollout ended as {} before a host was switched: {why}", seen.summary.state))
    }

    /// Follows a rollout to its end.
    async fn follow(
        &mut self,
        rollout: RolloutId,
        enough: impl FnMut(&RolloutView) -> bool,
    ) -> anyhow::Result<RolloutView> {
        let ended = self.watch(rollout, enough).await?;
        for host in &ended.summary.hosts {
            let Some(pause) = host.measured.and_then(|measured| measured.pause) else { continue };
            let longest = self.pauses.entry(host.host.clone()).or_default();
            *longest = pause.max(*longest);
        }
        Ok(ended)
    }

    /// Looks at a rollout whenever something happens in it, until it is enough or over.
    async fn watch(
        &self,
        rollout: RolloutId,
        mut enough: impl FnMut(&RolloutView) -> bool,
    ) -> anyhow::Result<RolloutView> {
        let watch = Watch { follow: true, rollout: Some(rollout), ..Watch::default() };
        let events = self.operator.watch(watch).await?;
        let mut events = std::pin::pin!(events);
        loop {
            let event = events.next().await.context("the coordinator ended")??;
            self.progress.now(|| event.message.clone());
            let Told::Rollout { rollout: view } = self.operator.ask(&Ask::Show { rollout: Some(rollout) }).await?
            else {
                bail!("the coordinator shows no rollout");
            };
            if enough(&view) || view.summary.verdict != Verdict::UnderWay {
                return Ok(*view);
            }
        }
    }

    fn note(&mut self, what: &str, rollout: &RolloutView, wanted: Verdict) {
        let verdict = rollout.summary.verdict;
        let took = rollout.ended.map(|ended| ended.since(rollout.began)).unwrap_or_default();
        self.progress.say(&format!("rollout {} ({what}): {} in {} ms", rollout.id, verdict.as_str(), took.as_millis()));
        if verdict != wanted {
            let why = rollout.summary.why.clone().unwrap_or_default();
            self.results.problems.push(format!(
                "rollout {} ({what}) ended as {}, and {} was expected: {why}",
                rollout.id,
                verdict.as_str(),
                wanted.as_str()
            ));
        }
        self.results.rollouts.push(RolloutLine {
            what: what.to_owned(),
            result: verdict.as_str().to_owned(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    async fn end(mut self) -> anyhow::Result<Results> {
        let began = Instant::now();
        for member in &mut self.members {
            let status = member.process.client().await?.status().await?;
            let version = status.workloads.first().map_or_else(|| "-".to_owned(), |here| here.version.to_string());
            if version != "1.1.0" {
                self.results.problems.push(format!("{} runs {version}", member.name));
            }
            let killed = self.killed.as_ref() == Some(&member.name);
            let mut line = HostLine {
                host: member.name.to_string(),
                killed,
                version,
                connections: u64::from(self.args.connections),
                kept: 0,
                longest_pause_us: self.pauses.get(&member.name).and_then(|pause| u64::try_from(pause.as_micros()).ok()),
                lines: crate::demo::check::Tally::default(),
            };
            if let Some(load) = self.loads.remove(&member.name) {
                (line.lines, line.kept) = load.finish(ANSWERS_LIMIT.saturating_sub(began.elapsed())).await?;
                if !line.lines.is_clean() || line.kept != line.connections {
                    let faults = line.lines.faults.join("; ");
                    self.results.problems.push(format!("{} lost something: {faults}", member.name));
                }
            }
            self.results.hosts.push(line);
        }
        self.results.passed = self.results.problems.is_empty();
        for member in self.members {
            member.process.stop().await?;
        }
        Ok(self.results)
    }
}
