//! The pause of a swap at each size of guest state: the host's own figure and what the clients saw, by the demo under load.
//!
//! `cargo bench --bench pause` runs all sizes; `-- 1000` runs one; `SWAPS=300` asks for more swaps of each.
//!
//! The clients are open-loop: a line's latency counts from the moment it was due, so a pause is seen by every line that
//! was due in it. The clients' excess is the p99 of lines due around the pause less the p99 in steady time before.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::indexing_slicing, reason = "of a JSON document: what is missing is null")]

use std::process::{Command, ExitCode};

use serde_json::Value;

/// Rows of guest state.
const ROWS: [u32; 4] = [0, 1_000, 10_000, 100_000];

fn main() -> ExitCode {
    let wanted: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let swaps = std::env::var("SWAPS").unwrap_or_else(|_| "99".to_owned());
    println!("pause of a swap, 500 connections, {swaps} swaps of each size, every third failing on purpose\n");
    let mut failed = false;
    for rows in ROWS.into_iter().filter(|rows| wanted.is_empty() || wanted.contains(rows)) {
        match measure(rows, &swaps) {
            Some(document) => print(rows, &document),
            None => failed = true,
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(rows: u32, swaps: &str) -> Option<Value> {
    let rows = rows.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["demo", "--connections", "500", "--rate", "20000", "--rows", &rows, "--swaps", swaps])
        .args(["--steady", "150ms", "--output", "json"])
        .output()
        .ok()?;
    let document = serde_json::from_slice(&output.stdout).ok()?;
    if !output.status.success() {
        println!("{rows} rows: the demo failed\n{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(document)
}

fn print(rows: u32, document: &Value) {
    let swaps = document["swaps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for outcome in ["upgrades", "rollbacks", "failed"] {
        let chosen: Vec<_> = swaps.iter().filter(|swap| kind(swap) == outcome).collect();
        let pauses = sorted(chosen.iter().map(|swap| swap["pause_us"].as_f64()));
        let excess = sorted(
            chosen.iter().map(|swap| Some(swap["during"]["p99_us"].as_f64()? - swap["before"]["p99_us"].as_f64()?)),
        );
        println!(
            "{rows:>7} rows  {outcome:<9} {:>4} swaps   host p50 {:>8.3} p99 {:>8.3} max {:>8.3} ms   clients' excess p50 {:>8.3} p99 {:>8.3} ms",
            chosen.len(),
            quantile(&pauses, 0.5),
            quantile(&pauses, 0.99),
            quantile(&pauses, 1.0),
            quantile(&excess, 0.5),
            quantile(&excess, 0.99)
        );
    }
}

fn kind(swap: &Value) -> &'static str {
    match swap["what"].as_str() {
        Some(what) if what.ends_with("to fail") => "failed",
        Some(what) if what.starts_with("rollback") => "rollbacks",
        _ => "upgrades",
    }
}

fn sorted(values: impl Iterator<Item = Option<f64>>) -> Vec<f64> {
    let mut values: Vec<_> = values.flatten().map(|micros| micros / 1e3).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (last as f64 * fraction).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
