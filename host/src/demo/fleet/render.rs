//! The tables at the end.

use comfy_table::{Table, presets};

use super::Results;
use crate::{cli::Output, render};

pub(super) fn results(results: Results, output: Output) {
    match output {
        Output::Json => render::document(&results),
        Output::Text => render::raw(words(&results).as_bytes()),
    }
}

fn words(results: &Results) -> String {
    let mut rollouts = Table::new();
    rollouts.load_style(presets::NOTHING).set_header(["ROLLOUT", "RESULT", "TOOK"]);
    for rollout in &results.rollouts {
        rollouts.add_row([rollout.what.clone(), rollout.result.clone(), format!("{} ms", rollout.took_ms)]);
    }
    let mut hosts = Table::new();
    hosts.load_style(presets::NOTHING).set_header([
        "HOST",
        "RUNS",
        "CONNECTIONS KEPT",
        "LINES",
        "LOST",
        "DOUBLED",
        "OUT OF ORDER",
        "LONGEST PAUSE",
    ]);
    for host in &results.hosts {
        let pause = host
            .longest_pause_us
            .map_or_else(|| "-".to_owned(), |us| format!("{}.{:02} ms", us / 1000, us % 1000 / 10));
        let name = if host.killed { format!("{} (killed on purpose)", host.host) } else { host.host.clone() };
        hosts.add_row([
            name,
            host.version.clone(),
            format!("{} of {}", host.kept, host.connections),
            host.lines.answered.to_string(),
            host.lines.lost.to_string(),
            host.lines.doubled.to_string(),
            host.lines.out_of_order.to_string(),
            pause,
        ]);
    }
    let verdict = if results.passed { "nothing was lost" } else { "NOT as it should be" };
    let problems: String = results.problems.iter().map(|problem| format!("  {problem}\n")).collect();
    format!("\n{}\n\n{}\n\n{verdict}\n{problems}", trimmed(&rollouts), trimmed(&hosts))
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
}
