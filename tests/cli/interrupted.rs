//! Ctrl-C during a deploy: it is the host's from then on.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
};

use super::says;
use crate::harness::{Done, Host};

/// Begins to deploy a version whose `code-change` takes a second or more.
fn begin_slowly(host: &Host) -> (Child, BufReader<ChildStderr>) {
    let (slow, config) = (host.fault("code-change-slow"), host.file("slow.toml", b"burn = 2000000000\n"));
    let mut deploy = host.command(&["deploy", slow.to_str().unwrap(), "--name", "counter", "--version", "1.0.1"]);
    deploy.args(["--config", config.to_str().unwrap(), "--probation", "0s", "--timeout", "60s"]);
    let mut deploy = deploy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let words = BufReader::new(deploy.stderr.take().unwrap());
    (deploy, words)
}

fn interrupt(deploy: &Child) {
    assert!(Command::new("kill").args(["-INT", &deploy.id().to_string()]).status().unwrap().success());
}

#[test]
fn ctrl_c_leaves_the_swap_to_the_host_and_says_how_to_follow_it() {
    let host = Host::with_counter();
    let mut client = host.connect();
    let (deploy, mut words) = begin_slowly(&host);
    let mut told = String::new();
    while !told.ends_with("  code-change\n") {
        assert!(words.read_line(&mut told).unwrap() > 0, "{told}");
    }
    interrupt(&deploy);
    std::io::Read::read_to_string(&mut words, &mut told).unwrap();
    assert_eq!(Done::of(deploy.wait_with_output().unwrap()).code, 130, "{told}");
    says(&told, &["the swap goes on in the host", "host events --follow --filter 'swap.*'"]);
    // What a client says now waits for the new version.
    assert_eq!(client.ask("incr"), "1.0.0 1");
    host.eventually("the swap is over", || host.newest_report()["verdict"] == "permanent");
    assert_eq!(host.workload("counter")["version"], "1.0.1");
}

#[test]
fn ctrl_c_tells_a_program_that_it_left() {
    let host = Host::with_counter();
    let next = host.counter("1.1.0");
    let mut deploy = host.command(&["deploy", next.to_str().unwrap(), "--version", "1.1.0", "--probation", "1h"]);
    let deploy = deploy.args(["--output", "json"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    host.eventually("the new version serves", || host.phase() == "probation");
    interrupt(&deploy);
    let done = Done::of(deploy.wait_with_output().unwrap());
    let document = done.json();
    assert_eq!((done.code, &document["detached"], &document["begun"]), (130, &true.into(), &true.into()), "{done:?}");
    assert_eq!(document["workload"], "counter");
    assert_eq!(host.phase(), "probation", "it goes on in the host");
}
