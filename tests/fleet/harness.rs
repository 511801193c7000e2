//! A fleet for each test: a coordinator and hosts, each a process of its own, and the command line to talk to them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::Value;

use super::wire::Wire;
use crate::harness::{Done, Host, PATIENCE, Underway};

/// One fleet at a time: a host that waits for a processor behind thirty others is one that does not answer.
static ALONE: Mutex<()> = Mutex::new(());

/// A coordinator with its data directory. Killed when it is dropped.
pub(super) struct Fleet {
    _alone: Option<MutexGuard<'static, ()>>,
    folder: tempfile::TempDir,
    address: String,
    child: Option<Child>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Fleet {
    /// A fleet whose coordinator runs.
    pub(super) fn start() -> Self {
        Self::start_beside(Some(Self::alone()), &[], &[])
    }

    /// A fleet whose coordinator runs with these arguments and this environment.
    pub(super) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_beside(Some(Self::alone()), arguments, environment)
    }

    /// Another one, in a test that has one already.
    pub(super) fn another() -> Self {
        Self::start_beside(None, &[], &[])
    }

    fn start_beside(alone: Option<MutexGuard<'static, ()>>, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("hotswap-fleet-").tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut fleet = Self { _alone: alone, folder, address, child: None, arguments, environment };
        let made = fleet.cli(&["fleet", "init", "--listen", &fleet.address]);
        assert_eq!(made.code, 0, "{made:?}");
        fleet.begin();
        fleet
    }

    /// A fleet with so many hosts, named `h1`, `h2`, …
    pub(super) fn with_hosts(count: usize) -> (Self, Vec<Host>) {
        let fleet = Self::start();
        let token = fleet.token(count);
        let hosts: Vec<_> = (1..=count).map(|number| fleet.host(&format!("h{number}"), &token)).collect();
        fleet.until_connected(count);
        (fleet, hosts)
    }

    /// The same, with counter 1.0.0 on each host, and 1.1.0 published.
    pub(super) fn with_counter(count: usize) -> (Self, Vec<Host>) {
        let (fleet, hosts) = Self::with_hosts(count);
        fleet.place_counter(&hosts);
        (fleet, hosts)
    }

    /// The same, with the last host behind a wire.
    pub(super) fn with_counter_behind_a_wire(count: usize) -> (Self, Vec<Host>, Wire) {
        let (fleet, mut hosts) = Self::with_hosts(count - 1);
        let wire = Wire::to(fleet.address());
        hosts.push(fleet.host_at(&wire.url(), &format!("h{count}"), &fleet.token(1)));
        fleet.until_connected(count);
        fleet.place_counter(&hosts);
        (fleet, hosts, wire)
    }

    fn place_counter(&self, hosts: &[Host]) {
        for version in ["1.0.0", "1.1.0"] {
            self.publish(&hosts[0].counter(version), "counter", version);
        }
        let placed =
            self.deploy("1.0.0", &["--listen", "tcp://127.0.0.1:0", "--strategy", "all-at-once", "--soak", "0s"]);
        assert_eq!(placed.code, 0, "{placed:?}\n{}", self.log());
        // So that every host has compiled it: what follows is about time-outs that a compiler must not decide.
        let rehearsed = self.deploy("1.1.0", &["--dry-run"]);
        assert_eq!(rehearsed.code, 0, "{rehearsed:?}\n{}", self.log());
    }

    /// Starts the coordinator and waits until it answers.
    pub(super) fn begin(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.command(&["coordinator", "--listen", &self.address]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.spawn().unwrap());
        self.eventually("the coordinator answers", || self.cli(&["fleet", "status"]).code == 0);
    }

    /// Kills the coordinator, as a power failure does.
    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells the coordinator to stop, and waits until it has.
    pub(super) fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = i32::try_from(child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log());
    }

    /// Where hosts join it.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where its coordinator listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// A token with so many uses.
    pub(super) fn token(&self, uses: usize) -> String {
        let created = self.json(&["token", "create", "--uses", &uses.to_string()]);
        created["token"].as_str().unwrap().to_owned()
    }

    /// A host that has joined.
    pub(super) fn host(&self, name: &str, token: &str) -> Host {
        self.host_at(&self.url(), name, token)
    }

    /// A host that has joined by another address of the coordinator.
    pub(super) fn host_at(&self, url: &str, name: &str, token: &str) -> Host {
        Host::start_with(&["--join", url, "--token", token, "--host-name", name], &[])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).env("HOST_DATA", self.folder.path().join("data")).env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command to its end.
    pub(super) fn cli(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Waits for its turn, for a test that makes its own fleet.
    pub(super) fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command of the fleet, whatever comes of it.
    pub(super) fn end_of(&self, arguments: &[&str]) -> Done {
        self.cli(&[&["fleet"], arguments, &["--output", "json"]].concat())
    }

    /// Runs a command of the fleet that must succeed, and reads its document.
    #[track_caller]
    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        let done = self.cli(&[&["fleet"], arguments, &["--output", "json"]].concat());
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}\n{}", self.log());
        done.json()
    }

    /// Publishes a component.
    #[track_caller]
    pub(super) fn publish(&self, file: &std::path::Path, name: &str, version: &str) {
        self.json(&["publish", file.to_str().unwrap(), "--name", name, "--version", version]);
    }

    /// Deploys the counter and waits.
    pub(super) fn deploy(&self, version: &str, arguments: &[&str]) -> Done {
        self.begin_deploy(version, arguments).end()
    }

    /// Begins to deploy the counter.
    pub(super) fn begin_deploy(&self, version: &str, arguments: &[&str]) -> Underway {
        let all = [&["fleet", "deploy", "counter", "--version", version, "--output", "json"], arguments].concat();
        let mut command = self.command(&all);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Underway::of(command.spawn().unwrap())
    }

    /// The newest rollout.
    #[track_caller]
    pub(super) fn rollout(&self) -> Value {
        self.json(&["show"])["rollout"].clone()
    }

    /// The state of each host of the newest rollout.
    #[track_caller]
    pub(super) fn states(&self) -> Vec<(String, String)> {
        let rollout = self.rollout();
        let hosts = rollout["summary"]["hosts"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        hosts.map(|host| (text(&host["host"]), text(&host["state"]))).collect()
    }

    /// Begins to deploy the counter, and leaves it to the coordinator.
    #[track_caller]
    pub(super) fn deploy_detached(&self, version: &str, arguments: &[&str]) -> Value {
        let begun = self.deploy(version, &[arguments, &["--async"]].concat());
        assert_eq!(begun.code, 0, "{begun:?}\n{}", self.log());
        begun.json()
    }

    /// Where the newest rollout stands.
    #[track_caller]
    pub(super) fn state(&self) -> String {
        self.rollout()["summary"]["state"].as_str().unwrap().to_owned()
    }

    /// Waits until the newest rollout stands there.
    #[track_caller]
    pub(super) fn until(&self, state: &str) {
        self.eventually(&format!("the rollout is {state}"), || self.state() == state);
    }

    /// Waits until these hosts of the newest rollout are in this state.
    #[track_caller]
    pub(super) fn until_hosts(&self, hosts: &[&str], state: &str) {
        self.eventually(&format!("{hosts:?} are {state}"), || {
            let states = self.states();
            hosts.iter().all(|wanted| states.iter().any(|(host, of)| host == wanted && of == state))
        });
    }

    /// Waits until so many hosts are connected.
    #[track_caller]
    pub(super) fn until_connected(&self, count: usize) {
        self.eventually(&format!("{count} hosts are connected"), || self.connected() == count);
    }

    /// Waits for the newest rollout's end, or for its word that it waits for a person.
    #[track_caller]
    pub(super) fn ends_with(&self, code: i32) -> Value {
        let done = self.end_of(&["watch"]);
        assert_eq!(done.code, code, "{done:?}\n{}", self.log());
        done.json()
    }

    /// Waits until every host runs this for good, and nothing is owed to any; `hosts` are all of them.
    #[track_caller]
    pub(super) fn settles(&self, hosts: &[Host], version: &str) {
        let as_it_shall_be = format!("{version}: as it shall be");
        let names: Vec<_> = (1..=hosts.len()).map(|number| format!("h{number}")).collect();
        self.eventually(&format!("every host runs {version}"), || {
            names.iter().all(|name| self.runs(name) == as_it_shall_be)
        });
        self.eventually("nothing is owed any more", || self.rollout()["owed"].as_array().unwrap().is_empty());
        for host in hosts {
            let workload = host.workload("counter");
            assert_eq!((&workload["version"], &workload["instances"]), (&version.into(), &1.into()), "{workload}");
            let (swap, held) = (&workload["swap"], &workload["swap"]["remaining_ns"]);
            assert!(swap.is_null() || held.is_number(), "no predecessor is held any more: {workload}");
        }
        let verified = self.json(&["audit-log", "--verify"]);
        assert!(verified["verified"]["Ok"].is_array(), "{verified}");
    }

    /// The first host of the newest rollout that is in this state.
    pub(super) fn first_in(&self, state: &str) -> String {
        let mut found = None;
        self.eventually(&format!("a host is {state}"), || {
            found = self.states().into_iter().find(|(_, of)| of == state).map(|(host, _)| host);
            found.is_some()
        });
        found.unwrap()
    }

    /// How many hosts are connected.
    #[track_caller]
    pub(super) fn connected(&self) -> usize {
        let hosts = self.json(&["hosts"]);
        hosts["hosts"].as_array().unwrap().iter().filter(|host| host["connected"] == true).count()
    }

    /// What a host says it runs.
    #[track_caller]
    pub(super) fn runs(&self, host: &str) -> String {
        let hosts = self.json(&["where", "counter"]);
        let placement = hosts["hosts"].as_array().unwrap().iter().find(|placement| placement["host"] == host);
        placement.map_or_else(String::new, |placement| {
            format!("{}: {}", placement["version"].as_str().unwrap_or("-"), placement["state"].as_str().unwrap())
        })
    }

    /// Polls until something holds; fails the test when it never does.
    #[track_caller]
    pub(super) fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "never: {what}\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
