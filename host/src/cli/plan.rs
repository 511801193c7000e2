//! `host plan`.

use host_core::{policy::SwapPolicy, request::Extent};

use super::{Exit, Global, Trouble, component::Component, swapping};
use crate::render;

/// Say what a deploy would do, without asking anything of the running version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    component: Component,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let (request, component) = args.component.request(SwapPolicy::default(), Extent::Plan)?;
    let workload = request.workload.clone();
    let swapping = global.client().await?.deploy(request, component).await?;
    swapping::finish(&workload, swapping, global.output, render::plan).await
}
