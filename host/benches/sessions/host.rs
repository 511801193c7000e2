//! What is asked of a host's process here: sessions swapped, and what it has, looked at from outside.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use example_workloads::{Example, example};
use serde_json::Value;

use crate::support;

/// A process that ends with its owner.
pub(crate) struct Host(support::Host);

/// What a process has.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) resident_kib: u64,
    pub(crate) page_tables_kib: u64,
    pub(crate) mappings: u64,
}

impl Cost {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.saturating_sub(before.resident_kib),
            page_tables_kib: self.page_tables_kib.saturating_sub(before.page_tables_kib),
            mappings: self.mappings.saturating_sub(before.mappings),
        }
    }
}

impl Host {
    pub(crate) fn start(folder: &Path) -> Self {
        Self(support::Host::start(folder, &[]))
    }

    pub(crate) fn deploy(&self, name: &str, version: &str, arguments: &[&str]) {
        assert!(self.0.deploy(guest(name, version), name, arguments), "{name} was not deployed");
    }

    /// Swaps to a version, whichever way that is, and gives the report.
    pub(crate) async fn swap(&self, name: &str, version: &str) -> Value {
        let guest = guest(name, version);
        let component = self.0.file(guest.file_name, guest.component);
        let deploy = ["deploy", component.to_str().unwrap(), "--version", version, "--name", name];
        let how = ["--downgrade", "--probation", "0s", "--output", "json"];
        let command = self.0.command(&[&deploy[..], &how].concat());
        let output = tokio::process::Command::from(command).output().await.unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{document}");
        document["report"].clone()
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.0.address(name)
    }

    /// Waits until the host has seen that its clients are gone.
    pub(crate) fn until_connections(&self, name: &str, count: u64) {
        while self.status(&[name])["workload"]["connections"].as_u64() != Some(count) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // What is dropped is taken apart gently, four thousand a second.
        std::thread::sleep(Duration::from_secs(5));
    }

    fn status(&self, of: &[&str]) -> Value {
        let status = self.0.command(&[&["status", "--output", "json"], of].concat()).output().unwrap();
        serde_json::from_slice(&status.stdout).unwrap()
    }

    pub(crate) fn cost(&self) -> Cost {
        let pid = self.status(&[])["host"]["pid"].as_u64().unwrap();
        let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = of("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Cost {
            resident_kib: field("VmRSS:"),
            page_tables_kib: field("VmPTE:"),
            mappings: of("maps").lines().count() as u64,
        }
    }
}

fn guest(name: &str, version: &str) -> &'static Example {
    example(name, version).unwrap()
}
