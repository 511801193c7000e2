//! `host run`.

use std::{net::SocketAddr, time::Duration};

use host_core::{
    id::HostId,
    label::{Label, Labels},
    policy::Preflight,
};
use host_fleet::identity::{CoordinatorAddress, token::InvalidToken};
use host_runtime::HostConfig;

use super::{Exit, Global, Trouble, values};
use crate::{
    daemon,
    telemetry::{self, LogFormat},
};

/// Run a host until it is told to stop (Ctrl-C, SIGTERM)
#[derive(Debug, clap::Args)]
#[command(after_help = "One host runs in a data directory. What ran when it stopped runs again when it starts.\n\
                        RUST_LOG chooses what the log shows, as in RUST_LOG=info,host_runtime=debug.")]
pub(crate) struct Args {
    /// How often a workload whose state changed is written to disk
    #[arg(long, value_name = "D", default_value = "30s", value_parser = values::some_duration)]
    checkpoint_every: Duration,

    /// Serve metrics for Prometheus here, at /metrics
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Join the fleet of this coordinator; afterwards the host belongs to it at every start
    #[arg(long, value_name = "https://ADDR", requires = "token", help_heading = "Fleet")]
    join: Option<CoordinatorAddress>,

    /// Token to join with, as `host fleet token create` prints it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HOST_JOIN_TOKEN",
        hide_env_values = true,
        requires = "join",
        help_heading = "Fleet"
    )]
    token: Option<String>,

    /// Name of this host in the fleet [default: the machine's]
    #[arg(long, value_name = "NAME", requires = "join", help_heading = "Fleet")]
    host_name: Option<HostId>,

    /// What is said of this host, as region=eu; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", requires = "join", help_heading = "Fleet")]
    label: Vec<Label>,

    /// How the log on standard error is written
    #[arg(long, visible_alias = "log", value_enum, default_value_t)]
    log_format: LogFormat,

    /// Refuse swaps when less than this is free where the data directory is [default: 100MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    min_free_disk: Option<u64>,

    /// Refuse swaps when more of the machine's memory than this is in use [default: 90]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Limits")]
    max_memory_percent: Option<u8>,

    /// Fuel of one call of `handle`, about one per instruction
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Limits")]
    handle_fuel: Option<u64>,

    /// Time of one call of `handle` on the clock
    #[arg(long, value_name = "D", value_parser = values::some_duration, help_heading = "Limits")]
    handle_timeout: Option<Duration>,

    /// Memory of a workload's instance
    #[arg(long, value_name = "SIZE", value_parser = values::memory_size, help_heading = "Limits")]
    handle_memory: Option<usize>,

    /// Events that may wait for a workload; beyond, its sockets are not read
    #[arg(long, value_name = "SIZE", value_parser = values::memory_size, help_heading = "Limits")]
    mailbox: Option<usize>,

    /// Answers that may wait for one client; beyond, it is closed as too slow
    #[arg(long, value_name = "SIZE", value_parser = values::memory_size, help_heading = "Limits")]
    outbox: Option<usize>,

    /// Answers that may wait for all clients of a workload together
    #[arg(long, value_name = "SIZE", value_parser = values::memory_size, help_heading = "Limits")]
    outboxes: Option<usize>,

    /// Memory of all workloads' instances together [default: three quarters of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    guest_memory: Option<u64>,

    /// Handled events kept to make a workload anew from; beyond, it is replaced by one born from its own snapshot
    #[arg(long, value_name = "SIZE", value_parser = values::memory_size, help_heading = "Limits")]
    journal: Option<usize>,

    /// Most instances with a connection each, of per-connection workloads together [default: what the machine has room for]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    sessions: Option<u64>,

    /// Restarts within a minute after which a workload is stopped
    #[arg(long, value_name = "N", help_heading = "Limits")]
    restarts: Option<usize>,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let guard = telemetry::init(&telemetry::Options { service: telemetry::Service::Host, log: args.log_format })?;
    let options = daemon::Options {
        metrics: args.metrics,
        preflight: preflight(&args),
        config: config(global, &args)?,
        join: join(&args)?,
    };
    let ended = daemon::run(options).await;
    guard.flush().await;
    ended.map(|()| Exit::Done)
}

/// What joining needs, if it is wanted.
fn join(args: &Args) -> Result<Option<daemon::Join>, Trouble> {
    let (Some(address), Some(token)) = (&args.join, &args.token) else { return Ok(None) };
    let usage = |what: String| Trouble::new(Exit::Usage, what).still("nothing was started");
    let token = token.trim().parse().map_err(|error: InvalidToken| usage(error.to_string()))?;
    let name = match &args.host_name {
        Some(name) => name.clone(),
        None => machine_name().ok_or_else(|| {
            usage("this machine's name can't name a host".to_owned()).remedy("name it with --host-name")
        })?,
    };
    let labels = Labels::try_from(args.label.clone()).map_err(|error| usage(error.to_string()))?;
    Ok(Some(daemon::Join { address: address.clone(), token, name, labels }))
}

fn machine_name() -> Option<HostId> {
    // Where Linux says it; elsewhere a person does.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    name.trim().to_lowercase().parse().ok()
}

fn preflight(args: &Args) -> Preflight {
    let usual = Preflight::default();
    Preflight {
        min_free_disk_bytes: args.min_free_disk.unwrap_or(usual.min_free_disk_bytes),
        max_memory_percent: args.max_memory_percent.unwrap_or(usual.max_memory_percent),
    }
}

fn config(global: &Global, args: &Args) -> Result<HostConfig, Trouble> {
    let mut config = HostConfig::new(global.data()?);
    config.checkpoint_every = args.checkpoint_every;
    config.adopt = Some(telemetry::adopt);
    let handle = &mut config.limits.handle;
    handle.fuel = args.handle_fuel.unwrap_or(handle.fuel);
    handle.time = args.handle_timeout.unwrap_or(handle.time);
    handle.memory_bytes = args.handle_memory.unwrap_or(handle.memory_bytes);
    let net = &mut config.net;
    net.mailbox_bytes = args.mailbox.unwrap_or(net.mailbox_bytes);
    net.outbox_bytes = args.outbox.unwrap_or(net.outbox_bytes);
    net.outboxes_bytes = args.outboxes.unwrap_or(net.outboxes_bytes);
    let engine = &mut config.engine;
    engine.memory_bytes = args.guest_memory.unwrap_or(engine.memory_bytes);
    config.journal_bytes = args.journal.unwrap_or(config.journal_bytes);
    config.sessions = args.sessions;
    config.restart_limit = args.restarts.unwrap_or(config.restart_limit);
    // The calls that carry the state need at least twice the memory of the state itself.
    let state = &mut config.limits.state;
    state.memory_bytes = state.memory_bytes.max(config.limits.handle.memory_bytes.saturating_mul(2));
    Ok(config)
}
