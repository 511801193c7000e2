//! `host rollback`.

use std::time::Duration;

use host_core::{id::WorkloadName, policy::SwapPolicy, request::RollbackRequest};
use semver::Version;

use super::{Exit, Global, Trouble, swapping, values};
use crate::render;

/// Go back to the version before, or to another one that is stored
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload
    name: WorkloadName,

    /// The version to go back to [default: the one before]
    #[arg(long, value_name = "V", value_parser = values::version)]
    to: Option<Version>,

    /// Longest pause; a swap that would take longer is aborted
    #[arg(long, value_name = "D", default_value = "5s", value_parser = values::pause_limit)]
    timeout: Duration,

    /// Where no other way leads back from a version on probation, go back to the state at the switch and lose what came since;
    /// close sessions that can't go back
    #[arg(long)]
    allow_loss: bool,

    /// Go even where nothing leads back to the running version
    #[arg(long)]
    one_way: bool,

    /// Where a fleet has the workload in its hands here, take it out of them
    #[arg(long)]
    detach: bool,

    /// Skip the checks before and the health check after; never digests, limits or the state's compatibility
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let policy = SwapPolicy {
        pause_limit: args.timeout,
        force: args.force,
        allow_loss: args.allow_loss,
        one_way: args.one_way,
        detach: args.detach,
        // What was left is not a place to go back to by itself.
        probation: Duration::ZERO,
        ..SwapPolicy::default()
    };
    let request = RollbackRequest { workload: args.name.clone(), to: args.to, policy, trace: None };
    let swapping = global.client().await?.rollback(request).await?;
    let Some(report) = swapping::wait(&args.name, swapping, global.output).await? else { return Ok(Exit::Detached) };
    render::report(&report, global.output);
    Ok(Exit::of_rollback(&report))
}
