//! Every exit code, once.

use std::{fmt::Write as _, process::ExitCode};

use host_api::FailureKind;
use host_core::{
    history::{SwapKind, SwapReport, Verdict},
    rollout::Verdict as RolloutVerdict,
    swap::Outcome,
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is so.
    Done,
    /// It was refused, or failed, with nothing changed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The swap was undone after its switch.
    RolledBack,
    /// Nothing serves.
    Stopped,
    /// There is no host to ask.
    NoHost,
    /// Some hosts have it, others don't.
    Partial,
    /// A rollout waits for a person.
    Paused,
    /// The host was left to it.
    Detached,
}

impl Exit {
    pub(crate) const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::RolledBack,
        Self::Stopped,
        Self::NoHost,
        Self::Partial,
        Self::Paused,
        Self::Detached,
    ];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::Stopped => 4,
            Self::NoHost => 5,
            Self::Partial => 6,
            Self::Paused => 7,
            // As a shell has it after Ctrl-C.
            Self::Detached => 130,
        }
    }

    /// For `--help`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "refused or failed; nothing was changed",
            Self::Usage => "the command line can't be meant as it stands",
            Self::RolledBack => "rolled back: the new version served for a while, the old one serves again",
            Self::Stopped => "the workload is stopped or failed",
            Self::NoHost => "no host or coordinator answers, or none that this program can talk to",
            Self::Partial => "of a rollout: some hosts have the new version and others don't, or could not be put back",
            Self::Paused => "of a rollout: it waits for a person",
            Self::Detached => "interrupted; a swap or rollout that had begun goes on",
        }
    }

    /// The part of `--help` about exit codes.
    pub(crate) fn help() -> String {
        let mut help = "Exit codes:\n".to_owned();
        for exit in Self::ALL {
            // A String takes all that is written.
            let _ = writeln!(help, "  {:>3}  {}", exit.code(), exit.meaning());
        }
        help.push_str("\nReference with the shape of every JSON document: docs/CLI.md");
        help
    }

    /// Of a report: whether what was asked for is so, and what else is.
    pub(crate) fn of_report(report: &SwapReport) -> Self {
        match &report.verdict {
            Verdict::Nothing
            | Verdict::Started
            | Verdict::Rehearsed
            | Verdict::Done
            | Verdict::Held
            | Verdict::Replayed => Self::Done,
            Verdict::Refused { .. } | Verdict::Differs { .. } => Self::Failed,
            Verdict::Swap { outcome } => match outcome {
                Outcome::Permanent => Self::Done,
                Outcome::Aborted { .. } => Self::Failed,
                Outcome::RolledBack { .. } => Self::RolledBack,
                Outcome::Stopped { .. } => Self::Stopped,
            },
        }
    }

    /// Of the report that a rollback led to. On probation that is the one of the swap that was undone, as was asked for.
    pub(crate) fn of_rollback(report: &SwapReport) -> Self {
        match &report.verdict {
            Verdict::Swap { outcome: Outcome::RolledBack { .. } }
                if report.kind == SwapKind::Deploy && report.running == report.from =>
            {
                Self::Done
            }
            _ => Self::of_report(report),
        }
    }

    /// Of a rollout: what it came to.
    pub(crate) const fn of_rollout(verdict: RolloutVerdict) -> Self {
        match verdict {
            RolloutVerdict::Done => Self::Done,
            RolloutVerdict::Unchanged => Self::Failed,
            RolloutVerdict::RolledBack => Self::RolledBack,
            RolloutVerdict::Partial | RolloutVerdict::Incomplete => Self::Partial,
            RolloutVerdict::Waiting => Self::Paused,
            // Whoever left it before its end.
            RolloutVerdict::UnderWay => Self::Detached,
        }
    }

    /// Of a failure on the host.
    pub(crate) const fn of_failure(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Invalid => Self::Usage,
            FailureKind::Stopped => Self::Stopped,
            FailureKind::ShuttingDown | FailureKind::Protocol => Self::NoHost,
            FailureKind::NotFound
            | FailureKind::Refused
            | FailureKind::Busy
            | FailureKind::TimedOut
            | FailureKind::Workload
            | FailureKind::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use host_core::swap::RollbackWay;

    use super::*;
    use crate::render::examples;

    #[test]
    fn each_verdict_has_its_code() {
        let why = || "it trapped".to_owned();
        let rolled_back = Outcome::RolledBack { why: why(), way: RollbackWay::Downgrade };
        for (verdict, code) in [
            (Verdict::Nothing, 0),
            (Verdict::Started, 0),
            (Verdict::Rehearsed, 0),
            (Verdict::Done, 0),
            (Verdict::Held, 0),
            (Verdict::Replayed, 0),
            (Verdict::Differs { why: why() }, 1),
            (Verdict::Refused { why: why() }, 1),
            (Verdict::Swap { outcome: Outcome::Permanent }, 0),
            (Verdict::Swap { outcome: Outcome::Aborted { why: why() } }, 1),
            (Verdict::Swap { outcome: rolled_back.clone() }, 3),
            (Verdict::Swap { outcome: Outcome::Stopped { why: why() } }, 4),
        ] {
            let running = Some("1.0.0".parse().expect("semver"));
            let report = SwapReport { verdict, running, ..examples::report() };
            assert_eq!(Exit::of_report(&report).code(), code, "{:?}", report.verdict);
        }
        let from = examples::report().from;
        let undone = SwapReport {
            kind: SwapKind::Deploy,
            verdict: Verdict::Swap { outcome: rolled_back },
            running: from,
            ..examples::report()
        };
        assert_eq!(Exit::of_report(&undone), Exit::RolledBack, "to whoever deployed");
        assert_eq!(Exit::of_rollback(&undone), Exit::Done, "to whoever asked for it");
        let failed = SwapReport { kind: SwapKind::Rollback, ..undone };
        assert_eq!(Exit::of_rollback(&failed), Exit::RolledBack, "a rollback that was itself rolled back");
    }
}
