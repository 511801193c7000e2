//! What was done, newest first.

use host_core::history::{SwapKind, SwapReport};

use super::{
    lists::table,
    report::{lost, phases},
    units::{length, moment},
};

pub(super) fn history(reports: &[SwapReport]) -> String {
    if reports.is_empty() {
        return "nothing was done yet".to_owned();
    }
    let mut text = table(
        ["SWAP", "BEGAN (UTC)", "WORKLOAD", "WHAT", "FROM", "TO", "OUTCOME", "PAUSE", "TOOK"],
        reports.iter().map(|report| {
            [
                if report.id.0 == 0 { "-".to_owned() } else { report.id.to_string() },
                moment(report.began),
                report.workload.to_string(),
                kind(report.kind).to_owned(),
                report.from.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                report.to.to_string(),
                report.verdict.as_str().to_owned(),
                report.pause.map_or_else(|| "-".to_owned(), length),
                length(report.ended.since(report.began)),
            ]
        }),
    );
    let details: Vec<String> = reports.iter().filter_map(detail).collect();
    if !details.is_empty() {
        text.push('\n');
        text.push_str(&details.join("\n"));
    }
    text
}

const fn kind(kind: SwapKind) -> &'static str {
    match kind {
        SwapKind::Start => "start",
        SwapKind::Deploy => "deploy",
        SwapKind::Rollback => "rollback",
        SwapKind::Rehearsal => "dry run",
        SwapKind::Recovery => "recovery",
        SwapKind::Replay => "replay",
        SwapKind::Operation => "operation",
    }
}

/// What doesn't fit into the row: phases, reasons, losses.
fn detail(report: &SwapReport) -> Option<String> {
    let what = if report.id.0 == 0 { moment(report.began) } else { format!("swap {}", report.id) };
    let mut parts = Vec::new();
    if !report.phases.is_empty() {
        parts.push(phases(&report.phases));
    }
    parts.extend(report.verdict.why().map(|why| format!("{}: {why}", report.verdict.as_str())));
    parts.extend(report.cost.as_ref().map(|cost| format!("lost: {}", lost(cost))));
    parts.extend(report.notes.iter().cloned());
    (!parts.is_empty()).then(|| format!("{what}: {}", parts.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host_core::{
        history::{Cost, Verdict},
        swap::Outcome,
    };

    use super::*;
    use crate::render::examples;

    #[test]
    fn each_swap_has_its_row_its_phases_and_its_reason() {
        let aborted = SwapReport {
            verdict: Verdict::Swap { outcome: Outcome::Aborted { why: "too slow".to_owned() } },
            phases: vec![],
            notes: vec![],
            cost: Some(Cost {
                batches: 2,
                events: 5,
                checkpoint_age: Duration::from_secs(3),
                why: "its snapshot trapped".to_owned(),
            }),
            ..examples::report()
        };
        let text = history(&[examples::report(), aborted]);
        for wanted in [
            "SWAP  BEGAN (UTC)              WORKLOAD  WHAT    FROM   TO     OUTCOME    PAUSE   TOOK",
            "3     2023-11-14 22:13:20.000  counter   deploy  1.0.0  1.1.0  permanent  180 µs  10.2 s",
            "swap 3: quiesce 12.0 µs · snapshot",
            "swap 3: aborted: too slow\n  lost: what 5 events in 2 batches did",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
        }
        assert_eq!(history(&[]), "nothing was done yet");
    }
}
