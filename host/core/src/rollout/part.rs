//! Parts of a rollout that are over, and the time each took: what metrics count and traces show.
//!
//! A rollout's life is covered by the states it passes, one after the other; each command is a part of the state in which it was
//! given. What is measured is in the machine itself, so that a coordinator that starts again goes on with it: a part that began
//! before a crash ends after it, under the same number in the same trace.

use serde::{Deserialize, Serialize};

use super::{
    Counts, Effect, Extent, HostId, Open, Rollout, State, StateName, Verdict,
    command::{ActionKind, Outcome},
};
use crate::{
    id::CommandId,
    time::UnixNanos,
    trace::{SpanId, TraceContext},
};

/// A part of a rollout that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it was.
    pub what: PartKind,
    /// When it began.
    pub began: UnixNanos,
    /// When it was over.
    pub ended: UnixNanos,
    /// Its span, and its parent's; none where the rollout is not traced.
    pub span: Option<PartSpan>,
}

/// A part as a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSpan {
    /// It, in its trace.
    pub context: TraceContext,
    /// What it is a part of; none for the rollout as a whole.
    pub parent: Option<SpanId>,
}

/// What a part was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PartKind {
    /// The rollout as a whole. Told once, when it is over; what is owed after that comes later.
    Rollout {
        /// How far it was to go.
        extent: Extent,
        /// What it came to.
        verdict: Verdict,
        /// Why, where there is something to explain.
        why: Option<String>,
        /// How many hosts stood where.
        counts: Counts,
    },
    /// A state that it passed.
    State {
        /// Which.
        state: StateName,
        /// The wave, counted from 1, where it concerns one.
        wave: Option<usize>,
    },
    /// A command to a host.
    Command {
        /// Which host.
        host: HostId,
        /// Its number.
        command: CommandId,
        /// What it said.
        action: ActionKind,
        /// How it ended.
        end: CommandEnd,
        /// Why, where there is something to explain.
        why: Option<String>,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandEnd {
    /// See [`Outcome::Prepared`].
    Prepared,
    /// See [`Outcome::Switched`].
    Switched,
    /// See [`Outcome::Committed`].
    Committed,
    /// See [`Outcome::RolledBack`].
    RolledBack,
    /// See [`Outcome::Refused`].
    Refused,
    /// See [`Outcome::Expired`].
    Expired,
    /// See [`Outcome::Stuck`].
    Stuck,
    /// No answer came in time, or none will: the host is asked what it runs. An answer that comes late is not told again.
    Unknown,
}

impl CommandEnd {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Prepared,
        Self::Switched,
        Self::Committed,
        Self::RolledBack,
        Self::Refused,
        Self::Expired,
        Self::Stuck,
        Self::Unknown,
    ];

    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Switched => "switched",
            Self::Committed => "committed",
            Self::RolledBack => "rolled-back",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Stuck => "stuck",
            Self::Unknown => "unknown",
        }
    }

    pub(super) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Prepared { .. } => Self::Prepared,
            Outcome::Switched { .. } => Self::Switched,
            Outcome::Committed { .. } => Self::Committed,
            Outcome::RolledBack { .. } => Self::RolledBack,
            Outcome::Refused { .. } => Self::Refused,
            Outcome::Expired => Self::Expired,
            Outcome::Stuck { .. } => Self::Stuck,
        }
    }
}

/// What is measured of a rollout that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Measure {
    /// The rollout's own span; none where it is not traced.
    trace: Option<TraceContext>,
    /// Spans numbered so far.
    spans: u64,
    /// When it began to do something.
    began: Option<UnixNanos>,
    /// The state it is in.
    stage: Option<Stage>,
}

/// The state that a rollout is in, as a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stage {
    began: UnixNanos,
    span: Option<SpanId>,
}

impl Measure {
    fn number(&mut self) -> Option<SpanId> {
        let trace = self.trace?;
        self.spans += 1;
        Some(trace.nth(self.spans))
    }

    fn span(&self, span: Option<SpanId>, parent: Option<SpanId>) -> Option<PartSpan> {
        let trace = self.trace?;
        Some(PartSpan {
            context: TraceContext { trace: trace.trace, span: span? },
            parent: parent.or(Some(trace.span)),
        })
    }

    /// A command is given: its span, and that of which it is a part.
    pub(super) fn command(&mut self) -> (Option<TraceContext>, Option<SpanId>) {
        let Some(span) = self.number() else { return (None, None) };
        let context = self.trace.map(|trace| TraceContext { trace: trace.trace, span });
        (context, self.stage.and_then(|stage| stage.span))
    }
}

impl Rollout {
    /// The same rollout as a part of this trace: `trace` is its own span there. For a rollout that has not begun.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceContext>) -> Self {
        self.measure.trace = trace;
        self
    }

    /// The rollout's own span; none where it is not traced.
    #[must_use]
    pub const fn trace(&self) -> Option<TraceContext> {
        self.measure.trace
    }

    /// The state `left` is over, and another has been entered.
    pub(super) fn stage(&mut self, left: &State, out: &mut Vec<Effect>) {
        if let Some(Stage { began, span }) = self.measure.stage.take() {
            let what = PartKind::State { state: left.name(), wave: left.wave() };
            let span = self.measure.span(span, None);
            out.push(Effect::Ended { part: Part { what, began, ended: self.now, span } });
        }
        if !self.state.is_over() && self.has_begun() {
            self.measure.began.get_or_insert(self.now);
            let span = self.measure.number();
            self.measure.stage = Some(Stage { began: self.now, span });
        }
    }

    /// The rollout is over.
    pub(super) fn whole(&self, out: &mut Vec<Effect>) {
        let what = PartKind::Rollout {
            extent: self.request.extent,
            verdict: self.verdict(),
            why: self.because(),
            counts: self.counts(),
        };
        let span = self.measure.trace.map(|context| PartSpan { context, parent: None });
        // One that was scheduled and never began took no time.
        let began = self.measure.began.unwrap_or(self.now);
        out.push(Effect::Ended { part: Part { what, began, ended: self.now, span } });
    }

    /// A command is answered, or no answer is waited for any more. Told once.
    pub(super) fn command_ended(
        &self,
        host: &HostId,
        open: Open,
        end: CommandEnd,
        why: Option<&str>,
        out: &mut Vec<Effect>,
    ) {
        if open.told {
            return;
        }
        let what = PartKind::Command {
            host: host.clone(),
            command: open.command,
            action: open.action,
            end,
            why: why.map(str::to_owned),
        };
        let span = self.measure.span(open.span, open.parent);
        out.push(Effect::Ended { part: Part { what, began: open.sent, ended: self.now, span } });
    }
}
