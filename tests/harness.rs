//! A host process of its own for each test, the command line to talk to it, and clients that check every answer.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use example_workloads::{example, fault};
use serde_json::Value;

/// Longest wait for anything: a wait that reaches it is a failed test, never a pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A host process with a data directory of its own. Killed when it is dropped.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    child: Option<Child>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What a command of the binary came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// A running host.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// A running host with these arguments to `run` and this environment.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut host = Self::unstarted();
        host.arguments = arguments.iter().map(ToString::to_string).collect();
        host.environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        host.run();
        host
    }

    /// A data directory without a host.
    pub(crate) fn unstarted() -> Self {
        let folder = tempfile::Builder::new().prefix("hotswap-test-").tempdir().unwrap();
        Self { folder, child: None, arguments: Vec::new(), environment: Vec::new() }
    }

    /// Starts the process and waits until it answers.
    pub(crate) fn run(&mut self) {
        self.begin();
        self.eventually("the host answers", || self.cli(&["status"]).code == 0);
    }

    /// Starts the process.
    pub(crate) fn begin(&mut self) {
        assert!(self.child.is_none(), "it runs");
        compiled::lend(&self.data());
        let mut command = self.command(&["run"]);
        command.args(&self.arguments);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.spawn().unwrap());
    }

    /// Like `run`, with another environment from now on.
    pub(crate) fn run_with(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.run();
    }

    /// The binary with this host's data directory, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).env("HOST_DATA", self.data()).env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a command of the binary to its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a command that must succeed, and reads its JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let done = self.cli(&[arguments, &["--output", "json"]].concat());
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}\n{}", self.log());
        done.json()
    }

    /// Deploys, whatever comes of it. Probation is 0 unless the arguments say otherwise.
    pub(crate) fn deploy(&self, component: &Path, version: &str, arguments: &[&str]) -> Done {
        Done::of(self.deploy_command(component, version, arguments).output().unwrap())
    }

    /// Begins to deploy.
    pub(crate) fn begin_deploy(&self, component: &Path, version: &str, arguments: &[&str]) -> Underway {
        let mut command = self.deploy_command(component, version, arguments);
        Underway(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Begins a call that waits for its answer for a minute.
    pub(crate) fn begin_call(&self, method: &str) -> Underway {
        let mut command = self.command(&["call", "counter", method, "--timeout", "1m", "--output", "json"]);
        Underway(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn deploy_command(&self, component: &Path, version: &str, arguments: &[&str]) -> Command {
        let file = component.to_str().unwrap();
        let mut all = vec!["deploy", file, "--version", version, "--output", "json"];
        if !arguments.contains(&"--name") {
            all.extend(["--name", "counter"]);
        }
        if !["--probation", "--hold", "--dry-run"].iter().any(|given| arguments.contains(given)) {
            all.extend(["--probation", "0s"]);
        }
        all.extend(arguments);
        let mut command = self.command(&all);
        command.stdin(Stdio::null());
        command
    }

    /// A host with counter 1.0.0 on it.
    pub(crate) fn with_counter() -> Self {
        let host = Self::start();
        host.start_counter();
        host
    }

    /// Deploys counter 1.0.0 on a port of the system's choice.
    #[track_caller]
    pub(crate) fn start_counter(&self) {
        let done = self.deploy(&self.counter("1.0.0"), "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", self.log());
    }

    /// The file of an example.
    pub(crate) fn counter(&self, version: &str) -> PathBuf {
        let example = example("counter", version).unwrap();
        self.file(example.file_name, example.component)
    }

    /// The file of a fault.
    pub(crate) fn fault(&self, name: &str) -> PathBuf {
        let fault = fault(name).unwrap_or_else(|| panic!("no fault is named {name}"));
        self.file(fault.file_name, fault.component)
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The status of one workload.
    #[track_caller]
    pub(crate) fn workload(&self, name: &str) -> Value {
        let done = self.cli(&["status", name, "--output", "json"]);
        assert!(matches!(done.code, 0 | 4), "{done:?}\n{}", self.log());
        done.json()["workload"].clone()
    }

    /// The phase of the counter's swap; empty when there is none.
    #[track_caller]
    pub(crate) fn phase(&self) -> String {
        self.workload("counter")["swap"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the counter is paused: those who come now are not let in.
    pub(crate) fn until_paused(&self) {
        let mut waiting = Vec::new();
        self.eventually("the pause has begun", || {
            waiting.extend((0..3).map(|_| self.connect()));
            self.is_paused()
        });
    }

    /// Whether more waits than the clients of a test's traffic can have sent.
    #[track_caller]
    pub(crate) fn is_paused(&self) -> bool {
        self.workload("counter")["queued_events"].as_u64() >= Some(8)
    }

    /// What a workload says of itself, and what the host holds against it.
    #[track_caller]
    pub(crate) fn health(&self, name: &str) -> Value {
        let done = self.cli(&["health", name, "--output", "json"]);
        done.json()["workloads"][0].clone()
    }

    /// The events of that name, of all workloads.
    #[track_caller]
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let done = self.cli(&["events", "--filter", name, "--output", "json"]);
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The history of a workload, newest first.
    #[track_caller]
    pub(crate) fn reports_of(&self, name: &str) -> Vec<Value> {
        self.json(&["history", name])["reports"].as_array().unwrap().clone()
    }

    /// A client of that workload.
    #[track_caller]
    pub(crate) fn connect_to(&self, name: &str) -> Client {
        Client::connect(self.address_of(name))
    }

    /// Where the counter listens.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of("counter")
    }

    #[track_caller]
    fn address_of(&self, name: &str) -> SocketAddr {
        let workload = self.workload(name);
        let listener = workload["listeners"][0].as_str().unwrap_or_else(|| panic!("{workload}"));
        listener.strip_prefix("tcp://").unwrap().parse().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// The newest history entry.
    #[track_caller]
    pub(crate) fn newest_report(&self) -> Value {
        self.json(&["history", "counter", "--limit", "1"])["reports"][0].clone()
    }

    /// Ends the process as `kill` does.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Ends the process as a power failure does.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.wait();
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Limits how large a file of the process may become, as a full disk does, or lifts the limit.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = self.child.as_ref().expect("it runs").id();
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Pid::from_raw(i32::try_from(pid).unwrap()), Resource::Fsize, limit).unwrap();
    }

    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut child = self.child.take().expect("it runs");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("the host did not end\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Polls until something holds; fails the test when it never does.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("host.log")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        compiled::keep(&self.data());
    }
}

/// Compiled code that hosts of earlier tests left: without it most of a run would be spent on compiling the same guests
/// again. A host checks what it finds and compiles what is missing or not whole.
mod compiled {
    use std::{
        fs::{self, DirBuilder},
        os::unix::fs::DirBuilderExt as _,
        path::{Path, PathBuf},
    };

    /// Far more than there are guests; reached after some rebuilds of them, it is time to begin anew.
    const ENTRIES_LIMIT: usize = 200;

    /// One for each engine.
    const FOLDERS: [&str; 2] = ["compiled", "compiled-sessions"];

    fn shelf(folder: &str) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder)
    }

    /// Puts it into a data directory. The files are shared: whoever damages one has to write another in its place.
    pub(super) fn lend(data: &Path) {
        for folder in FOLDERS {
            let compiled = data.join(folder);
            if !compiled.exists() {
                DirBuilder::new().recursive(true).mode(0o700).create(&compiled).unwrap();
                share(&shelf(folder), &compiled);
            }
        }
    }

    /// Takes it from a data directory.
    pub(super) fn keep(data: &Path) {
        for folder in FOLDERS {
            let shelf = shelf(folder);
            if fs::read_dir(&shelf).is_ok_and(|entries| entries.count() > ENTRIES_LIMIT) {
                drop(fs::remove_dir_all(&shelf));
            }
            drop(fs::create_dir_all(&shelf));
            share(&data.join(folder), &shelf);
        }
    }

    /// What can't be shared is compiled again; what is there stays.
    fn share(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "code") {
                drop(fs::hard_link(&path, to.join(entry.file_name())));
            }
        }
    }
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(document["schema_version"], 1, "{self:?}");
        document
    }
}

/// A deploy that goes on in a process of its own.
pub(crate) struct Underway(Child);

impl Underway {
    /// A command that was begun, with its output kept.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Waits for what comes of it.
    pub(crate) fn end(self) -> Done {
        Done::of(self.0.wait_with_output().unwrap())
    }
}

/// A client that speaks lines.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    /// A client, if somebody listens there.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::of)
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line, without its end. Empty at the end of the stream.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\n"));
        self.line()
    }

    /// The answer; none when the connection is gone.
    pub(crate) fn try_ask(&mut self, line: &str) -> Option<String> {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        self.reader.read_line(&mut answer).ok()?;
        Some(answer)
    }

    /// Whether something is there to be read already.
    pub(crate) fn has_answer(&self) -> bool {
        let stream = self.reader.get_ref();
        stream.set_nonblocking(true).unwrap();
        let there = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        there || !self.reader.buffer().is_empty()
    }

    /// Whether the other side closed it.
    pub(crate) fn is_closed(&self) -> bool {
        let stream = self.reader.get_ref();
        stream.set_nonblocking(true).unwrap();
        let closed = match stream.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        };
        stream.set_nonblocking(false).unwrap();
        closed
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        drop(self.reader.read_to_end(&mut rest));
        rest
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

/// Clients that send `incr` all the time until they are told to stop, and then know whether anything was lost.
pub(crate) struct Traffic {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    clients: Vec<JoinHandle<Vec<u64>>>,
    before: u64,
}

impl Traffic {
    /// Starts clients on their own threads. `before` is the total they begin from.
    pub(crate) fn start(address: SocketAddr, clients: usize, before: u64) -> Self {
        Self::paced(address, clients, before, Duration::ZERO)
    }

    /// The same, with clients that think for a while before they ask again: where many hosts share few processors.
    pub(crate) fn paced(address: SocketAddr, clients: usize, before: u64, pace: Duration) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spawn = |_| {
            let (stop, mut client) = (stop.clone(), Client::connect(address));
            std::thread::spawn(move || {
                let mut totals = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = client.ask("incr");
                    let total = answer.split(' ').nth(1).and_then(|total| total.parse().ok());
                    totals.push(total.unwrap_or_else(|| panic!("an answer that is none: `{answer}`")));
                    std::thread::sleep(pace);
                }
                totals
            })
        };
        let clients = (0..clients).map(spawn).collect();
        Self { stop, clients, before }
    }

    /// Stops them and checks that each total was given exactly once: nothing was lost, doubled or dropped.
    /// Gives the total now.
    #[track_caller]
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            let totals = client.join().expect("a client lost its connection or got a wrong answer");
            assert!(totals.is_sorted(), "a client saw totals out of order");
            all.extend(totals);
        }
        all.sort_unstable();
        let expected: Vec<_> = (self.before + 1..=self.before + all.len() as u64).collect();
        assert_eq!(all, expected, "totals were lost or doubled");
        self.before + all.len() as u64
    }
}
