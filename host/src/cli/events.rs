//! `host events`.

use futures_util::StreamExt as _;

use super::{Exit, Global, Trouble};
use crate::render;

/// Show what happened on the host, and with --follow what happens from now on
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with what happens from now on, until the host stops
    #[arg(long)]
    follow: bool,

    /// Only events whose name fits; * stands for anything, as in 'swap.*'
    #[arg(long, value_name = "PATTERN")]
    filter: Option<String>,

    /// Begin with the event of this number [default: the oldest that the host still holds]
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let events = global.client().await?.events(args.filter, args.from, args.follow).await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if render::event(&event?, global.output).is_break() {
            break;
        }
    }
    Ok(Exit::Done)
}
