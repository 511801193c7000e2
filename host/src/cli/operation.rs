//! `host commit`, `host stop`, `host start`, `host remove`.

use host_api::ClientError;
use host_core::{history::SwapReport, id::WorkloadName};

use super::{Exit, Global, Trouble};
use crate::render;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload
    name: WorkloadName,
}

pub(crate) async fn commit(global: &Global, args: Args) -> Result<Exit, Trouble> {
    finish(global, global.client().await?.commit(&args.name).await)
}

pub(crate) async fn stop(global: &Global, args: Args) -> Result<Exit, Trouble> {
    finish(global, global.client().await?.stop(&args.name).await)
}

pub(crate) async fn start(global: &Global, args: Args) -> Result<Exit, Trouble> {
    finish(global, global.client().await?.start(&args.name).await)
}

pub(crate) async fn remove(global: &Global, args: Args) -> Result<Exit, Trouble> {
    finish(global, global.client().await?.remove(&args.name).await)
}

fn finish(global: &Global, report: Result<SwapReport, ClientError>) -> Result<Exit, Trouble> {
    let report = report?;
    render::report(&report, global.output);
    Ok(Exit::of_report(&report))
}
