//! Waits for a swap and shows how it goes. Ctrl-C leaves it to the host.

use anyhow::Context as _;
use host_api::{Swapping, WhileWaiting};
use host_core::{history::SwapReport, id::WorkloadName};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Output, Trouble};
use crate::render::{self, progress::Progress};

/// Waits for the report; none when the person left.
pub(crate) async fn wait(
    workload: &WorkloadName,
    mut swapping: Swapping,
    output: Output,
) -> Result<Option<SwapReport>, Trouble> {
    // One listener for all of the wait: a signal that comes between two items is not lost.
    let mut interrupt = signal(SignalKind::interrupt()).context("signals can't be listened to")?;
    let mut progress = Progress::new(output);
    let mut begun = false;
    loop {
        tokio::select! {
            item = swapping.next() => match item? {
                WhileWaiting::Progress(told) => {
                    begun = true;
                    progress.told(&told);
                }
                WhileWaiting::Report(report) => return Ok(Some(*report)),
            },
            _ = interrupt.recv() => {
                drop(progress);
                render::detached(workload, begun, output);
                return Ok(None);
            }
        }
    }
}

/// Waits, shows the report, and says how it ended.
pub(crate) async fn finish(
    workload: &WorkloadName,
    swapping: Swapping,
    output: Output,
    show: impl FnOnce(&SwapReport, Output),
) -> Result<Exit, Trouble> {
    let Some(report) = wait(workload, swapping, output).await? else { return Ok(Exit::Detached) };
    show(&report, output);
    Ok(Exit::of_report(&report))
}
