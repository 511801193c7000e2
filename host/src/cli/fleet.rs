//! `host fleet …`: what an operator asks of a coordinator.

mod declared;
mod deploy;
mod following;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use host_core::{
    id::{Digest, HostId, RolloutId, WorkloadName},
    label::Label,
    rollout::{Order, Resolution},
};
use host_fleet::{
    client::{Operator, Watch},
    clock::Clock,
    identity::{CoordinatorAddress, authority},
    operator::{Ask, Publication, Told},
};
use semver::Version;
use sha2::{Digest as _, Sha256};

use super::{Exit, Global, Trouble, component, coordinator::DEFAULT_LISTEN, values as plain};
use crate::{demo, render};

/// Swap workloads on a whole fleet of hosts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a fleet: its authority, its store's place, and your identity as its operator
    Init {
        /// Where its coordinator will be reached, as this machine's operators know it
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
        listen: SocketAddr,
    },
    /// Tokens that hosts and operators join with
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Hand a component to the fleet's store, once, by its digest; nothing is deployed
    Publish {
        /// The component's .wasm file
        file: PathBuf,
        /// Workload that it is a version of [default: the file's stem without a version at its end]
        #[arg(long, value_name = "N")]
        name: Option<WorkloadName>,
        /// Version of the component, as 1.2.3
        #[arg(long, value_name = "V", value_parser = plain::version)]
        version: Version,
    },
    Deploy(Box<deploy::Args>),
    Plan(Box<deploy::Args>),
    Rollback(Box<deploy::RollbackArgs>),
    Apply(declared::ApplyArgs),
    Diff(declared::DiffArgs),
    Demo(demo::fleet::Args),
    /// The fleet at a glance: assignments, and rollouts that are not over
    Status,
    /// The hosts, with what runs on each
    Hosts,
    /// Which hosts run a workload, or are to
    Where {
        /// The workload
        name: WorkloadName,
    },
    /// Follow a rollout to its end
    Watch {
        /// Its number [default: the newest]
        id: Option<u64>,
    },
    /// Rollouts, newest first
    History {
        /// Of this workload only
        name: Option<WorkloadName>,
        /// Most entries to show
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// One rollout, host by host
    Show {
        /// Its number [default: the newest]
        id: Option<u64>,
    },
    /// What a rollout waits for, since when, what happens next by itself, and what you can do
    Why {
        /// Its number [default: the newest]
        id: Option<u64>,
    },
    /// The releases of a workload that the fleet knows
    Versions {
        /// The workload
        name: WorkloadName,
    },
    /// What happened in the fleet, and with --follow what happens from now on
    Events {
        /// Go on with what happens from now on
        #[arg(long)]
        follow: bool,
        /// Only events whose name fits; * stands for anything, as in 'rollout.*'
        #[arg(value_name = "PATTERN")]
        filter: Option<String>,
        /// Begin after the event of this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// Who did what, when, with what result
    AuditLog {
        /// Begin with the entry of this number
        #[arg(long, value_name = "SEQ", default_value_t = 1)]
        from: u64,
        /// Most entries to show
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
        limit: u32,
        /// Check that no entry was changed, taken out or put in
        #[arg(long)]
        verify: bool,
    },
    /// Let finish what is under way in a rollout, and begin nothing
    Pause(OneRollout),
    /// Go on with a paused rollout
    Resume(OneRollout),
    /// End a canary's monitoring, or the delay before a wave, now
    Promote(OneRollout),
    /// Let finish what is under way, then put the switched hosts back
    Cancel {
        #[command(flatten)]
        rollout: OneRollout,
        /// Keep the switched hosts as they are
        #[arg(long)]
        keep: bool,
    },
    /// Try again what failed: of a rollout that is held
    Retry(OneRollout),
    /// Say what became of a host that can't tell itself
    Resolve {
        #[command(flatten)]
        rollout: OneRollout,
        /// Which host
        #[arg(long)]
        host: HostId,
        /// What became of it
        #[arg(long = "as", value_enum)]
        outcome: Outcome,
    },
    /// Take what a host runs that was changed by hand as what it shall run
    Adopt {
        /// The host
        host: HostId,
    },
    /// Bring a host that was changed by hand back to what it shall run
    Reconcile {
        /// The host
        host: HostId,
    },
    /// Stop a workload on every host and keep its state
    Stop {
        /// The workload
        name: WorkloadName,
    },
    /// Start a workload on every host
    Start {
        /// The workload
        name: WorkloadName,
    },
    /// Take a workload away from every host, with its state
    Remove {
        /// The workload
        name: WorkloadName,
    },
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make one. It is shown once
    Create {
        /// How many may join with it
        #[arg(long, value_name = "N", default_value_t = 1)]
        uses: u32,
        /// How long it is good
        #[arg(long, value_name = "D", default_value = "1h", value_parser = plain::some_duration)]
        expires: Duration,
        /// For an operator, not for hosts
        #[arg(long)]
        operator: bool,
        /// A label that hosts may claim with it; repeat it for more [default: any]
        #[arg(long, value_name = "KEY=VALUE")]
        allow: Vec<Label>,
    },
}

/// Which rollout.
#[derive(Clone, Copy, Debug, clap::Args)]
struct OneRollout {
    /// Its number [default: the one that is under way]
    id: Option<u64>,
}

/// What a person says became of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Outcome {
    /// It runs the new release for good
    Committed,
    /// It runs what it ran before
    RolledBack,
    /// It will not come back
    Gone,
}

impl From<Outcome> for Resolution {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Committed => Self::Committed,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::Gone => Self::Gone,
        }
    }
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let order = |rollout: OneRollout, order| Ask::Order { rollout: rollout.id.map(RolloutId), order };
    let ask = match args.command {
        Command::Init { listen } => return init(global, listen),
        Command::Publish { file, name, version } => return publish(global, &file, name, version).await,
        Command::Deploy(args) => return deploy::run(global, *args).await,
        Command::Demo(args) => return Ok(demo::fleet::run(args, global.output).await?),
        Command::Plan(args) => Ask::Plan { deploy: Box::new(args.request()?) },
        Command::Rollback(args) => return deploy::roll_back(global, *args).await,
        Command::Apply(args) => return declared::apply(global, &args).await,
        Command::Diff(args) => return declared::diff(global, &args).await,
        Command::Watch { id } => return following::follow(global, &operator(global).await?, id.map(RolloutId)).await,
        Command::Why { id } => return why(global, id.map(RolloutId)).await,
        Command::Events { follow, filter, after } => {
            return events(global, Watch { filter, after, follow, rollout: None }).await;
        }
        Command::Token { command: TokenCommand::Create { uses, expires, operator, allow } } => {
            Ask::TokenCreate { uses, expires, operator, labels: (!allow.is_empty()).then_some(allow) }
        }
        Command::Status => Ask::Status,
        Command::Hosts => Ask::Hosts,
        Command::Where { name } => Ask::Where { workload: name },
        Command::History { name, limit } => {
            Ask::History { workload: name, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
        }
        Command::Show { id } => Ask::Show { rollout: id.map(RolloutId) },
        Command::Versions { name } => Ask::Versions { workload: name },
        Command::AuditLog { from, limit, verify } => {
            Ask::AuditLog { from, limit: usize::try_from(limit).unwrap_or(usize::MAX), verify }
        }
        Command::Pause(rollout) => order(rollout, Order::Pause),
        Command::Resume(rollout) => order(rollout, Order::Resume),
        Command::Promote(rollout) => order(rollout, Order::Promote),
        Command::Cancel { rollout, keep } => order(rollout, Order::Cancel { keep }),
        Command::Retry(rollout) => order(rollout, Order::Retry),
        Command::Resolve { rollout, host, outcome } => order(rollout, Order::Resolve { host, outcome: outcome.into() }),
        Command::Adopt { host } => Ask::Adopt { host },
        Command::Reconcile { host } => Ask::Reconcile { host },
        Command::Stop { name } => Ask::Run { workload: name, running: false },
        Command::Start { name } => Ask::Run { workload: name, running: true },
        Command::Remove { name } => Ask::Remove { workload: name },
    };
    let told = operator(global).await?.ask(&ask).await?;
    render::fleet::told(&told, global.output);
    Ok(exit_of(&told))
}

/// A log that was found out is no success.
fn exit_of(told: &Told) -> Exit {
    match told {
        Told::AuditLog { verified: Some(Err(_)), .. } => Exit::Failed,
        _ => Exit::Done,
    }
}

async fn operator(global: &Global) -> Result<Operator, Trouble> {
    Ok(Operator::connect(&global.data()?, Clock::system()).await?)
}

fn init(global: &Global, listen: SocketAddr) -> Result<Exit, Trouble> {
    let data = global.data()?;
    let failed =
        |error: &dyn std::fmt::Display| Trouble::new(Exit::Failed, error.to_string()).still("nothing was made");
    std::fs::create_dir_all(&data).map_err(|error| failed(&error))?;
    let address: CoordinatorAddress = format!("https://{listen}").parse().map_err(|error| failed(&error))?;
    let name = std::env::var("USER").ok().and_then(|user| user.to_lowercase().parse().ok());
    let name = match name {
        Some(name) => name,
        None => "operator".parse().map_err(|error| failed(&error))?,
    };
    let made = authority::init(&data, name, &address, Clock::system().now()).map_err(|error| failed(&error))?;
    render::fleet::made(&data, made.fleet(), &address, global.output);
    Ok(Exit::Done)
}

async fn publish(
    global: &Global,
    file: &std::path::Path,
    name: Option<WorkloadName>,
    version: Version,
) -> Result<Exit, Trouble> {
    let workload = match name {
        Some(name) => name,
        None => plain::name_of_file(file)
            .map_err(|error| Trouble::new(Exit::Usage, error.to_string()).remedy("name the workload with --name"))?,
    };
    let component = component::read("component", file, host_api::convert::limits::COMPONENT_LIMIT_BYTES)?;
    let digest = Digest::new(Sha256::digest(&component).into());
    let about = Publication { workload, version, digest, size_bytes: component.len() as u64 };
    let told = operator(global).await?.publish(&about, component).await?;
    render::fleet::told(&told, global.output);
    Ok(Exit::Done)
}

async fn why(global: &Global, rollout: Option<RolloutId>) -> Result<Exit, Trouble> {
    let told = operator(global).await?.ask(&Ask::Show { rollout }).await?;
    if let Told::Rollout { rollout } = &told {
        render::fleet::why(rollout, global.output);
    }
    Ok(Exit::Done)
}

async fn events(global: &Global, watch: Watch) -> Result<Exit, Trouble> {
    let events = operator(global).await?.watch(watch).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if render::fleet::event(&event?, global.output).is_break() {
            break;
        }
    }
    Ok(Exit::Done)
}
