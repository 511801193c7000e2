//! Attacks of a component that is only deployed: each is refused with words, and nothing of it stays.

use super::{Beside, LITTLE_FUEL, bombs, why};
use crate::harness::Done;

#[test]
fn a_component_that_describes_too_much_or_without_end_is_refused() {
    let beside = Beside::start(&["--handle-fuel", LITTLE_FUEL]);
    for (guest, words) in [
        ("describes-too-much", "more data than the 1048576 bytes"),
        ("describe-never-returns", "`describe` did not come to an end within its fuel"),
        ("starts-forever", "its start did not come to an end within its fuel"),
        ("wants-4-gib", "its start ran out of memory"),
        ("many-instances", "can't be compiled"),
        ("many-memories", "can't be compiled"),
        ("many-tables", "can't be compiled"),
        ("large-table", "can't be compiled"),
    ] {
        let why = why(&beside.deploy(guest, guest, ""));
        assert!(why.contains(words), "{guest}: {why}");
    }
    assert_eq!(beside.host.json(&["status"])["workloads"].as_array().unwrap().len(), 1, "nothing of them stays");
    beside.end();
}

#[test]
fn a_component_that_is_too_hard_to_compile_is_refused_before_it_is_compiled() {
    let beside = Beside::start(&[]);
    for (name, bytes, words) in [
        ("many-functions", bombs::functions(200_001), "more than 200000 functions"),
        ("large-function", bombs::large_function(2 << 20), "more than the limit of 1048576"),
        ("loops-over-locals", bombs::loops_over_locals(50_000, 100_000), "too many locals for its branches"),
        ("table-of-branches", bombs::table_of_branches(20_000, 900_000), "too many locals for its branches"),
        ("wide-calls", bombs::wide_calls(1_000, 300_000), "too many locals for its branches and calls"),
        ("many-modules", bombs::modules(300), "more than 256 modules"),
    ] {
        let why = why(&deploy(&beside, name, &bytes));
        assert!(why.contains("too hard to compile") && why.contains(words), "{name}: {why}");
    }
    beside.end();
}

#[test]
fn a_component_beyond_the_size_limit_is_refused_before_it_is_read() {
    let beside = Beside::start(&[]);
    let file = beside.host.file("huge.wasm", b"");
    // Sparse: it takes no room on the disk.
    std::fs::File::options().write(true).open(&file).unwrap().set_len((64 << 20) + 1).unwrap();
    let done = beside.host.deploy(&file, "1.0.0", &["--name", "huge", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(format!("{done:?}").contains("64 MiB"), "{done:?}");
    beside.end();
}

#[test]
fn data_that_fills_a_component_to_its_limit_costs_nobody_anything() {
    let beside = Beside::start(&[]);
    let why = why(&deploy(&beside, "data", &bombs::data(60 << 20)));
    assert!(why.contains("it is no workload"), "{why}");
    beside.end();
}

fn deploy(beside: &Beside, name: &str, bytes: &[u8]) -> Done {
    let file = beside.host.file(&format!("{name}.wasm"), bytes);
    beside.host.deploy(&file, "1.0.0", &["--name", name, "--listen", "tcp://127.0.0.1:0"])
}
