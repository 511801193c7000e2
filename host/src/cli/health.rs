//! `host health`.

use host_core::{id::WorkloadName, status::HealthStatus};

use super::{Exit, Global, Trouble};
use crate::render;

/// Ask workloads how they are
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 4 when a workload failed; one that is degraded still does its work.")]
pub(crate) struct Args {
    /// The workload [default: all]
    name: Option<WorkloadName>,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let reports = global.client().await?.health(args.name.as_ref()).await?;
    render::health(&reports, global.output);
    let failed = reports.iter().any(|report| report.status == HealthStatus::Failed);
    Ok(if failed { Exit::Stopped } else { Exit::Done })
}
