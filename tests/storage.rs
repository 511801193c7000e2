//! What is on disk is damaged, or there is no room for more: what runs goes on, and what can't is told in words.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use crate::harness::{Host, Traffic};

/// The files in a folder whose names end so, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    files.sort();
    files
}

/// Puts a file with other content in a file's place. The file itself may be shared with other tests.
fn replace(path: &Path, bytes: &[u8]) {
    let other = path.with_extension("other");
    fs::write(&other, bytes).unwrap();
    fs::rename(other, path).unwrap();
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    replace(path, &bytes);
}

/// Cuts off the end of a file.
fn cut(path: &Path) {
    let whole = fs::read(path).unwrap();
    replace(path, &whole[..whole.len() - 7]);
}

/// The stored component of a version.
fn artifact(host: &Host, version: &str) -> PathBuf {
    let versions = host.json(&["versions", "counter"]);
    let stored = versions["versions"].as_array().unwrap().iter().find(|stored| stored["version"] == version).unwrap();
    host.data().join("artifacts").join(format!("{}.wasm", stored["digest"].as_str().unwrap()))
}

fn checkpoints(host: &Host, name: &str) -> PathBuf {
    host.data().join("workloads").join(name).join("checkpoints")
}

fn checkpointed(host: &Host) {
    host.eventually("everything is checkpointed", || {
        let workload = host.workload("counter");
        workload["checkpoint"]["batches"] == workload["batches"]
    });
}

#[test]
fn a_damaged_component_is_not_gone_back_to_until_the_same_bytes_are_deployed_again() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 4, 0);
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
    flip(&artifact(&host, "1.0.0"));
    let done = host.cli(&["rollback", "counter", "--output", "json"]);
    assert_eq!(done.code, 1, "{done:?}");
    let report = done.json()["report"].clone();
    let why = report["why"].as_str().unwrap();
    assert!(why.contains("has changed since") && why.contains("deploy it again"), "{why}");
    assert_eq!((&report["verdict"], &report["running"]), (&"refused".into(), &"1.1.0".into()), "{report}");

    let done = host.deploy(&host.counter("1.0.0"), "1.0.0", &["--downgrade"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    for version in ["1.1.0", "1.0.0"] {
        assert_eq!(host.cli(&["rollback", "counter"]).code, 0, "to {version}: {}", host.log());
        assert_eq!(host.workload("counter")["version"], version);
    }
    traffic.stop();
}

#[test]
fn a_host_that_finds_its_component_damaged_shows_that_and_runs_it_again_when_it_is_healed() {
    let mut host = Host::with_counter();
    let other = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--name", "other", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    let damaged = artifact(&host, "1.0.0");
    assert_eq!(host.terminate(), 0);
    flip(&damaged);
    host.run();
    let workload = host.workload("counter");
    assert_eq!(workload["state"], "failed", "{workload}");
    let why = workload["why"].as_str().unwrap();
    assert!(why.contains("has changed since") && why.contains("deploy it again"), "{why}");
    assert_eq!(host.connect_to("other").ask("incr"), "1.1.0 1 1", "the others run");

    // The deploy itself has nothing to swap, but the bytes are whole again.
    let done = host.deploy(&host.counter("1.0.0"), "1.0.0", &[]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.json()["report"]["why"].as_str().unwrap().contains("host start counter"), "{done:?}");
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    assert_eq!(host.connect().ask("incr"), "1.0.0 2", "nothing was lost");
}

#[test]
fn damaged_compiled_code_is_compiled_again() {
    let mut host = Host::with_counter();
    let digest = artifact(&host, "1.0.0").file_stem().unwrap().to_str().unwrap().to_owned();
    let kept = host.data().join("compiled").join(format!("{digest}.code"));
    let warnings = |host: &Host| host.log().matches("kept code is not used; compiling anew").count();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    assert_eq!(warnings(&host), 0);
    for (total, damage) in [(2, flip as fn(&Path)), (3, cut)] {
        assert_eq!(host.terminate(), 0);
        let whole = fs::read(&kept).unwrap();
        damage(&kept);
        host.run();
        assert_eq!(host.connect().ask("incr"), format!("1.0.0 {total}"));
        assert_eq!(warnings(&host), total - 1, "{}", host.log());
        assert_eq!(fs::read(&kept).unwrap().len(), whole.len(), "kept for the next time");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    the_checkpoint_before_is_used(flip, "its checksum is wrong");
}

#[test]
fn a_checkpoint_that_is_cut_short_is_passed_over_for_the_one_before() {
    the_checkpoint_before_is_used(cut, "it is cut short");
}

#[track_caller]
fn the_checkpoint_before_is_used(damage: impl Fn(&Path), words: &str) {
    let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
    host.start_counter();
    let mut client = host.connect();
    for total in 1..=3 {
        assert_eq!(client.ask("incr"), format!("1.0.0 {total}"));
        checkpointed(&host);
    }
    host.kill();
    let folder = checkpoints(&host, "counter");
    let newest = files(&folder, ".ckpt").pop().unwrap();
    damage(&newest);
    host.run();
    assert_eq!(host.connect().ask("incr"), "1.0.0 3", "the third was in the damaged one");
    let told = host.events("checkpoint.damaged");
    assert!(told[0]["message"].as_str().unwrap().contains(words), "{told:?}");
    assert!(newest.with_extension("damaged").exists(), "it is kept for whoever wants to look");
    let health = host.health("counter");
    assert_eq!(health["status"], "degraded", "{health}");
    let held =
        health["details"].as_array().unwrap().iter().find(|detail| detail["name"] == "checkpoint-damaged").unwrap();
    assert!(held["value"].as_str().unwrap().contains(words), "{health}");
}

#[test]
fn without_a_whole_checkpoint_a_workload_is_shown_as_failed_and_the_others_run() {
    let mut host = Host::with_counter();
    let other = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--name", "other", "--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert_eq!(host.terminate(), 0);
    files(&checkpoints(&host, "counter"), ".ckpt").iter().for_each(|path| flip(path));
    host.run();
    assert_eq!(host.cli(&["status", "counter"]).code, 4);
    let why = host.workload("counter")["why"].as_str().unwrap().to_owned();
    for words in ["no whole checkpoint of generation 1 is on disk", "its checksum is wrong", "host start counter"] {
        assert!(why.contains(words), "`{words}` is not in `{why}`");
    }
    assert_eq!(host.connect_to("other").ask("incr"), "1.1.0 1 1");
    assert_eq!(host.cli(&["start", "counter"]).code, 1, "trying again does not help");
    // Its state is lost; its place can be had again.
    assert_eq!(host.cli(&["remove", "counter"]).code, 0, "{}", host.log());
    host.start_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
}

#[test]
fn a_port_that_is_taken_refuses_a_start_and_a_swap_and_nothing_is_lost() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 2, 0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    for name in ["counter", "another"] {
        let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &["--name", name, "--listen", &address]);
        assert_eq!(done.code, 1, "{done:?}");
        let why = done.json()["report"]["why"].to_string();
        assert!(why.contains(&format!("can't listen on {address}")) && why.contains("--listen"), "{why}");
    }
    assert_eq!(host.workload("counter")["version"], "1.0.0");
    assert_eq!(host.cli(&["status", "another"]).code, 1, "it never was");
    traffic.stop();
}

#[test]
fn a_port_that_is_taken_when_the_host_starts_again_fails_that_workload_until_it_is_free() {
    let mut host = Host::with_counter();
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
    let address = host.address();
    assert_eq!(host.terminate(), 0);
    let taken = TcpListener::bind(address).unwrap();
    host.run();
    let why = host.workload("counter")["why"].as_str().unwrap().to_owned();
    assert!(why.contains(&format!("can't listen on tcp://{address}")), "{why}");
    drop(taken);
    assert_eq!(host.cli(&["start", "counter"]).code, 0, "{}", host.log());
    assert_eq!(host.connect().ask("incr"), "1.0.0 2");
}

/// Full disks: the system's limit on the size of files is one that a test can set and lift for a process of its own.
#[cfg(target_os = "linux")]
mod full {
    use super::*;

    #[test]
    fn a_disk_that_is_full_while_preparing_refuses_the_deploy_and_nothing_is_lost() {
        let host = Host::with_counter();
        let traffic = Traffic::start(host.address(), 4, 0);
        let next = host.counter("1.1.0");
        host.limit_file_size(Some(64 << 10));
        let done = host.deploy(&next, "1.1.0", &[]);
        assert_eq!(done.code, 1, "{done:?}");
        let what = done.json()["error"]["what"].as_str().unwrap().to_owned();
        assert!(what.contains("no room left on the disk"), "{what}");
        assert_eq!(host.workload("counter")["version"], "1.0.0");
        host.limit_file_size(None);
        let done = host.deploy(&next, "1.1.0", &[]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        traffic.stop();
        let staged = files(&host.data().join("artifacts"), ".tmp");
        assert!(staged.is_empty(), "nothing is left behind: {staged:?}");
    }

    #[test]
    fn a_disk_that_is_full_when_the_switch_is_recorded_rolls_back_and_nothing_is_lost() {
        let mut host = Host::start_with(&["--checkpoint-every", "10m"], &[]);
        host.start_counter();
        let traffic = Traffic::start(host.address(), 4, 0);
        let slow = host.fault("code-change-slow");
        let config = host.file("slow.toml", b"burn = 3000000000\n");
        let arguments = ["--timeout", "2m", "--config", config.to_str().unwrap()];
        let deploy = host.begin_deploy(&slow, "1.0.1", &arguments);
        host.until_paused();
        host.limit_file_size(Some(1));
        let done = deploy.end();
        assert_eq!(done.code, 3, "{done:?}\n{}", host.log());
        let report = done.json()["report"].clone();
        let why = report["why"].as_str().unwrap();
        assert!(why.contains("the switch could not be recorded on disk"), "{why}");
        assert_eq!((&report["way"], &report["running"]), (&"downgrade".into(), &"1.0.0".into()), "{report}");
        assert!(report["cost"].is_null(), "{report}");

        // It serves while nothing can be written, and everything works again when something can.
        assert_eq!(host.workload("counter")["version"], "1.0.0");
        host.limit_file_size(None);
        let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
        let total = traffic.stop();
        assert_eq!(host.terminate(), 0);
        host.run();
        assert_eq!(host.connect().ask("incr"), format!("1.1.0 {} 1", total + 1));
    }

    #[test]
    fn a_host_killed_while_its_disk_is_full_starts_again_with_the_old_release() {
        let mut host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
        host.start_counter();
        assert_eq!(host.connect().ask("incr"), "1.0.0 1");
        checkpointed(&host);
        let config = host.file("slow.toml", b"burn = 3000000000\n");
        let arguments = ["--timeout", "2m", "--config", config.to_str().unwrap()];
        let deploy = host.begin_deploy(&host.fault("code-change-slow"), "1.0.1", &arguments);
        host.until_paused();
        host.limit_file_size(Some(1));
        assert_eq!(deploy.end().code, 3, "{}", host.log());
        host.kill();
        host.run();
        assert_eq!(host.workload("counter")["version"], "1.0.0");
        assert_eq!(host.connect().ask("incr"), "1.0.0 2");
    }

    #[test]
    fn a_checkpoint_that_finds_no_room_degrades_health_until_it_does() {
        let host = Host::start_with(&["--checkpoint-every", "20ms"], &[]);
        host.start_counter();
        let mut client = host.connect();
        host.limit_file_size(Some(1));
        assert_eq!(client.ask("incr"), "1.0.0 1");
        host.eventually("health is degraded", || host.health("counter")["status"] == "degraded");
        let details = host.health("counter")["details"].to_string();
        assert!(details.contains("a checkpoint could not be written"), "{details}");
        assert_eq!(client.ask("incr"), "1.0.0 2");
        host.limit_file_size(None);
        host.eventually("health is good again", || host.health("counter")["status"] == "ok");
        checkpointed(&host);
    }

    #[test]
    fn what_a_full_disk_did_not_take_of_a_swap_is_written_when_there_is_room() {
        let mut host = Host::start_with(&["--checkpoint-every", "10m"], &[]);
        host.start_counter();
        let deploy = host.begin_deploy(&host.counter("1.1.0"), "1.1.0", &["--probation", "3s"]);
        host.eventually("it is on probation", || host.phase() == "probation");
        host.limit_file_size(Some(1));
        let held = |about: &str| {
            let details = host.health("counter")["details"].as_array().unwrap().clone();
            details.iter().any(|detail| detail["name"] == about)
        };
        host.eventually("it is said", || held("history") && held("ledger"));
        assert_eq!(deploy.end().code, 0, "whoever deployed was told all the same");
        host.limit_file_size(None);
        host.eventually("it is written", || !held("history") && !held("ledger"));
        assert_eq!(host.reports_of("counter")[0]["verdict"], "permanent");
        host.kill();
        host.run();
        assert_eq!(host.workload("counter")["version"], "1.1.0");
        assert!(host.workload("counter")["swap"].is_null(), "its probation is over");
    }
}
