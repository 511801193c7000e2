//! The pause of a swap beside Erlang/OTP's, at each size of guest state, on the same machine in the same run.
//!
//! Ours is `counter` 1.0.0 to 1.1.0 and back, by the demo; theirs a `gen_server` with the same state, whose `code_change`
//! rewrites every row (`otp/`): suspend, load, `code_change`, resume. Rounds alternate between the two, so that a machine
//! that slows down slows both; what counts is the ratio of the medians.
//!
//! `cargo bench --bench otp` runs all sizes; `-- 1000` runs one; `ROUNDS=9 SWAPS=90` asks for more. Without Erlang it says how
//! to install it, and passes.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::indexing_slicing, reason = "of a JSON document: what is missing is null")]
#![expect(unreachable_pub, reason = "other benches have the same modules")]

#[path = "otp/beam.rs"]
mod beam;
#[path = "otp/figures.rs"]
mod figures;

use std::process::{Command, ExitCode};

use beam::{Beam, Swap, Way};
use figures::Samples;
use serde_json::Value;

/// Rows of state.
const ROWS: [u32; 3] = [1_000, 10_000, 100_000];

/// Servers without rows, for the comparison with as many connections that have an instance each.
const PROCESSES: u32 = 10_000;

/// Swaps that are not measured: the first of a process pays for pages and code that later ones find.
const WARM_UP: usize = 2;

fn main() -> ExitCode {
    let wanted: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (rounds, swaps): (usize, usize) = (number("ROUNDS").unwrap_or(5), number("SWAPS").unwrap_or(30));
    let mut beam = match Beam::start() {
        Ok(beam) => beam,
        Err(why) => {
            println!("skipped, nothing to compare with: {why}");
            return ExitCode::SUCCESS;
        }
    };
    println!(
        "pause of a swap beside Erlang/OTP's: {rounds} rounds in turn, some {swaps} swaps in each; milliseconds\n"
    );
    println!("   rows  way      ours p50     p99   OTP p50     p99   ours/OTP p50   p99   of OTP's: load  code_change");
    for rows in ROWS.into_iter().filter(|rows| wanted.is_empty() || wanted.contains(rows)) {
        if let Err(why) = compare(&mut beam, rows, rounds, swaps) {
            println!("{rows:>7} rows: {why}");
            return ExitCode::FAILURE;
        }
    }
    if wanted.is_empty()
        && let Err(why) = many(&mut beam, swaps)
    {
        println!("{PROCESSES} processes: {why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Erlang's pause where there are many servers: they stand still from the first `suspend` to the last `resume`.
fn many(beam: &mut Beam, swaps: usize) -> Result<(), String> {
    beam.many(PROCESSES)?;
    println!();
    let mut measured = Vec::new();
    for way in Way::BOTH.into_iter().cycle().take(swaps + WARM_UP) {
        measured.push((way, beam.swap(way)?.pause_ms));
    }
    let measured = measured.split_off(WARM_UP);
    for way in Way::BOTH {
        let pauses: Samples = measured.iter().filter(|(went, _)| *went == way).map(|(_, pause_ms)| *pause_ms).collect();
        let (p50, p99, count) = (pauses.median(), pauses.quantile(0.99), pauses.count());
        println!("OTP, {PROCESSES} processes, {:<4}  p50 {p50:>8.3}  p99 {p99:>8.3}   ({count} swaps)", way.name());
    }
    Ok(())
}

fn compare(beam: &mut Beam, rows: u32, rounds: usize, swaps: usize) -> Result<(), String> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.extend(measure_ours(rows, swaps)?);
        theirs.extend(measure_theirs(beam, rows, swaps)?);
    }
    for way in Way::BOTH {
        let ours: Samples = ours.iter().filter(|(went, _)| *went == way).map(|(_, pause_ms)| *pause_ms).collect();
        let swaps = || theirs.iter().filter(|(went, _)| *went == way).map(|(_, swap)| *swap);
        let all: Samples = swaps().map(|swap| swap.pause_ms).collect();
        let load: Samples = swaps().map(|swap| swap.load_ms).collect();
        let change: Samples = swaps().map(|swap| swap.change_ms).collect();
        println!(
            "{rows:>7}  {:<4}  {:>11.3} {:>7.3}  {:>8.3} {:>7.3}   {:>12.2} {:>5.2}   {:>14.3} {:>12.3}   ({} and {} swaps)",
            way.name(),
            ours.median(),
            ours.quantile(0.99),
            all.median(),
            all.quantile(0.99),
            ours.median() / all.median(),
            ours.quantile(0.99) / all.quantile(0.99),
            load.median(),
            change.median(),
            ours.count(),
            all.count(),
        );
    }
    Ok(())
}

/// Our pauses. The connections are few: Erlang's server has none.
fn measure_ours(rows: u32, swaps: usize) -> Result<Vec<(Way, f64)>, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["demo", "--connections", "10", "--rate", "100", "--steady", "20ms", "--output", "json"])
        .args(["--rows", &rows.to_string(), "--swaps", &(swaps + swaps / 2 + WARM_UP).to_string()])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("the demo failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let document: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let swaps = document["swaps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pauses = swaps.iter().skip(WARM_UP).filter_map(|swap| {
        let way = match swap["wanted"].as_str()? {
            "upgrade" => Way::Up,
            "rollback" => Way::Down,
            _ => return None,
        };
        Some((way, swap["pause_us"].as_f64()? / 1e3))
    });
    Ok(pauses.collect())
}

/// Erlang's.
fn measure_theirs(beam: &mut Beam, rows: u32, swaps: usize) -> Result<Vec<(Way, Swap)>, String> {
    beam.single(rows)?;
    let mut measured = Vec::new();
    for way in Way::BOTH.into_iter().cycle().take(swaps + WARM_UP) {
        measured.push((way, beam.swap(way)?));
    }
    Ok(measured.split_off(WARM_UP))
}
