//! `host replay`.

use std::path::PathBuf;

use host_api::convert::limits;
use host_core::{
    id::WorkloadName,
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent},
};
use semver::Version;

use super::{Exit, Global, Trouble, component, swapping, values};
use crate::render;

/// Handle on a copy what a workload has handled since its last birth, and say the first difference
#[derive(Debug, clap::Args)]
#[command(after_help = "Nothing of the replay reaches a client. Exit code 1: something differs.")]
pub(crate) struct Args {
    /// The workload
    name: WorkloadName,

    /// Another component to do it with [default: the one that runs]
    #[arg(long, value_name = "FILE", requires = "version")]
    with: Option<PathBuf>,

    /// The version of that component, as 1.2.3
    #[arg(long, value_name = "V", requires = "with", value_parser = values::version)]
    version: Option<Version>,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let (Some(file), Some(version)) = (args.with, args.version) else {
        let report = global.client().await?.replay(&args.name).await?;
        render::report(&report, global.output);
        return Ok(Exit::of_report(&report));
    };
    let bytes = component::read("component", &file, limits::COMPONENT_LIMIT_BYTES)?;
    let request = DeployRequest {
        workload: args.name.clone(),
        version,
        listeners: None,
        config: None,
        topology: None,
        // Nothing is lowered: it is only looked at.
        intent: Intent::Deploy { downgrade: true },
        policy: SwapPolicy::default(),
        extent: Extent::Replay,
        trace: None,
    };
    let swapping = global.client().await?.deploy(request, bytes).await?;
    swapping::finish(&args.name, swapping, global.output, render::report).await
}
