//! Spans: a swap with a child per phase, and the slow single steps.
//!
//! A span costs about a microsecond where somebody records it, next to nothing where nobody does. None is opened on the
//! path of a message.

use host_core::{
    history::{SwapKind, SwapReport, Verdict},
    id::{BatchSeq, Digest, SwapId, WorkloadName},
    swap::{Outcome, PhaseName},
};
use semver::Version;
use tracing::{Span, field};

use super::{names::span as names, workload::kind};

/// The span of a swap and of the phase it is in.
///
/// Not entered on any thread: a phase may be timed in one task and ended in another. Dropping it closes what is open;
/// [`end`](Self::end) says besides how the swap ended.
#[derive(Debug)]
pub struct SwapSpan {
    swap: Span,
    phase: Span,
}

impl SwapSpan {
    /// Opens the span of a swap. It has no parent here: whatever task begins it may live on for years. One elsewhere, as a request
    /// names it, is given to it right after.
    #[must_use]
    pub fn begin(
        id: SwapId,
        swap_kind: SwapKind,
        workload: &WorkloadName,
        from: Option<&Version>,
        to: &Version,
    ) -> Self {
        let swap = tracing::info_span!(
            parent: None,
            names::SWAP,
            %workload,
            from = from.map(field::display),
            %to,
            swap.id = id.0,
            swap.kind = kind(swap_kind),
            outcome = field::Empty,
            why = field::Empty,
            pause_us = field::Empty,
            state_bytes = field::Empty,
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
        );
        Self { swap, phase: Span::none() }
    }

    /// Closes the phase before, if any, and opens this one.
    pub fn enter(&mut self, phase: PhaseName) {
        // In this order: the two must not overlap.
        self.phase = Span::none();
        self.phase = phase_span(&self.swap, phase);
    }

    /// Closes the phase. What happens next belongs to the swap as a whole.
    pub fn leave(&mut self) {
        self.phase = Span::none();
    }

    /// The swap's span, to log within it.
    #[must_use]
    pub const fn swap(&self) -> &Span {
        &self.swap
    }

    /// The span of the phase it is in, to log within it or to instrument a task with. Whoever clones it keeps the phase
    /// open until the clone is gone.
    #[must_use]
    pub const fn phase(&self) -> &Span {
        &self.phase
    }

    /// Records how the swap ended and closes its span.
    pub fn end(mut self, report: &SwapReport) {
        self.leave();
        self.swap.record("outcome", report.verdict.as_str());
        if let Some(pause) = report.pause {
            self.swap.record("pause_us", u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        }
        if let Some(state) = report.state {
            self.swap.record("state_bytes", state.bytes);
        }
        if let Some(why) = report.verdict.why() {
            self.swap.record("why", why);
        }
        if failed(&report.verdict) {
            self.swap.record("otel.status_code", "ERROR");
            self.swap.record("otel.status_description", report.verdict.why().unwrap_or_default());
        } else {
            self.swap.record("otel.status_code", "OK");
        }
    }
}

/// Whether a trace shall show this end in red: what was wanted did not come about.
const fn failed(verdict: &Verdict) -> bool {
    !matches!(
        verdict,
        Verdict::Nothing
            | Verdict::Started
            | Verdict::Rehearsed
            | Verdict::Done
            | Verdict::Swap { outcome: Outcome::Permanent }
    )
}

/// A span's name is part of the program, so there is a call site per phase.
fn phase_span(swap: &Span, phase: PhaseName) -> Span {
    match phase {
        PhaseName::Prepare => tracing::info_span!(parent: swap, names::PREPARE),
        PhaseName::Quiesce => tracing::info_span!(parent: swap, names::QUIESCE),
        PhaseName::Snapshot => tracing::info_span!(parent: swap, names::SNAPSHOT),
        PhaseName::CodeChange => tracing::info_span!(parent: swap, names::CODE_CHANGE),
        PhaseName::Switch => tracing::info_span!(parent: swap, names::SWITCH),
        PhaseName::Record => tracing::info_span!(parent: swap, names::RECORD),
        PhaseName::Verify => tracing::info_span!(parent: swap, names::VERIFY),
        PhaseName::Probation => tracing::info_span!(parent: swap, names::PROBATION),
        PhaseName::Rebuild => tracing::info_span!(parent: swap, names::REBUILD),
        PhaseName::RollBack => tracing::info_span!(parent: swap, names::ROLL_BACK),
    }
}

/// Making machine code of a component. A child of the span it is opened in.
#[must_use]
pub fn compile_span(workload: &WorkloadName, digest: &Digest) -> Span {
    tracing::info_span!(names::COMPILE, %workload, digest = %digest.short())
}

/// Writing a checkpoint. A child of the span it is opened in.
#[must_use]
pub fn checkpoint_span(workload: &WorkloadName, batch: BatchSeq) -> Span {
    tracing::info_span!(names::CHECKPOINT, %workload, batch = batch.0)
}

/// Replacing an instance that failed.
#[must_use]
pub fn restart_span(workload: &WorkloadName, why: &str) -> Span {
    tracing::info_span!(parent: None, names::RESTART, %workload, why)
}
