//! The shadow: before the switch the candidate handles a copy of the live traffic, and its effects are compared with those
//! that reach the clients. It costs the workload one snapshot, and a copy of each batch's effects.

use host_core::{comparison::Comparison, history::SwapReport, plan::SwapPlan, policy::SwapPolicy, time::UnixNanos};
use tokio::time::{Instant, timeout_at};

use super::{
    Inner,
    deploy::ask,
    prepare::{PreparedRelease, Steps},
};
use crate::{
    bindings::types::{Event, Start},
    engine::Purpose,
    instance::{Batch, Instance},
    workload::{Control, Watched, Watching, Workload, comparing},
};

impl Inner {
    /// Lets the candidate handle live traffic for a while, if that is wanted. The error is the refusal.
    pub(super) async fn shadow(
        &self,
        policy: &SwapPolicy,
        release: &PreparedRelease,
        plan: &SwapPlan,
        workload: &Workload,
        steps: &mut Steps,
        report: &mut SwapReport,
    ) -> Result<(), String> {
        let Some(shadow) = policy.shadow else { return Ok(()) };
        steps.begin("shadow");
        let (schema, limit) = (plan.state.snapshot_schema(), policy.pause_limit);
        let watching = ask(&workload.control, |watching| Control::Watch { schema, limit, watching }).await;
        let watching = watching.map_err(|error| error.to_string())??;
        let until = Instant::now() + shadow.period;
        let mut comparison = Comparison::default();
        let followed = self.follow(release, plan, watching, until, &mut comparison).await;
        let percent = comparison.percent();
        let (differing, effects) = (comparison.differing, comparison.effects);
        report.comparison = Some(comparison);
        let behind =
            followed.map_err(|error| format!("the candidate failed on a copy of the live traffic: {error}"))?;
        if behind {
            report.notes.push("the shadow could not keep up with the live traffic and ended early".to_owned());
        }
        match shadow.limit_percent {
            Some(limit) if percent > u64::from(limit) => Err(format!(
                "{differing} of {effects} effects differ on a copy of the live traffic: {percent} %, more than {limit} % \
                 (--shadow-limit)"
            )),
            Some(_) if behind => {
                Err("the shadow could not keep up, so its differences can't be judged (--shadow-limit)".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether it fell behind.
    async fn follow(
        &self,
        release: &PreparedRelease,
        plan: &SwapPlan,
        watching: Watching,
        until: Instant,
        comparison: &mut Comparison,
    ) -> Result<bool, String> {
        let Watching { checkpoint, mut batches } = watching;
        let mut instance = self.nursery.grown(&release.body, &checkpoint, Purpose::Replacement).await?;
        // No later than what it is shown, some of which has happened by now.
        start(&mut instance, &plan.from.to_string(), checkpoint.batches.0, checkpoint.made).await?;
        loop {
            match timeout_at(until, batches.next()).await {
                Err(_) => return Ok(false),
                Ok(None) => return Ok(true),
                Ok(Some(watched)) => {
                    let Watched { seq, now, events, effects } = &*watched;
                    let batch = Batch { now: *now, seed: seq.0, events };
                    let found = instance.handle(batch).await.map_err(|error| format!("batch {seq}: {error}"))?;
                    comparing::with_effects(comparison, *seq, events, effects, &found);
                }
            }
            tokio::task::consume_budget().await;
        }
    }
}

/// Its first event, whose effects nobody has to compare them with.
async fn start(instance: &mut Instance, from: &str, seed: u64, now: UnixNanos) -> Result<(), String> {
    let events = [Event::Started(Start::Swapped(from.to_owned()))];
    let started = instance.handle(Batch { now, seed, events: &events }).await;
    started.map(drop).map_err(|error| format!("at its start: {error}"))
}
