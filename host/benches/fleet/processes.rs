//! The processes of a fleet, talked to by the binary's commands.

use std::{
    fs::{self, DirBuilder},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

/// What a process used, as the system counts it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) written_bytes: u64,
    /// What it gave to its sockets, its files not counted.
    pub(crate) sent_bytes: u64,
    pub(crate) resident_mib: f64,
}

impl Used {
    fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure")]
        let resident_mib = field(&read("status"), "VmRSS:") as f64 / 1024.0;
        Self {
            cpu: Duration::from_millis(ticks * 10),
            written_bytes: field(&read("io"), "write_bytes:"),
            sent_bytes: 0,
            resident_mib,
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            written_bytes: self.written_bytes - before.written_bytes,
            sent_bytes: self.sent_bytes - before.sent_bytes,
            resident_mib: self.resident_mib - before.resident_mib,
        }
    }
}

/// A process that ends with its owner.
struct Process {
    child: Child,
    data: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.args(arguments).env("HOST_DATA", data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a command to its end and reads its document.
fn told(data: &Path, arguments: &[&str]) -> Value {
    let output = command(data, &[arguments, &["--output", "json"]].concat()).stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A coordinator and its hosts.
pub(crate) struct Fleet {
    folder: tempfile::TempDir,
    metrics: String,
    coordinator: Process,
    hosts: Vec<Process>,
}

fn free_address() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string()
}

impl Fleet {
    pub(crate) fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, metrics) = (free_address(), free_address());
        let data = folder.path().join("fleet");
        told(&data, &["fleet", "init", "--listen", &address]);
        let child = command(&data, &["coordinator", "--listen", &address, "--metrics", &metrics]).spawn().unwrap();
        let coordinator = Process { child, data };
        let mut fleet = Self { folder, metrics, coordinator, hosts: Vec::new() };
        until(|| command(&fleet.coordinator.data, &["fleet", "status"]).status().unwrap().success());
        let token = fleet.ask(&["token", "create", "--uses", &count.to_string()])["token"].as_str().unwrap().to_owned();
        let compiled = fleet.compiled();
        for number in 1..=count {
            let (name, url) = (format!("h{number}"), format!("https://{address}"));
            let data = fleet.folder.path().join(&name);
            DirBuilder::new().recursive(true).mode(0o700).create(data.join("compiled")).unwrap();
            for entry in fs::read_dir(&compiled).unwrap().flatten() {
                drop(fs::hard_link(entry.path(), data.join("compiled").join(entry.file_name())));
            }
            let join = ["run", "--join", &url, "--token", &token, "--host-name", &name];
            let child = command(&data, &join).spawn().unwrap();
            fleet.hosts.push(Process { child, data });
        }
        until(|| {
            let hosts = fleet.ask(&["hosts"]);
            hosts["hosts"].as_array().unwrap().iter().filter(|host| host["connected"] == true).count() == count
        });
        fleet
    }

    /// Compiled code of both versions, made by a host that is not of the fleet.
    fn compiled(&self) -> PathBuf {
        let data = self.folder.path().join("alone");
        let child = command(&data, &["run"]).spawn().unwrap();
        let alone = Process { child, data: data.clone() };
        until(|| command(&alone.data, &["status"]).status().unwrap().success());
        for version in ["1.0.0", "1.1.0"] {
            let file = self.component(version);
            let listen = ["--listen", "tcp://127.0.0.1:0", "--name", "counter"];
            told(&data, &[&["deploy", file.to_str().unwrap(), "--version", version][..], &listen].concat());
        }
        data.join("compiled")
    }

    fn component(&self, version: &str) -> PathBuf {
        let name = format!("counter-{version}.wasm");
        let example = example_workloads::all().iter().find(|example| example.file_name == name).unwrap();
        let path = self.folder.path().join(&name);
        fs::write(&path, example.component).unwrap();
        path
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        told(&self.coordinator.data, &[&["fleet"], arguments].concat())
    }

    /// Counter 1.0.0 on every host, and 1.1.0 in the store.
    pub(crate) fn place(&self) {
        for version in ["1.0.0", "1.1.0"] {
            let file = self.component(version);
            self.ask(&["publish", file.to_str().unwrap(), "--name", "counter", "--version", version]);
        }
        self.roll(&["deploy", "counter", "--version", "1.0.0", "--listen", "tcp://127.0.0.1:0"]);
    }

    /// A rollout, to its end.
    pub(crate) fn roll(&self, what: &[&str]) {
        self.ask(&[what, &["--soak", "0s", "--wave", "25%"]].concat());
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let address = |host: &Process| {
            let status = told(&host.data, &["status", "counter"]);
            status["workload"]["listeners"][0].as_str().unwrap().strip_prefix("tcp://").unwrap().parse().unwrap()
        };
        self.hosts.iter().map(address).collect()
    }

    /// The pause of each host's last swap, by its own figure.
    pub(crate) fn pauses_ms(&self) -> Vec<f64> {
        let pause = |host: &Process| {
            let history = told(&host.data, &["history", "counter", "--limit", "4"]);
            let swaps = history["reports"].as_array().unwrap().iter();
            swaps.filter_map(|swap| swap["pause_ns"].as_f64()).next().map(|ns| ns / 1e6)
        };
        self.hosts.iter().filter_map(pause).collect()
    }

    pub(crate) fn coordinator_used(&self) -> Used {
        Used { sent_bytes: self.artifact_bytes(), ..Used::of(self.coordinator.child.id()) }
    }

    pub(crate) fn hosts_used(&self) -> Used {
        self.hosts.iter().map(|host| Used::of(host.child.id())).fold(Used::default(), |sum, used| Used {
            cpu: sum.cpu + used.cpu,
            written_bytes: sum.written_bytes + used.written_bytes,
            sent_bytes: 0,
            resident_mib: sum.resident_mib + used.resident_mib,
        })
    }

    /// What the coordinator says that it has sent of components.
    fn artifact_bytes(&self) -> u64 {
        let text = curl(&self.metrics);
        let line = text.lines().find_map(|line| line.strip_prefix("hotswap_fleet_sent_bytes_total "));
        line.map_or(0, |count| count.trim().parse().unwrap())
    }
}

/// The metrics at an address.
fn curl(address: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
