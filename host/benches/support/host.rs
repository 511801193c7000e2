//! A host in a process of its own, reached by the binary's commands as anybody reaches it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use example_workloads::Example;
use serde_json::Value;

/// A process that ends with its owner.
pub(crate) struct Host {
    child: Child,
    folder: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Host {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.arg("run").args(arguments).env("HOST_DATA", folder.join("data"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let host = Self { child, folder: folder.to_owned() };
        while !host.ask(&["status"]) {
            std::thread::sleep(Duration::from_millis(10));
        }
        host
    }

    /// What it has used of the processors, its own and the system's on its behalf.
    #[allow(dead_code, reason = "not every bench asks for it")]
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name, which is in parentheses, from the third field on.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).env("HOST_DATA", self.folder.join("data")).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Whether a command did what it does.
    pub(crate) fn ask(&self, arguments: &[&str]) -> bool {
        self.command(arguments).stdout(Stdio::null()).status().unwrap().success()
    }

    /// Whether this version took hold under this name.
    pub(crate) fn deploy(&self, guest: &Example, name: &str, arguments: &[&str]) -> bool {
        let component = self.file(guest.file_name, guest.component);
        let deploy = ["deploy", component.to_str().unwrap(), "--version", guest.version, "--name", name];
        self.ask(&[&deploy, arguments].concat())
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let status = self.command(&["status", name, "--output", "json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["workload"]["listeners"][0].as_str().unwrap().strip_prefix("tcp://").unwrap().parse().unwrap()
    }
}
