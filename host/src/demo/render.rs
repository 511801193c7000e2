//! What the demo prints: tables for people, one document for programs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this module renders for people and programs")]

use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use hdrhistogram::Histogram;
use host_core::swap::PhaseName;

use super::{
    export::Exported,
    plan::Wanted,
    results::{Results, Seen, SwapResult},
};
use crate::cli::Output;

/// Swaps shown one by one; of more, only the sums.
const ROWS_LIMIT: usize = 12;

/// Prints what the demo found out.
pub(crate) fn results(results: &Results, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(results)?);
        return Ok(());
    }
    println!("{}\n", totals(results));
    if results.swaps.len() <= ROWS_LIMIT {
        println!("{}\n\n{}\n", swaps(&results.swaps), phases(&results.swaps));
        for swap in &results.swaps {
            if let Some(why) = &swap.why {
                println!("swap {}, {}: {}", swap.number, swap.outcome, shortened(why));
            }
        }
    } else {
        println!("{}\n", sums(&results.swaps)?);
    }
    println!(
        "pause: the host's own figure, from the batch boundary to the moment a version serves again\n\
         clients: lines due within 50 ms of the pause, each from the moment it was due to its answer; before: in steady time\n"
    );
    for problem in &results.problems {
        println!("✗ {problem}");
    }
    if results.passed {
        println!(
            "✓ {} lines, {} swaps: nothing lost, dropped or out of order",
            grouped(results.lines.sent),
            results.swaps.len()
        );
    }
    Ok(())
}

/// Says that it was ended from outside.
pub(crate) fn interrupted(how: &str) {
    eprintln!("{how}: the demo's host is ended and its data removed");
}

/// Says what was written and what to do with it.
pub(crate) fn exported(folder: &Path, exported: &[Exported], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let document = serde_json::json!({ "schema_version": 1, "folder": folder, "files": exported });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["file", "what it shows"]);
    for one in exported.iter().filter(|one| !one.fault) {
        table.add_row([one.file.display().to_string(), one.about.to_owned()]);
    }
    let faults = exported.iter().filter(|one| one.fault).count();
    let folder = folder.display();
    println!("{table}\n\nand {faults} that fail, each in its own way, in {folder}/faults\n");
    println!(
        "Now start a host in one terminal:\n\n    host run\n\nand in another:\n\n    \
         host deploy {folder}/counter-1.0.0.wasm --name counter --version 1.0.0 --listen tcp://127.0.0.1:7000\n    \
         nc 127.0.0.1 7000        # say: incr\n    \
         host deploy {folder}/counter-1.1.0.wasm --name counter --version 1.1.0\n    \
         host rollback counter"
    );
    Ok(())
}

fn totals(results: &Results) -> Table {
    let (connections, lines) = (&results.connections, &results.lines);
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let row = |name: &str, cells: &[(&str, u64)]| {
        let cells: Vec<String> = cells.iter().map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
        [name.to_owned(), cells.join(" · ")]
    };
    table.add_row(row("connections", &[("open", connections.open), ("dropped", connections.dropped)]));
    let mut cells = vec![
        ("sent", lines.sent),
        ("answered", lines.answered),
        ("lost", lines.lost),
        ("out of order", lines.out_of_order),
        ("doubled", lines.doubled),
    ];
    if lines.wrong > 0 {
        cells.push(("answered with something else", lines.wrong));
    }
    table.add_row(row("lines", &cells));
    table.add_row(["workload's total".to_owned(), grouped(results.total)]);
    table.add_row([
        "load".to_owned(),
        format!(
            "{} lines/s, state of {} rows, {} swaps in {}",
            grouped(results.lines_per_second),
            grouped(results.rows),
            results.swaps.len(),
            length(results.took_ms * 1_000)
        ),
    ]);
    table
}

/// One row per swap.
fn swaps(swaps: &[SwapResult]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "swap",
        "",
        "outcome",
        "state",
        "pause",
        "clients p50 / p99 / max",
        "before p50 / p99",
    ]);
    for swap in swaps {
        let mark = if swap.as_wanted { "" } else { "✗ " };
        let (during, before) = (&swap.during, &swap.before);
        table.add_row([
            right(swap.number.to_string()),
            Cell::new(&swap.what),
            Cell::new(format!("{mark}{}", swap.outcome)),
            right(swap.state_bytes.map_or_else(|| "–".to_owned(), bytes)),
            right(swap.pause_us.map_or_else(|| "–".to_owned(), length)),
            right(seen(during, &[during.p50_us, during.p99_us, during.max_us])),
            right(seen(before, &[before.p50_us, before.p99_us])),
        ]);
    }
    table
}

/// One row per swap, one column per phase that any of them passed.
fn phases(swaps: &[SwapResult]) -> Table {
    let passed = |name: &str| swaps.iter().any(|swap| swap.phases.iter().any(|phase| phase.phase == name));
    let columns: Vec<&str> = PhaseName::ALL.map(PhaseName::as_str).into_iter().filter(|name| passed(name)).collect();
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["swap"].iter().chain(&columns));
    for swap in swaps {
        let took = |name: &&str| {
            let phase = swap.phases.iter().find(|phase| phase.phase == *name);
            right(phase.map_or_else(|| "–".to_owned(), |phase| length(phase.took_us)))
        };
        table.add_row([right(swap.number.to_string())].into_iter().chain(columns.iter().map(took)));
    }
    table
}

/// Latencies; of no line there is none.
fn seen(seen: &Seen, figures: &[u64]) -> String {
    if seen.lines == 0 {
        return "–".to_owned();
    }
    let figures: Vec<String> = figures.iter().map(|us| length(*us)).collect();
    figures.join(" / ")
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// One row per kind of swap.
fn sums(swaps: &[SwapResult]) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header([
        "swaps",
        "count",
        "pause p50 / p99 / max",
        "clients' worst p99, max",
        "above p99 before: p50 / max",
    ]);
    for (name, wanted) in
        [("upgrades", Wanted::Upgrade), ("rollbacks", Wanted::Rollback), ("failures on purpose", Wanted::Failure)]
    {
        let these: Vec<&SwapResult> = swaps.iter().filter(|swap| swap.wanted == wanted).collect();
        if these.is_empty() {
            continue;
        }
        let pauses = histogram(these.iter().filter_map(|swap| swap.pause_us))?;
        let excess = histogram(these.iter().map(|swap| swap.during.p99_us.saturating_sub(swap.before.p99_us)))?;
        let worst = |figure: fn(&SwapResult) -> u64| these.iter().map(|swap| figure(swap)).max().unwrap_or_default();
        table.add_row([
            name.to_owned(),
            grouped(these.len() as u64),
            format!(
                "{} / {} / {}",
                length(pauses.value_at_quantile(0.5)),
                length(pauses.value_at_quantile(0.99)),
                length(pauses.max())
            ),
            format!("{}, {}", length(worst(|swap| swap.during.p99_us)), length(worst(|swap| swap.during.max_us))),
            format!("{} / {}", length(excess.value_at_quantile(0.5)), length(excess.max())),
        ]);
    }
    Ok(table)
}

fn histogram(figures: impl Iterator<Item = u64>) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for figure in figures {
        histogram.record(figure)?;
    }
    Ok(histogram)
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A length of time with the unit that suits it.
pub(crate) fn length(us: u64) -> String {
    let parts = |unit: u64| (us / unit, us % unit * 10 / unit);
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => {
            let (whole, tenths) = parts(1_000);
            if whole < 100 { format!("{whole}.{tenths} ms") } else { format!("{whole} ms") }
        }
        _ => {
            let (whole, tenths) = parts(1_000_000);
            format!("{whole}.{tenths} s")
        }
    }
}

/// A size with the unit that suits it.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Its first line, and not all of a long one.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 160;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= LIMIT { line.to_owned() } else { line.chars().take(LIMIT).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (us, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.0 ms"),
            (12_345, "12.3 ms"),
            (250_999, "250 ms"),
            (1_250_000, "1.2 s"),
        ] {
            assert_eq!(length(us), text);
        }
        for (number, text) in [(0_u64, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(shortened(&"x".repeat(500)).chars().count(), 161);
    }
}
