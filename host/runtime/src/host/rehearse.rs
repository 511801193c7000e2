//! The rehearsal: the real `code-change` on a copy of the live state, in an instance that can't touch the world.

use std::sync::Arc;

use host_core::{
    history::{StateCarried, SwapKind, SwapReport, Verdict},
    plan::Plan,
    policy::StateSource,
    release::Topology,
    request::DeployRequest,
    swap::{PhaseName, PhaseTime},
};

use tokio::time::timeout;

use super::{
    Inner, ProgressSink, Slot,
    deploy::{ask, checkpoint_folder, still_busy},
    preflight,
    prepare::{PreparedRelease, Steps},
};
use crate::{
    artifact::Artifact,
    checkpoint::{Checkpoint, CheckpointFiles},
    engine::Purpose,
    error::HostError,
    instance::GuestState,
    workload::{Control, Copy},
};

impl Inner {
    /// Everything up to and including `code-change`, on a copy; then it is thrown away.
    pub(super) async fn rehearse(
        self: Arc<Self>,
        request: DeployRequest,
        artifact: Artifact,
        progress: ProgressSink,
    ) -> Result<SwapReport, HostError> {
        let slot = self.slot_or_new(&request.workload);
        let mut report = self.draft(&slot, &request, &artifact, SwapKind::Rehearsal);
        let mut steps = Steps::new(self.clock.clone(), progress);
        let rehearsed = match self.prepare(&slot, request, artifact, &mut steps, None).await? {
            Ok(release) => {
                report.plan = Some(release.plan.clone());
                self.rehearse_release(&slot, &release, &mut report, &mut steps).await
            }
            Err(why) => Err(why),
        };
        steps.end();
        report.steps = steps.done;
        report.ended = self.clock.unix();
        report.verdict = match rehearsed {
            Ok(()) if report.plan == Some(Plan::Nothing) => Verdict::Nothing,
            Ok(()) => Verdict::Rehearsed,
            Err(why) => Verdict::Refused { why },
        };
        Ok(report)
    }

    async fn rehearse_release(
        &self,
        slot: &Slot,
        release: &PreparedRelease,
        report: &mut SwapReport,
        steps: &mut Steps,
    ) -> Result<(), String> {
        let policy = &release.request.policy;
        let workload = slot.running();
        if !policy.force && release.plan != Plan::Nothing {
            steps.begin("pre-flight");
            let health = match &workload {
                Some(workload) => {
                    let asked = ask(&workload.control, |report| Control::Health { report });
                    timeout(policy.pause_limit, asked).await.map_err(|_| still_busy(policy.pause_limit))?.ok()
                }
                None => None,
            };
            preflight::check(&self.config.data, policy.preflight, health.as_ref())?;
        }
        let (Plan::Swap(plan), Some(workload)) = (&release.plan, workload) else {
            // One with an instance for each connection is tried when the first connects, at the latest.
            if release.plan == Plan::Start && release.body.revision.topology == Topology::Single {
                steps.begin("init");
                self.nursery.initialised(&release.body, Purpose::Start).await?;
            }
            return Ok(());
        };
        if let Some(sessions) = workload.sessions() {
            return self.rehearse_sessions(sessions, release, plan, report, steps).await;
        }
        steps.begin("init");
        let mut candidate = self.nursery.initialised(&release.body, Purpose::Replacement).await?.instance;
        let copy = match policy.state_from {
            StateSource::Live => {
                steps.begin("snapshot");
                let schema = plan.state.snapshot_schema();
                let limit = policy.pause_limit;
                let copied = ask(&workload.control, |copy| Control::Copy { schema, limit, copy }).await;
                copied.map_err(|error| error.to_string())??
            }
            StateSource::LastCheckpoint => {
                steps.begin("last-checkpoint");
                let (checkpoint, took) = self.timed_checkpoint(&workload).await?;
                Copy { checkpoint, took, longest_batch: std::time::Duration::ZERO }
            }
        };
        steps.begin("code-change");
        let Copy { checkpoint, took, longest_batch } = copy;
        let (format, bytes) = (checkpoint.format, checkpoint.state.len() as u64);
        let state = GuestState::new(format, Vec::from(checkpoint.state));
        let began = self.clock.moment();
        let changed = candidate.code_change(&state, &checkpoint.written_by.to_string()).await;
        let code_change = self.clock.moment().since(began);
        report.state = Some(StateCarried {
            format,
            bytes,
            bytes_after: None,
            peak_memory_bytes: Some(candidate.peak_memory_bytes() as u64),
        });
        report.phases = vec![
            PhaseTime { phase: PhaseName::Quiesce, took: longest_batch },
            PhaseTime { phase: PhaseName::Snapshot, took },
            PhaseTime { phase: PhaseName::CodeChange, took: code_change },
        ];
        changed.map_err(|error| format!("code-change failed on a copy of the live state: {error}"))?;
        let pause = took + code_change;
        report.pause = Some(pause);
        let limit = policy.pause_limit;
        if pause + longest_batch > limit {
            return Err(format!("the pause would take {:?}, more than {limit:?} (--timeout)", pause + longest_batch));
        }
        steps.begin("check");
        self.check_round_trip(release, &mut candidate, report).await
    }

    /// What the candidate writes must read back and be written alike: recovery rests on it.
    async fn check_round_trip(
        &self,
        release: &PreparedRelease,
        candidate: &mut crate::instance::Instance,
        report: &mut SwapReport,
    ) -> Result<(), String> {
        let described = release.body.revision.release.description.writes;
        let first = candidate
            .snapshot(described.schema)
            .await
            .map_err(|error| format!("the candidate's snapshot failed: {error}"))?;
        if let Some(state) = &mut report.state {
            state.bytes_after = Some(first.data().len() as u64);
            state.peak_memory_bytes = Some(candidate.peak_memory_bytes() as u64);
        }
        let mut second = self.nursery.initialised(&release.body, Purpose::Replacement).await?.instance;
        let version = release.body.revision.release.version.to_string();
        second
            .code_change(&first, &version)
            .await
            .map_err(|error| format!("the candidate does not read its own state: {error}"))?;
        let again = second
            .snapshot(described.schema)
            .await
            .map_err(|error| format!("the candidate's snapshot failed: {error}"))?;
        if again != first {
            let differs = first.data().iter().zip(again.data()).position(|(one, other)| one != other);
            let at = differs.unwrap_or(first.data().len().min(again.data().len()));
            report.notes.push(format!(
                "written, read back and written again, its state differs from byte {at} of {} on: it hangs on the order of a \
                 hash map or on addresses, perhaps; after a restart it may behave differently",
                first.data().len()
            ));
        }
        Ok(())
    }

    async fn timed_checkpoint(
        &self,
        workload: &crate::workload::Workload,
    ) -> Result<(Checkpoint, std::time::Duration), String> {
        let generation = workload.shared.live().generation;
        let folder = checkpoint_folder(&self.config.data, &workload.name);
        let began = self.clock.moment();
        let found = tokio::task::spawn_blocking(move || {
            let files = CheckpointFiles::open(folder).map_err(|error| super::describe(&error))?;
            files
                .newest(generation)
                .0
                .ok_or_else(|| format!("no whole checkpoint of generation {generation} is on disk"))
        });
        let checkpoint = found.await.map_err(|_| "the host is stopping".to_owned())??;
        Ok((checkpoint, self.clock.moment().since(began)))
    }
}
