//! A rollout, followed to its end. Ctrl-C leaves it to the coordinator.

use anyhow::Context as _;
use futures_util::StreamExt as _;
use host_core::{id::RolloutId, rollout::Verdict};
use host_fleet::{
    client::{Operator, Watch},
    operator::{Ask, RolloutView, Told},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Exit, Global, Trouble},
    render,
};

/// What a rollout came to, shown.
pub(super) async fn follow(global: &Global, operator: &Operator, id: Option<RolloutId>) -> Result<Exit, Trouble> {
    let rollout = show(operator, id).await?;
    finish(global, operator, rollout).await
}

/// Waits for a rollout's end or for its word that it waits for a person, then shows it.
pub(super) async fn finish(global: &Global, operator: &Operator, rollout: RolloutView) -> Result<Exit, Trouble> {
    let Some(rollout) = until_it_ends(global, operator, rollout).await? else { return Ok(Exit::Detached) };
    render::fleet::rollout(&rollout, global.output);
    Ok(Exit::of_rollout(rollout.summary.verdict))
}

/// As [`finish`] waits; none when the person left.
pub(super) async fn to_its_end(
    global: &Global,
    operator: &Operator,
    id: RolloutId,
) -> Result<Option<RolloutView>, Trouble> {
    let rollout = show(operator, Some(id)).await?;
    until_it_ends(global, operator, rollout).await
}

async fn until_it_ends(
    global: &Global,
    operator: &Operator,
    mut rollout: RolloutView,
) -> Result<Option<RolloutView>, Trouble> {
    let id = rollout.id;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals can't be listened to")?;
    let watch = Watch { follow: true, rollout: Some(id), ..Watch::default() };
    let events = operator.watch(watch).await?;
    let mut events = std::pin::pin!(events);
    while rollout.summary.verdict == Verdict::UnderWay {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    let event = event?;
                    render::fleet::progress(&event, global.output);
                    // Only these can be an end; others are told one by one and ask for nothing.
                    if matches!(event.name.as_str(), "rollout.completed" | "rollout.failed" | "rollout.cancelled" | "rollout.paused") {
                        rollout = show(operator, Some(id)).await?;
                    }
                }
                None => {
                    return Err(Trouble::new(Exit::NoHost, "the coordinator ended")
                        .still(format!("rollout {id} goes on when it starts again"))
                        .remedy(format!("then: host fleet watch {id}")));
                }
            },
            _ = interrupt.recv() => {
                render::fleet::detached(id, global.output);
                return Ok(None);
            }
        }
    }
    Ok(Some(rollout))
}

async fn show(operator: &Operator, rollout: Option<RolloutId>) -> Result<RolloutView, Trouble> {
    match operator.ask(&Ask::Show { rollout }).await? {
        Told::Rollout { rollout } => Ok(*rollout),
        _ => Err(Trouble::new(Exit::NoHost, "the coordinator answered something else than a rollout")),
    }
}
