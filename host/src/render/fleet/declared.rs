//! What a file declares, against what the fleet has.

use std::fmt::Write as _;

use host_core::id::WorkloadName;
use host_fleet::operator::{Difference, RolloutView, Told};
use serde::Serialize;

use super::{aside, json, result, summary};
use crate::cli::Output;

/// What was begun, before its rollouts are followed.
pub(crate) fn begun(told: &Told, output: Output) {
    if output == Output::Text {
        aside(super::words(told).trim_end());
    }
}

/// What a declaration came to.
pub(crate) fn applied(told: &Told, rollouts: &[RolloutView], output: Output) {
    #[derive(Serialize)]
    struct Applied<'a> {
        #[serde(flatten)]
        told: json::fleet::Answer<'a>,
        rollouts: Vec<json::fleet::Rollout<'a>>,
    }
    let text = || rollouts.iter().map(summary).collect::<Vec<_>>().join("\n");
    let rollouts_too = || Applied {
        told: json::fleet::answer(told),
        rollouts: rollouts.iter().map(json::fleet::Rollout::of).collect(),
    };
    result(output, text, rollouts_too);
}

pub(super) fn words(workloads: &[Difference], others: &[WorkloadName], applied: bool) -> String {
    let mut text = String::new();
    for difference in workloads {
        workload(&mut text, difference, applied);
    }
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(WorkloadName::as_str).collect();
        line(&mut text, format_args!("let be, since the file does not name them: {}", names.join(", ")));
    }
    text
}

fn workload(text: &mut String, difference: &Difference, applied: bool) {
    let Difference { workload, differs, plan, rollout, problem } = difference;
    if differs.is_empty() && problem.is_none() {
        return line(text, format_args!("{workload}: as declared"));
    }
    line(text, format_args!("{workload}"));
    let (mark, word) = if applied { ('+', "begun") } else { ('~', "under way") };
    for differs in differs {
        line(text, format_args!("  {mark} {differs}"));
    }
    if let Some(rollout) = rollout {
        line(text, format_args!("  rollout {rollout} is {word}"));
    }
    for step in plan {
        line(text, format_args!("    {step}"));
    }
    if let Some(problem) = problem {
        line(text, format_args!("  ! {problem}"));
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}
