//! `host demo`: a host of its own, clients that never stop sending, and swaps that none of them may notice.
//!
//! It starts the host as a real process on loopback with a temporary data directory, has the example `counter` count lines,
//! and swaps it up and down, now and then with a deploy that fails on purpose. Every answer to every line is checked
//! ([`check`]), every latency is measured from the moment the line was due ([`load`]). It is the project's load tool too.
//!
//! Whatever ends it, the host's process ends with it and the data directory is removed.

mod check;
mod child;
mod export;
pub(crate) mod fleet;
mod limits;
mod load;
mod plan;
mod progress;
mod render;
mod results;
mod script;
mod soak;
mod usage;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use crate::cli::Output;

/// Exit status after Ctrl-C, as a shell has it.
const INTERRUPTED: u8 = 130;

/// See for yourself: a host, a workload, clients that send all the time, and swaps under their feet
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Client connections
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,

    /// Swaps: upgrade, rollback and one that fails on purpose, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    swaps: u32,

    /// Rows of ballast in the workload's state
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    rows: u32,

    /// Lines per second, all connections together [default: 20 000]; in a soak, of steady clients [default: 2 000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,

    /// Time between swaps, in which the latency without one is measured [default: what fits into ten seconds in all]
    #[arg(long, value_parser = humantime::parse_duration)]
    steady: Option<Duration>,

    /// Probation of each swap
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    probation: Duration,

    /// Make every upgrade a component that the host has not seen, so that it is compiled while the clients send
    #[arg(long)]
    recompile: bool,

    /// Instead: chance swaps, failures, kills and clients of every kind for so long, checked by what the clients saw
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration, conflicts_with_all = ["swaps", "steady", "probation", "recompile"])]
    soak: Option<Duration>,

    /// Which soak: the same number asks for the same acts in the same order [default: chance]
    #[arg(long, requires = "soak")]
    seed: Option<u64>,

    /// Start nothing; write the example components into this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["connections", "swaps", "rows", "rate", "steady", "probation", "recompile", "soak"])]
    export: Option<PathBuf>,
}

impl Args {
    /// Lines per second. A soak wants clients that leave each other room, not a full machine.
    fn rate(&self) -> u64 {
        self.rate.unwrap_or(if self.soak.is_some() { 2_000 } else { 20_000 })
    }

    /// Time between swaps: what was asked for, or a fair share of six seconds, but neither so short that there is no steady
    /// time in between nor so long that nobody watches.
    fn steady(&self) -> Duration {
        const ALL: Duration = Duration::from_secs(6);
        let share = (ALL / self.swaps).clamp(Duration::from_millis(200), Duration::from_secs(2));
        self.steady.unwrap_or(share)
    }
}

/// Runs the demo.
///
/// # Errors
/// When it can't be run to its end. What it found out is an exit code: 0 if nothing was lost, dropped, doubled or out of
/// order and every deploy ended as it should, 1 otherwise.
pub(crate) async fn run(args: Args, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.export {
        let exported = export::write(folder)?;
        render::exported(folder, &exported, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(length) = args.soak {
        return soak::run(&args, length, output).await;
    }
    let results = match script::run(&args).await? {
        script::Ending::Done(results) => results,
        script::Ending::Interrupted(how) => {
            render::interrupted(how);
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    render::results(&results, output)?;
    Ok(if results.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
