//! Plans and reports in words.

use std::{fmt::Write as _, time::Duration};

use host_core::{
    comparison::Comparison,
    history::{Check, Cost, StateCarried, SwapKind, SwapReport, Verdict},
    id::WorkloadName,
    plan::{Change, Direction, Plan, StatePath, SwapPlan, WayBack},
    status::HostStatus,
    swap::{Outcome, PhaseName, PhaseTime, RollbackWay},
};
use semver::Version;

use super::{
    lists::fields,
    units::{bytes, counted, length},
};

/// What a deploy, rollback or operation did.
pub(super) fn report(report: &SwapReport) -> String {
    let mut text = headline(report);
    text.push_str(&fields(&after(report)));
    text.push_str(&fields(&figures(report)));
    text
}

/// What a deploy would do.
pub(super) fn plan(report: &SwapReport) -> String {
    if report.verdict.why().is_some() {
        return self::report(report);
    }
    let mut text = match (&report.plan, &report.from) {
        (Some(Plan::Swap(plan)), _) => format!("{} {} → {}\n", report.workload, plan.from, report.to),
        (Some(Plan::Nothing), _) => nothing(report),
        (Some(Plan::Start) | None, _) => format!("{} {} would be started\n", report.workload, report.to),
    };
    if let Some(plan) = report.swap_plan() {
        text.push_str(&fields(&planned(plan)));
    }
    text.push_str(&fields(&notes(report)));
    text.push_str("nothing was changed\n");
    text
}

/// How a rehearsal went, and whether the pause would fit. Of one that failed, as far as it came.
pub(super) fn rehearsal(report: &SwapReport, pause_limit: Duration) -> String {
    if matches!(report.verdict, Verdict::Nothing) {
        return nothing(report);
    }
    let (what, _) = step(report);
    let mut text = match report.verdict.why() {
        None => format!("✓ {what} would work, on a copy of the live state\n"),
        Some(why) => format!("✗ {what} would not work: {why}\n"),
    };
    let mut rows = report.swap_plan().map(planned).unwrap_or_default();
    if !report.steps.is_empty() {
        let steps: Vec<String> =
            report.steps.iter().map(|step| format!("{:<12} {:>8}", step.name, length(step.took))).collect();
        rows.push(("time", steps.join("\n")));
    }
    if let Some(state) = &report.state {
        rows.push(("state", carried(state)));
        if let Some(peak) = state.peak_memory_bytes {
            rows.push(("guest memory", format!("{} at most", bytes(peak))));
        }
    }
    if !report.phases.is_empty() {
        let pause = rehearsed_pause(report);
        let fits = if pause <= pause_limit { "fits" } else { "does NOT fit" };
        rows.push(("in the pause", phases(&report.phases)));
        rows.push(("pause", format!("about {} of at most {}: {fits}", length(pause), length(pause_limit))));
    }
    rows.extend(checks(&report.checks));
    rows.extend(notes(report));
    text.push_str(&fields(&rows));
    text.push_str("nothing was changed; ");
    text.push_str(&still(report));
    text
}

/// How long the pause of a rehearsed swap would have been, the wait for a batch to end included.
pub(super) fn rehearsed_pause(report: &SwapReport) -> Duration {
    let paused = |phase: &&PhaseTime| {
        matches!(phase.phase, PhaseName::Quiesce | PhaseName::Snapshot | PhaseName::CodeChange | PhaseName::Switch)
    };
    report.phases.iter().filter(paused).map(|phase| phase.took).sum()
}

/// What taking the last checkpoint's state will cost, before it is done.
pub(super) fn cost_of_checkpoint(workload: &WorkloadName, status: &HostStatus) -> String {
    let Some(status) = status.workloads.iter().find(|status| status.name == *workload) else {
        return format!("note: {workload} is not there yet, so there is no checkpoint to take the state from");
    };
    match &status.checkpoint {
        Some(checkpoint) => {
            let since = status.batches.0.saturating_sub(checkpoint.batches.0);
            format!(
                "note: the state is taken from the checkpoint after batch {}; what {} since did to it is lost",
                checkpoint.batches,
                counted(since, "batch", "batches")
            )
        }
        None => format!("note: {workload} has no checkpoint to take the state from"),
    }
}

/// What was to be done, and the version wanted.
fn step(report: &SwapReport) -> (String, &Version) {
    let SwapReport { workload, to, .. } = report;
    let step = match &report.from {
        Some(from) if from != to => format!("{workload} {from} → {to}"),
        _ => format!("{workload} {to}"),
    };
    (step, to)
}

/// The first line.
fn headline(report: &SwapReport) -> String {
    let ((step, to), workload) = (step(report), &report.workload);
    match &report.verdict {
        Verdict::Nothing => nothing(report),
        Verdict::Refused { why } => format!("✗ {step} was refused: {why}\n"),
        Verdict::Started => format!("✓ {workload} {to} runs\n"),
        Verdict::Rehearsed => format!("✓ {step} would work\n"),
        Verdict::Held => {
            format!(
                "✓ {step}: swapped, and on probation until `host commit {workload}` or `host rollback {workload}`\n"
            )
        }
        Verdict::Replayed => format!("✓ {workload} {to} does again what was done, to the last effect and byte\n"),
        Verdict::Differs { why } => format!("✗ {workload} {to} does something else: {why}\n"),
        // An operation's notes say what was done.
        Verdict::Done if report.kind == SwapKind::Operation && !report.notes.is_empty() => {
            format!("✓ {workload}: {}\n", report.notes.join("; "))
        }
        Verdict::Done => format!("✓ {step}: done\n"),
        Verdict::Swap { outcome } => match outcome {
            Outcome::Permanent => format!("✓ {step}: swapped\n"),
            Outcome::Aborted { why } => format!("✗ {step} was aborted: {why}\n"),
            Outcome::RolledBack { way, .. } if report.running.as_ref() == Some(to) => {
                format!("✓ {step}: rolled back {}\n", by(*way))
            }
            Outcome::RolledBack { why, way } => format!("✗ {step} was rolled back {}: {why}\n", by(*way)),
            Outcome::Stopped { why } => format!("✗ {step} failed, and no way led back: {why}\n"),
        },
    }
}

fn nothing(report: &SwapReport) -> String {
    format!(
        "{} {} runs already, with these bytes, this config and these listeners: nothing to do\n",
        report.workload, report.to
    )
}

const fn by(way: RollbackWay) -> &'static str {
    match way {
        RollbackWay::Downgrade => "without loss",
        RollbackWay::Replay => "without loss, by replay",
        RollbackWay::Unchanged => "session by session; those that changed since the switch were closed",
        RollbackWay::Checkpoint => "to the checkpoint made at the switch",
    }
}

/// What still runs, and what to do, where it did not go as wanted.
fn after(report: &SwapReport) -> Vec<(&'static str, String)> {
    let SwapReport { workload, .. } = report;
    let remedy = match &report.verdict {
        // A refusal's words end with what to do.
        Verdict::Refused { .. } => None,
        Verdict::Swap { outcome: Outcome::Aborted { .. } } => Some(
            "put it right and deploy again; `--dry-run` shows on a copy of the state whether it would work".to_owned(),
        ),
        Verdict::Swap { outcome: Outcome::RolledBack { .. } } if report.running.as_ref() != Some(&report.to) => {
            Some(format!("`host history {workload}` and `host events --filter 'swap.*'` show what happened"))
        }
        Verdict::Swap { outcome: Outcome::Stopped { .. } } => Some(format!(
            "its connections and its last checkpoint are kept: `host start {workload}` tries again, \
             `host rollback {workload} --to V` takes another version"
        )),
        _ => return Vec::new(),
    };
    let mut rows = vec![("still", still(report).trim_end().to_owned())];
    rows.extend(remedy.map(|remedy| ("do", remedy)));
    rows
}

fn still(report: &SwapReport) -> String {
    match &report.running {
        Some(running) => format!("{} {running} is running\n", report.workload),
        None => format!("nothing runs as {}\n", report.workload),
    }
}

/// What was measured.
fn figures(report: &SwapReport) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(pause) = report.pause {
        rows.push(("pause", length(pause)));
    }
    if !report.phases.is_empty() {
        rows.push(("phases", phases(&report.phases)));
    }
    if let Some(state) = &report.state {
        rows.push(("state", carried(state)));
    }
    if let Some(count) = &report.connections {
        rows.push(("connections", format!("{} of {} kept", count.kept, count.before)));
    }
    if let Some(count) = &report.instances {
        let closed = if count.closed == 0 { String::new() } else { format!(", {} had to be closed", count.closed) };
        rows.push((
            "instances",
            format!("{}; migrated {} times ahead, {} in the pause{closed}", count.total, count.ahead, count.in_pause),
        ));
    }
    if let Some(cost) = &report.cost {
        rows.push(("lost", lost(cost)));
    }
    if let Some(comparison) = &report.comparison {
        rows.extend(compared(comparison));
    }
    rows.extend(checks(&report.checks));
    if report.kind != SwapKind::Operation {
        rows.extend(notes(report));
    }
    if report.id.0 != 0 {
        rows.push(("swap", format!("{}, generation {}", report.id, report.generation)));
    }
    rows
}

/// Each phase with its length.
pub(super) fn phases(phases: &[PhaseTime]) -> String {
    let each: Vec<String> =
        phases.iter().map(|phase| format!("{} {}", phase.phase.as_str(), length(phase.took))).collect();
    each.join(" · ")
}

fn carried(state: &StateCarried) -> String {
    let mut text = format!("{} in {}", bytes(state.bytes), state.format);
    if let Some(after) = state.bytes_after {
        // A String takes all that is written.
        let _ = write!(text, ", {} as the new version writes it", bytes(after));
    }
    text
}

/// What was lost.
pub(super) fn lost(cost: &Cost) -> String {
    format!(
        "what {} in {} did to the state (checkpoint {} old): {}",
        counted(cost.events, "event", "events"),
        counted(cost.batches, "batch", "batches"),
        length(cost.checkpoint_age),
        cost.why
    )
}

/// What came of handling the same events twice.
fn compared(comparison: &Comparison) -> Vec<(&'static str, String)> {
    let Comparison { batches, events, effects, differing, examples } = comparison;
    let summary = format!(
        "{} in {}; {differing} of {} differ",
        counted(*events, "event", "events"),
        counted(*batches, "batch", "batches"),
        counted(*effects, "effect", "effects")
    );
    let mut rows = vec![("compared", summary)];
    rows.extend(examples.iter().map(|example| {
        let or_nothing = |what: &Option<String>| what.clone().unwrap_or_else(|| "nothing".to_owned());
        let (expected, found) = (or_nothing(&example.expected), or_nothing(&example.found));
        ("for example", format!("batch {} ({})\n  was  {expected}\n  is   {found}", example.batch, example.events))
    }));
    rows
}

fn checks(checks: &[Check]) -> Option<(&'static str, String)> {
    let line = |check: &Check| format!("{} {} {}", if check.passed { "✓" } else { "✗" }, check.name, check.seen);
    let lines: Vec<String> = checks.iter().map(line).collect();
    (!lines.is_empty()).then(|| ("checks", lines.join("\n")))
}

fn notes(report: &SwapReport) -> Vec<(&'static str, String)> {
    report.notes.iter().map(|note| ("note", note.clone())).collect()
}

/// What a swap's plan says.
fn planned(plan: &SwapPlan) -> Vec<(&'static str, String)> {
    let direction = match plan.direction {
        Direction::Upgrade => "upgrade",
        Direction::Downgrade => "downgrade",
        Direction::Reconfigure => "the same release, set up differently",
    };
    let state = match plan.state {
        StatePath::Same { format } => format!("as it is ({format})"),
        StatePath::Upgrade { from, to } => format!("{from} becomes {to}, by the new version's code-change"),
        StatePath::Downgrade { from, to } => format!("{from} becomes {to}, written so by the running version"),
        StatePath::Checkpoint { from, to } => format!("from the last checkpoint, {from} becomes {to}"),
    };
    let back = match plan.way_back {
        WayBack::Downgrade => "without loss: the new version writes the old format",
        WayBack::Unchanged => {
            "session by session: those that changed since the switch would be closed, by hand only with --allow-loss"
        }
        WayBack::Replay => "by replay: the old version would handle again what came since the switch",
        WayBack::None => "none: the running version does not take the format it hands over; a deploy needs --one-way",
    };
    let mut rows = vec![("direction", direction.to_owned()), ("state goes", state), ("way back", back.to_owned())];
    rows.extend(plan.changes.iter().map(|change| {
        let text = match change {
            Change::Config => "the config".to_owned(),
            Change::Opens { listener } => format!("{listener} opens"),
            Change::Closes { listener } => format!("{listener} closes; its connections stay"),
        };
        ("changes", text)
    }));
    rows
}

#[cfg(test)]
mod tests {
    use host_core::id::SwapId;

    use super::*;
    use crate::render::examples;

    #[test]
    fn a_swap_that_went_well() {
        assert_eq!(
            report(&examples::report()),
            "✓ counter 1.0.0 → 1.1.0: swapped\n\
             \u{20}       pause  180 µs\n\
             \u{20}      phases  quiesce 12.0 µs · snapshot 60.0 µs · code-change 90.0 µs · switch 18.0 µs · probation 10.0 s\n\
             \u{20}       state  1.5 KiB in schema 1, 2.0 KiB as the new version writes it\n\
             \u{20} connections  500 of 500 kept\n\
             \u{20}      checks  ✓ health ok\n\
             \u{20}        note  a note\n\
             \u{20}        swap  3, generation 2\n"
        );
    }

    #[track_caller]
    fn check(verdict: Verdict, running: Option<&str>, wanted: &[&str]) {
        let running = running.map(|version| version.parse().expect("semver"));
        let text = report(&SwapReport { verdict, running, ..examples::report() });
        for wanted in wanted {
            assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
        }
    }

    #[test]
    fn what_went_wrong_says_what_still_runs_and_what_to_do() {
        let why = || "code-change: no room".to_owned();
        let swap = |outcome| Verdict::Swap { outcome };
        check(
            swap(Outcome::Aborted { why: why() }),
            Some("1.0.0"),
            &["✗ counter 1.0.0 → 1.1.0 was aborted: code-change: no room", "counter 1.0.0 is running", "--dry-run"],
        );
        let rolled_back = || swap(Outcome::RolledBack { why: why(), way: RollbackWay::Checkpoint });
        check(
            rolled_back(),
            Some("1.0.0"),
            &["was rolled back to the checkpoint", "counter 1.0.0 is running", "host history counter"],
        );
        check(rolled_back(), Some("1.1.0"), &["✓ counter 1.0.0 → 1.1.0: rolled back to the checkpoint"]);
        check(
            swap(Outcome::Stopped { why: why() }),
            None,
            &["no way led back", "nothing runs as counter", "host start counter"],
        );
        check(Verdict::Refused { why: why() }, Some("1.0.0"), &["was refused", "counter 1.0.0 is running"]);
        check(Verdict::Nothing, Some("1.1.0"), &["counter 1.1.0 runs already"]);
    }

    #[test]
    fn a_rehearsal_tells_the_plan_the_times_the_sizes_and_whether_it_fits() {
        let rehearsed = SwapReport {
            verdict: Verdict::Rehearsed,
            running: Some("1.0.0".parse().expect("semver")),
            pause: None,
            ..examples::report()
        };
        let text = rehearsal(&rehearsed, Duration::from_secs(5));
        for wanted in [
            "counter 1.0.0 → 1.1.0 would work",
            "schema 1 becomes schema 2",
            "without loss",
            "tcp://127.0.0.1:7001 opens",
            "compile",
            "code-change 90.0 µs · switch",
            "1.5 KiB in schema 1, 2.0 KiB as",
            "3.0 MiB at most",
            "about 180 µs of at most 5.00 s: fits",
            "counter 1.0.0 is running",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
        }
        let why = "the pause would take longer".to_owned();
        let refused = SwapReport { verdict: Verdict::Refused { why }, ..rehearsed };
        let text = rehearsal(&refused, Duration::from_micros(100));
        assert!(text.contains("✗ counter 1.0.0 → 1.1.0 would not work: the pause would take longer"), "{text}");
        assert!(text.contains("does NOT fit") && text.contains("3.0 MiB at most"), "{text}");
    }

    #[test]
    fn an_operation_says_what_was_done() {
        let notes = vec!["stopped; its state is kept".to_owned()];
        let stopped = SwapReport {
            id: SwapId(0),
            verdict: Verdict::Done,
            notes,
            ..SwapReport::blank(
                "counter".parse().expect("a name"),
                examples::report().to,
                examples::report().digest,
                examples::report().began,
            )
        };
        assert_eq!(report(&stopped), "✓ counter: stopped; its state is kept\n");
    }

    #[test]
    fn a_plan_says_that_nothing_was_changed() {
        let text = plan(&SwapReport { verdict: Verdict::Done, ..examples::report() });
        assert!(text.contains("upgrade") && text.ends_with("nothing was changed\n"), "{text}");
    }

    #[test]
    fn the_cost_of_a_checkpoint_is_told_before() {
        let text = cost_of_checkpoint(&"counter".parse().expect("a name"), &examples::host_status());
        assert!(text.contains("after batch 300; what 50 batches since did"), "{text}");
    }
}
