//! What a soak prints.
#![expect(clippy::print_stdout, reason = "this module renders for people and programs")]

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

use super::figures::Results;
use crate::{
    cli::Output,
    demo::{
        render::{bytes, grouped, length},
        results::Seen,
    },
};

/// Prints what a soak found out.
pub(super) fn results(results: &Results, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(results)?);
        return Ok(());
    }
    println!("{}\n\n{}\n", totals(results), outcomes(results));
    for problem in &results.problems {
        println!("✗ {problem}");
    }
    if results.passed {
        println!(
            "✓ seed {}: {} lines over {} rounds, {} kills: nothing lost, doubled or out of order but what a kill may take",
            results.seed,
            grouped(results.lines.answered),
            results.rounds,
            results.kills
        );
    } else {
        println!("✗ seed {}: run it again with --seed {}", results.seed, results.seed);
    }
    Ok(())
}

fn totals(results: &Results) -> Table {
    let lines = &results.lines;
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.add_row(["time".to_owned(), format!("{} in {} rounds", length(results.took_ms * 1_000), results.rounds)]);
    table.add_row([
        "lines".to_owned(),
        format!(
            "{} sent · {} answered · {} reminders · {} cut off with their connection",
            grouped(lines.sent),
            grouped(lines.answered),
            grouped(lines.reminded),
            grouped(lines.cut_off)
        ),
    ]);
    table.add_row(["violations".to_owned(), grouped(results.violations)]);
    table.add_row([
        "kills".to_owned(),
        format!(
            "{}; {} answered lines lost with what followed the last checkpoint, at most {} old",
            results.kills,
            grouped(lines.lost_to_kills),
            length(results.oldest_checkpoint_ms * 1_000)
        ),
    ]);
    table.add_row(["SIGTERM".to_owned(), results.terminations.to_string()]);
    table.add_row(["started again in".to_owned(), seen(&results.starts)]);
    table.add_row(["pauses".to_owned(), seen(&results.pauses)]);
    table.add_row(["latency, nothing else going on".to_owned(), seen(&results.steady)]);
    table.add_row(["latency while something is done".to_owned(), seen(&results.around_acts)]);
    table.add_row(["memory of the host".to_owned(), memory(results)]);
    table
}

fn outcomes(results: &Results) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["act, end", "times"]);
    for (what, times) in &results.outcomes {
        table.add_row([what.clone(), grouped(*times)]);
    }
    table
}

fn seen(seen: &Seen) -> String {
    if seen.lines == 0 {
        return "–".to_owned();
    }
    let figures = [seen.p50_us, seen.p99_us, seen.max_us].map(length);
    format!("{} (p50 / p99 / max of {})", figures.join(" / "), grouped(seen.lines))
}

fn memory(results: &Results) -> String {
    let resident = || results.memory.iter().map(|sample| sample.resident_bytes);
    let (Some(first), Some(last), Some(most)) = (resident().next(), resident().next_back(), resident().max()) else {
        return "–".to_owned();
    };
    format!("{} after the first round, {} after the last, {} at most", bytes(first), bytes(last), bytes(most))
}
