//! `host history`.

use host_core::id::WorkloadName;

use super::{Exit, Global, Trouble};
use crate::render;

/// Show what was done, newest first: every deploy, rollback and recovery with its phases and its pause
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload [default: all]
    name: Option<WorkloadName>,

    /// Most entries to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let reports = global.client().await?.history(args.name.as_ref(), limit).await?;
    render::history(&reports, global.output);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_flag_has_the_contracts_limit() {
        assert_eq!(host_api::convert::limits::HISTORY_LIMIT, 1000);
    }
}
