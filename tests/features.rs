//! docs/FEATURES.md is true: it has each requirement, and each test that it names is there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// How many requirements there are of each kind.
const ROWS: [(char, usize); 4] = [('C', 8), ('E', 16), ('M', 22), ('B', 11)];

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The table's rows, each as its cells.
fn rows() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(repository().join("docs/FEATURES.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| id");
    page.lines().filter(is_row).map(cells).collect()
}

/// Every test function of the workspace, by its name.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["host", "guest-sdk", "example-workloads", "tests"].map(|part| repository().join(part)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

/// The functions that stand below a `#[test]`, or take strategies as a property does.
fn tests_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut is_test, mut in_properties) = (false, false);
    for line in source.lines().map(str::trim) {
        in_properties |= line.starts_with("proptest!");
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        if let Some((name, _)) = function.and_then(|rest| rest.split_once('(')) {
            if is_test || in_properties {
                names.push(name.to_owned());
            }
            is_test = false;
        }
    }
    names
}

#[test]
fn every_requirement_has_its_row_and_every_test_named_is_there() {
    let (rows, tests) = (rows(), tests());
    let ids: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let wanted = ROWS.iter().flat_map(|(kind, count)| (1..=*count).map(move |number| format!("{kind}{number}")));
    assert_eq!(ids, wanted.collect::<Vec<_>>());
    for row in &rows {
        let [id, _, status, _, named] = row.as_slice() else { panic!("{row:?} has five cells") };
        assert!(["✓", "part", "later"].iter().any(|known| status.starts_with(known)), "{id}: {status}");
        // What stands between backticks and is no command is a test.
        let named: Vec<_> = named.split('`').skip(1).step_by(2).filter(|text| !text.contains(' ')).collect();
        for test in &named {
            assert!(tests.contains(*test), "{id} names {test}, which is no test");
        }
        assert!(!named.is_empty() || !status.starts_with('✓') || ["C8", "E9"].contains(&&**id), "{id} shows nothing");
    }
}
