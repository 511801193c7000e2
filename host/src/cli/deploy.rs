//! `host deploy`.

use std::time::Duration;

use host_core::{
    policy::{Shadow, StateSource, SwapPolicy},
    request::Extent,
};

use super::{Exit, Global, Trouble, component::Component, swapping, values};
use crate::render;

/// Start a workload, or swap the running one for another version
#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-C leaves a swap that has begun to the host.")]
pub(crate) struct Args {
    #[command(flatten)]
    component: Component,

    /// Do everything up to and including code-change on a copy of the live state, then throw it away and say how it went
    #[arg(long)]
    dry_run: bool,

    /// Longest pause; a swap that would take longer is aborted
    #[arg(long, value_name = "D", default_value = "5s", value_parser = values::pause_limit)]
    timeout: Duration,

    /// How long the old version is kept to go back to; 0s for not at all
    #[arg(long, value_name = "D", default_value = "10s", value_parser = values::probation)]
    probation: Duration,

    /// Keep the old version to go back to until `host commit`, however long that takes
    #[arg(long, conflicts_with = "probation")]
    hold: bool,

    /// Where no other way leads back, go back to the state at the switch and lose what came since
    #[arg(long)]
    allow_loss: bool,

    /// Before the switch, let the new version handle a copy of the live traffic for this long, and compare its effects
    #[arg(long, value_name = "D", value_parser = values::shadow)]
    shadow: Option<Duration>,

    /// Refuse the deploy when more than this many of a hundred effects differ [default: differences are only told]
    #[arg(long, value_name = "PERCENT", requires = "shadow", value_parser = clap::value_parser!(u8).range(0..=100))]
    shadow_limit: Option<u8>,

    /// Close connections gently over this time instead of keeping them
    #[arg(long, value_name = "D", value_parser = values::drain)]
    drain: Option<Duration>,

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
        probation: args.probation,
        hold: args.hold,
        allow_loss: args.allow_loss,
        shadow: args.shadow.map(|period| Shadow { period, limit_percent: args.shadow_limit }),
        drain: args.drain,
        force: args.force,
        one_way: args.one_way,
        detach: args.detach,
        ..SwapPolicy::default()
    };
    let extent = if args.dry_run { Extent::Rehearse } else { Extent::Swap };
    let (request, component) = args.component.request(policy, extent)?;
    let client = global.client().await?;
    if request.policy.state_from == StateSource::LastCheckpoint {
        let status = client.status().await?;
        render::cost_of_checkpoint(&request.workload, &status, global.output);
    }
    let (workload, pause_limit) = (request.workload.clone(), request.policy.pause_limit);
    let swapping = client.deploy(request, component).await?;
    swapping::finish(&workload, swapping, global.output, |report, output| match extent {
        Extent::Rehearse => render::rehearsal(report, pause_limit, output),
        Extent::Plan | Extent::Replay | Extent::Swap => render::report(report, output),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `--help` says is what the policy has.
    #[test]
    fn the_defaults_are_the_policys() {
        assert_eq!(values::pause_limit("5s"), Ok(SwapPolicy::DEFAULT_PAUSE_LIMIT));
        assert_eq!(values::probation("10s"), Ok(SwapPolicy::DEFAULT_PROBATION));
    }
}
