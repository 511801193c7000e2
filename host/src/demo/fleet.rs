//! `host fleet demo`: a coordinator and hosts as real processes, clients that never stop sending, and what goes wrong in a fleet.
//!
//! The workload is placed on all hosts through the fleet, then rolled out anew in waves. One host is killed midway: the others go
//! back by themselves, and it follows when it returns. Then the rollout again, in the middle of which the coordinator is killed
//! and started again: it goes on to the end. Every answer to every line on every host is checked ([`super::check`]).
//!
//! Whatever ends it, its processes end with it and their directories are removed.

mod processes;
mod render;
mod script;

use serde::Serialize;

use super::check::Tally;
use crate::cli::{Exit, Output};

/// See for yourself: a coordinator, hosts, clients on each, a rollout that fails midway, and one that goes through
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Hosts, each a process of its own
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(3..=50))]
    hosts: u32,

    /// Client connections on each host
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,

    /// Lines per second on each host
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,

    /// Let nothing fail: one rollout from begin to end
    #[arg(long)]
    smooth: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Results {
    passed: bool,
    rollouts: Vec<RolloutLine>,
    hosts: Vec<HostLine>,
    problems: Vec<String>,
}

/// A rollout, for the table.
#[derive(Debug, Serialize)]
struct RolloutLine {
    what: String,
    result: String,
    took_ms: u64,
}

/// A host, for the table.
#[derive(Debug, Serialize)]
struct HostLine {
    host: String,
    /// Whether it was killed on purpose: what its clients lost then does not count.
    killed: bool,
    version: String,
    connections: u64,
    kept: u64,
    longest_pause_us: Option<u64>,
    lines: Tally,
}

/// Runs it.
///
/// # Errors
/// When it can't be run to its end. What it found out is the exit code.
pub(crate) async fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let results = script::run(&args).await?;
    let passed = results.passed;
    render::results(results, output);
    Ok(if passed { Exit::Done } else { Exit::Failed })
}
