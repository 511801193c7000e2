//! `host versions`.

use host_core::id::WorkloadName;

use super::{Exit, Global, Trouble};
use crate::render;

/// List the stored versions of a workload
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload
    name: WorkloadName,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let versions = global.client().await?.versions(&args.name).await?;
    render::versions(&args.name, &versions, global.output);
    Ok(Exit::Done)
}
