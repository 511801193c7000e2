//! `host fleet deploy`, `plan`, `rollback`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use host_core::{
    fleet::Selector,
    id::{Digest, HostId, WorkloadName},
    label::Label,
    release::{ListenAddress, Topology},
    rollout::{
        policy::{
            HealthPolicy, HostPolicy, Offline, OnFailure, RolloutPolicy, Schedule, Strategy, Unreachable, WaveSize,
        },
        request::{Direction, Extent, Source},
    },
    time::UnixNanos,
};
use host_fleet::operator::{Ask, Deploy, Told};
use semver::Version;

use super::{following, operator, values};
use crate::{
    cli::{Exit, Global, Trouble, component, values as plain},
    render,
};

/// Where help shows what is decided once for all.
const MANNER: &str = "Manner of the rollout";
/// Where help shows what is done about failures.
const FAILURES: &str = "Failures";
/// Where help shows what a revision is made of.
const REVISION: &str = "What is deployed";

/// Bring a version to every host that a workload is assigned to; the first time, assign it
#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-C leaves a rollout to the coordinator: `host fleet watch` follows it again.")]
pub(super) struct Args {
    /// The workload
    name: WorkloadName,

    #[command(flatten)]
    wanted: Wanted,

    #[command(flatten)]
    whom: Whom,

    /// Of a workload that is not assigned yet: assign it to hosts with this label, for ever; repeat it [default: all hosts]
    #[arg(long, value_name = "KEY=VALUE")]
    assign: Vec<Label>,

    /// Begin not before this: +2h, or 2026-01-31T02:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    schedule: Option<UnixNanos>,

    /// How much later than that it may still begin
    #[arg(long, value_name = "D", default_value = "1h", value_parser = plain::some_duration, requires = "schedule")]
    late_limit: Duration,

    /// Prepare and rehearse on every host's live state; switch none
    #[arg(long)]
    dry_run: bool,

    /// Print the rollout's number and return
    #[arg(long = "async")]
    detached: bool,
}

/// What is brought, and how: what a file may declare too.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The version
    #[arg(long, value_name = "V", value_parser = plain::version)]
    version: Version,

    #[command(flatten)]
    revision: Revision,

    #[command(flatten)]
    manner: Manner,

    /// A version lower than the running one is meant
    #[arg(long)]
    downgrade: bool,
}

#[derive(Debug, clap::Args)]
struct Revision {
    /// Where hosts get the component: store, host (each has it already), or file://PATH or https://… as each host reads it
    #[arg(long, value_name = "SOURCE", default_value = "store", help_heading = REVISION)]
    from: Source,

    /// Digest of the component; wanted where the fleet does not know the version
    #[arg(long, value_name = "SHA256", help_heading = REVISION)]
    digest: Option<Digest>,

    /// Where clients reach it on each host; repeat it for more [default: where they do now; a new workload needs one]
    #[arg(long, value_name = "tcp://ADDR", help_heading = REVISION)]
    listen: Vec<ListenAddress>,

    /// File with the text that the workload is given at its start [default: the text it has now]
    #[arg(long, value_name = "FILE", help_heading = REVISION)]
    config: Option<PathBuf>,

    /// One instance for each connection; a workload's first deploy chooses
    #[arg(long, help_heading = REVISION)]
    per_connection: bool,
}

#[derive(Debug, clap::Args)]
struct Whom {
    /// Only these of its hosts
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', conflicts_with = "on")]
    hosts: Vec<HostId>,

    /// Only its hosts with this label; repeat it for several
    #[arg(long, value_name = "KEY=VALUE")]
    on: Vec<Label>,
}

impl Whom {
    fn selector(self) -> Selector {
        match (self.hosts.is_empty(), self.on.is_empty()) {
            (false, _) => Selector::Names(self.hosts.into_iter().collect()),
            (true, false) => Selector::Labels(self.on.into_iter().collect()),
            (true, true) => Selector::All,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Manner {
    /// In which steps
    #[arg(long, value_enum, default_value_t, help_heading = MANNER)]
    strategy: Steps,

    /// How many hosts are the canary: a number, or a part as 10%
    #[arg(long, value_name = "SIZE", default_value = "1", help_heading = MANNER)]
    canary: WaveSize,

    /// How long the canary is watched, unless promoted earlier
    #[arg(long, value_name = "D", default_value = "5m", value_parser = plain::duration, help_heading = MANNER)]
    monitor: Duration,

    /// How many hosts are switched together: a number, or a part as 25%
    #[arg(long, value_name = "SIZE", default_value = "25%", help_heading = MANNER)]
    wave: WaveSize,

    /// From the end of a wave's verification to the next wave
    #[arg(long, value_name = "D", default_value = "0s", value_parser = plain::duration, help_heading = MANNER)]
    wave_delay: Duration,

    /// How long all switched hosts must be healthy before the next wave
    #[arg(long, value_name = "D", default_value = "10s", value_parser = plain::duration, help_heading = MANNER)]
    soak: Duration,

    /// Whose word on health: off, default, or a method as chat.health; behind it =ok or =degraded
    #[arg(long, value_name = "CHECK", default_value = "default", help_heading = MANNER)]
    health: HealthPolicy,

    /// How often a host that is not healthy is asked again
    #[arg(long, value_name = "N", default_value_t = HealthPolicy::DEFAULT_RETRIES, help_heading = MANNER)]
    retries: u32,

    /// How long after
    #[arg(long, value_name = "D", default_value = "2s", value_parser = plain::duration, help_heading = MANNER)]
    retry_delay: Duration,

    /// Hosts with the first of these labels come first; repeat it
    #[arg(long, value_name = "KEY=VALUE", help_heading = MANNER)]
    order: Vec<Label>,

    /// How long a host may take for a step before it counts as unknown
    #[arg(long, value_name = "D", default_value = "5m", value_parser = plain::some_duration, help_heading = MANNER)]
    timeout: Duration,

    /// Longest pause on a host; past it the swap is aborted there
    #[arg(long, value_name = "D", default_value = "5s", value_parser = plain::pause_limit, help_heading = MANNER)]
    pause_limit: Duration,

    /// How many hosts prepare at once
    #[arg(long, value_name = "N", default_value_t = RolloutPolicy::DEFAULT_PREPARE_AT_ONCE, help_heading = MANNER)]
    prepare_at_once: u32,

    /// How long nothing may move before it counts as failed
    #[arg(long, value_name = "D", default_value = "10m", value_parser = plain::some_duration, help_heading = FAILURES)]
    progress_deadline: Duration,

    /// When it fails, leave everything as it is, predecessors kept, until you decide
    #[arg(long, help_heading = FAILURES)]
    no_rollback: bool,

    /// How many hosts may fail without failing the rollout
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = FAILURES)]
    failure_budget: u32,

    /// What to do about a host that does not answer in time
    #[arg(long, value_enum, default_value_t, help_heading = FAILURES)]
    unreachable: WhenUnreachable,

    /// What to do about hosts that are not connected at the beginning
    #[arg(long, value_enum, default_value_t, help_heading = FAILURES)]
    offline: WhenOffline,

    /// Where no other way leads back on a host, go back to the state at the switch and lose what came since
    #[arg(long, help_heading = FAILURES)]
    allow_loss: bool,

    /// Go even where nothing leads back on a host
    #[arg(long, help_heading = FAILURES)]
    one_way: bool,

    /// Skip hosts' checks before and the health check after; never digests, limits or the state's compatibility
    #[arg(long, help_heading = FAILURES)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Steps {
    /// Wave after wave
    #[default]
    Rolling,
    /// A few first, watched for a while; then wave after wave
    Canary,
    /// All in one wave
    AllAtOnce,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum WhenUnreachable {
    /// Roll back the others
    #[default]
    Rollback,
    /// Go on without it
    Skip,
    /// Wait for a person
    Pause,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum WhenOffline {
    /// Refuse, naming them
    #[default]
    Refuse,
    /// Go on without them; they are brought to what is stable when they return
    Skip,
    /// Wait for them
    Wait,
}

impl Manner {
    fn policy(&self) -> RolloutPolicy {
        RolloutPolicy {
            strategy: match self.strategy {
                Steps::Rolling => Strategy::Rolling,
                Steps::Canary => Strategy::Canary { size: self.canary, monitor: self.monitor },
                Steps::AllAtOnce => Strategy::AllAtOnce,
            },
            wave: self.wave,
            wave_delay: self.wave_delay,
            soak: self.soak,
            host_timeout: self.timeout,
            progress_deadline: self.progress_deadline,
            health: HealthPolicy { retries: self.retries, retry_delay: self.retry_delay, ..self.health.clone() },
            on_failure: if self.no_rollback { OnFailure::Hold } else { OnFailure::RollBack },
            failure_budget: self.failure_budget,
            unreachable: match self.unreachable {
                WhenUnreachable::Rollback => Unreachable::Rollback,
                WhenUnreachable::Skip => Unreachable::Skip,
                WhenUnreachable::Pause => Unreachable::Pause,
            },
            offline: match self.offline {
                WhenOffline::Refuse => Offline::Refuse,
                WhenOffline::Skip => Offline::Skip,
                WhenOffline::Wait => Offline::Wait,
            },
            prepare_at_once: self.prepare_at_once,
            host: HostPolicy {
                pause_limit: self.pause_limit,
                allow_loss: self.allow_loss,
                force: self.force,
                one_way: self.one_way,
            },
        }
    }
}

impl Wanted {
    /// What is asked for, for every host of the assignment.
    pub(super) fn request(self, workload: WorkloadName) -> Result<Deploy, Trouble> {
        Ok(Deploy {
            workload,
            version: self.version,
            digest: self.revision.digest,
            source: self.revision.from,
            listeners: (!self.revision.listen.is_empty()).then_some(self.revision.listen),
            config: self.revision.config.as_deref().map(component::read_config).transpose()?,
            topology: self.revision.per_connection.then_some(Topology::PerConnection),
            assign: None,
            hosts: Selector::All,
            order: self.manner.order.clone(),
            direction: if self.downgrade { Direction::Downgrade } else { Direction::Upgrade },
            extent: Extent::Roll,
            schedule: None,
            policy: self.manner.policy(),
        })
    }
}

impl Args {
    /// What is asked for. Nothing was asked of anybody yet.
    pub(super) fn request(self) -> Result<Deploy, Trouble> {
        let assign: BTreeSet<_> = self.assign.into_iter().collect();
        Ok(Deploy {
            assign: (!assign.is_empty()).then_some(Selector::Labels(assign)),
            hosts: self.whom.selector(),
            extent: if self.dry_run { Extent::Rehearse } else { Extent::Roll },
            schedule: self.schedule.map(|not_before| Schedule { not_before, late_limit: self.late_limit }),
            ..self.wanted.request(self.name)?
        })
    }
}

pub(super) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let detached = args.detached;
    let ask = Ask::Deploy { deploy: Box::new(args.request()?) };
    begin(global, &ask, detached).await
}

/// Bring a workload back to what was stable before; a rollout under way is undone
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// The workload
    name: WorkloadName,

    /// To this version [default: what was stable before]
    #[arg(long, value_name = "V", value_parser = plain::version)]
    to: Option<Version>,

    #[command(flatten)]
    whom: Whom,

    #[command(flatten)]
    manner: Manner,

    /// Print the rollout's number and return
    #[arg(long = "async")]
    detached: bool,
}

pub(super) async fn roll_back(global: &Global, args: RollbackArgs) -> Result<Exit, Trouble> {
    let policy = Box::new(args.manner.policy());
    let ask = Ask::Rollback { workload: args.name, to: args.to, hosts: args.whom.selector(), policy };
    begin(global, &ask, args.detached).await
}

async fn begin(global: &Global, ask: &Ask, detached: bool) -> Result<Exit, Trouble> {
    let operator = operator(global).await?;
    let told = operator.ask(ask).await?;
    match told {
        Told::Rollout { rollout } if !detached => following::finish(global, &operator, *rollout).await,
        told => {
            render::fleet::told(&told, global.output);
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use host_core::policy::SwapPolicy;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Deploy {
        let line: Line = clap::Parser::try_parse_from(line.split_whitespace()).expect(line);
        line.args.request().expect("a request")
    }

    /// What `--help` says is what core's policy has.
    #[test]
    fn the_defaults_are_cores() {
        assert_eq!(parse("deploy chat --version 1.1.0").policy, RolloutPolicy::default());
        assert_eq!(plain::pause_limit("5s"), Ok(SwapPolicy::DEFAULT_PAUSE_LIMIT));
        let canary = parse("deploy chat --version 1.1.0 --strategy canary").policy.strategy;
        assert_eq!(canary, Strategy::Canary { size: WaveSize::ONE, monitor: RolloutPolicy::DEFAULT_MONITOR });
    }

    #[test]
    fn hosts_are_chosen_by_name_or_by_label() {
        let deploy = parse("deploy chat --version 1.1.0 --hosts a,b --assign region=eu --schedule +2h");
        let names = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
        assert_eq!(deploy.hosts, Selector::Names(names(&["a", "b"])));
        assert!(matches!(deploy.assign, Some(Selector::Labels(_))) && deploy.schedule.is_some());
        let deploy = parse("deploy chat --version 1.1.0 --on region=eu");
        assert!(matches!(deploy.hosts, Selector::Labels(_)));
    }
}
