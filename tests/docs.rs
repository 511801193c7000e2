//! Every command of the README and of docs/GETTING-STARTED.md, run word for word.
//!
//! Two things are not as on a person's screen: the ports, which are exchanged for free ones, and the commands of [`EXEMPT`].

mod session;

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use self::session::Session;
use crate::harness::Client;

/// Commands that are not run here, because `.ci/run` runs them itself, as its line on the right: they build the release, or
/// would run this test within itself.
const EXEMPT: [(&str, &str); 5] = [
    ("cargo run --release -p host -- fleet demo", "cargo run --release --locked -p host -- fleet demo"),
    ("cargo run --release -p host -- demo", "cargo run --release --locked -p host -- demo"),
    ("cargo test --workspace", "cargo test --workspace --locked"),
    ("cargo install --path host --root ~/.local --locked", "cargo install --path host --root "),
    ("cargo build --release -p host", "cargo run --release --locked -p host"),
];

/// A document's commands, with what the session's other parties do in between.
struct Walk {
    document: &'static str,
    commands: std::vec::IntoIter<String>,
    session: Session,
    /// The document's port and the one it was exchanged for.
    port: (&'static str, u16),
    folder: tempfile::TempDir,
}

impl Walk {
    /// A copy of the repository to walk through a document in: links to all there is, and room for what the commands make.
    fn begin(document: &'static str, port: &'static str, own_home: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("hotswap-docs-").tempdir().unwrap();
        let inside = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        for entry in std::fs::read_dir(repository()).unwrap() {
            let entry = entry.unwrap();
            if !["target", "try", "components", ".git"].iter().any(|own| entry.file_name() == *own) {
                symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        // Where the exempt commands put the program.
        let home = inside("home");
        let (installed, built) = (inside("home/.local/bin"), inside("target/release"));
        for place in [&installed, &built] {
            symlink(env!("CARGO_BIN_EXE_host"), place.join("host")).unwrap();
        }
        let mut path = if own_home { vec![installed] } else { Vec::new() };
        path.extend(own_nc(&inside("bin")));
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        Self {
            document,
            commands: commands(&text).into_iter(),
            session: Session::open(folder.path(), &path, own_home.then_some(&home)),
            port: (port, free_port()),
            folder,
        }
    }

    /// Runs the next command, which must be this one.
    #[track_caller]
    fn run(&mut self, expected: &str) -> String {
        let command = self.next();
        assert!(command.starts_with(expected), "{}: `{command}` comes where the test has `{expected}`", self.document);
        let (theirs, ours) = self.port;
        let output = self.session.run(&command.replace(theirs, &ours.to_string()));
        if command.starts_with("host run") {
            // As a person waits for the log's `host ready`.
            self.session.run("until host status >/dev/null 2>&1; do kill -0 $! && sleep 0.05; done");
        }
        output
    }

    /// The next command, which is not exempt.
    #[track_caller]
    fn next(&mut self) -> String {
        let next = self.commands.by_ref().find(|command| EXEMPT.iter().all(|(exempt, _)| command != exempt));
        next.unwrap_or_else(|| panic!("{} ends too early", self.document))
    }

    /// Runs the next command, which must be this one and print this.
    #[track_caller]
    fn expect(&mut self, command: &str, wanted: &[&str]) {
        let output = self.run(command);
        for wanted in wanted {
            assert!(output.contains(wanted), "`{command}` does not say `{wanted}`:\n{output}");
        }
    }

    #[track_caller]
    fn end(mut self) {
        assert_eq!(self.commands.next(), None, "{}: the test knows of no such command", self.document);
    }
}

/// The commands of a document's `sh` blocks: a line each, or up to the end of what follows it as its input.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = document.lines();
    while lines.by_ref().any(|line| line == "```sh") {
        let mut block = lines.by_ref().take_while(|line| *line != "```");
        while let Some(line) = block.next() {
            let mut command = line.to_owned();
            if line.ends_with("<<'END'") {
                for line in block.by_ref() {
                    command = command + "\n" + line;
                    if line == "END" {
                        break;
                    }
                }
            }
            commands.push(command);
        }
    }
    commands
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A port that nobody has, below those that the system gives away by itself: so no other test gets it meanwhile.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..1_000).map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed)).find(free).expect("a free port")
}

/// A folder with an `nc` in it, where the system has none that ends one direction and waits for the other (`-N`).
fn own_nc(folder: &Path) -> Option<PathBuf> {
    let help = Command::new("nc").arg("-h").output();
    if help.is_ok_and(|help| [help.stdout, help.stderr].concat().windows(4).any(|part| part == b"\t-N\t")) {
        return None;
    }
    let rustc =
        Command::new("rustc").arg(repository().join("tests/docs/nc.rs")).arg("-o").arg(folder.join("nc")).status();
    assert!(rustc.unwrap().success(), "nc.rs does not compile");
    Some(folder.to_owned())
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let mut readme = Walk::begin("README.md", "7000", true);
    readme.expect("host demo --export components", &["counter-1.0.0.wasm", "counter-1.1.0.wasm"]);
    readme.run("host run &");
    readme.expect("host deploy components/counter-1.0.0.wasm", &["counter 1.0.0 runs"]);
    assert_eq!(readme.run("printf 'incr\\n' | nc"), "1.0.0 1\n");
    readme.expect(
        "host deploy components/counter-1.1.0.wasm --version 1.1.0 --dry-run",
        &["would work", "counter 1.0.0 is running"],
    );
    let mut open = Client::connect((Ipv4Addr::LOCALHOST, readme.port.1).into());
    assert_eq!(open.ask("incr"), "1.0.0 2");
    readme.expect("host deploy components/counter-1.1.0.wasm --version 1.1.0", &["swapped", "1 of 1 kept"]);
    assert_eq!(readme.run("printf 'incr\\n' | nc"), "1.1.0 3 1\n");
    assert_eq!(open.ask("incr"), "1.1.0 4 1");
    readme.expect("host status", &["counter", "running", "1.1.0"]);
    readme.expect("host history counter", &["started", "permanent"]);
    readme.expect("host rollback counter", &["1.1.0 → 1.0.0"]);
    assert_eq!(readme.run("printf 'incr\\n' | nc"), "1.0.0 5\n");
    assert_eq!(open.ask("incr"), "1.0.0 6", "the total goes on counting through all of it");
    readme.end();
}

#[test]
fn the_first_ten_minutes_go_as_they_are_told() {
    // The guest's dependencies are compiled once, by one test at a time.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs");
    std::fs::create_dir_all(cache.join("target")).unwrap();
    let lock = File::create(cache.join("lock")).unwrap();
    lock.lock().unwrap();

    let mut guide = Walk::begin("docs/GETTING-STARTED.md", "7100", false);
    let made = guide.folder.path().join("try");
    std::fs::create_dir(&made).unwrap();
    symlink(cache.join("target"), made.join("target")).unwrap();

    guide.run("export PATH=");
    guide.run("export HOST_DATA=");
    write_and_build(&mut guide, "1.0.0");
    guide.expect("host inspect try/greeter-1.0.0.wasm", &["schema 1", "hotswap:workload"]);

    guide.run("host run 2> try/host.log &");
    assert!(std::fs::read_to_string(made.join("host.log")).unwrap().contains("host ready"));
    guide.expect("host deploy try/greeter-1.0.0.wasm", &["greeter 1.0.0 runs"]);
    let greeted = guide.run("printf 'ann\\nbob\\n' | nc");
    assert_eq!(greeted, "hello ann, you are number 1\nhello bob, you are number 2\n");
    let mut other_terminal = Client::connect((Ipv4Addr::LOCALHOST, guide.port.1).into());
    assert_eq!(other_terminal.ask("eve"), "hello eve, you are number 3");

    write_and_build(&mut guide, "1.1.0");
    guide.expect("host plan", &["greeter 1.0.0 → 1.1.0", "schema 1 becomes schema 2", "nothing was changed"]);
    guide
        .expect("host deploy try/greeter-1.1.0.wasm --version 1.1.0 --dry-run", &["would work", "nothing was changed"]);
    guide.expect("host deploy try/greeter-1.1.0.wasm --version 1.1.0 --probation 1s", &["swapped", "1 of 1 kept"]);
    assert_eq!(guide.run("printf 'ann\\n' | nc"), "hello ann, you are number 4 (1)\n");
    assert_eq!(other_terminal.ask("eve"), "hello eve, you are number 5 (1)");

    guide.expect("host status", &["greeter", "running"]);
    guide.expect("host status greeter", &["schema 2"]);
    guide.expect("host versions greeter", &["predecessor", "current"]);
    guide.expect("host history greeter", &["permanent"]);
    guide.expect("host health greeter", &["greeter: ok"]);
    guide.expect("host events", &["swap.permanent"]);

    guide.expect("host rollback greeter", &["1.1.0 → 1.0.0"]);
    assert_eq!(guide.run("printf 'ann\\n' | nc"), "hello ann, you are number 6\n");
    assert_eq!(other_terminal.ask("eve"), "hello eve, you are number 7");

    guide.run("kill %1; wait");
    assert_eq!(other_terminal.line(), "", "the host's end is the connection's end");
    guide.run("host run 2>> try/host.log &");
    guide.expect("until host status greeter", &["greeter: running"]);
    assert_eq!(guide.run("printf 'ann\\n' | nc"), "hello ann, you are number 8\n");
    guide.run("host stop greeter");
    guide.run("host start greeter");
    guide.run("host stop greeter");
    guide.run("host remove greeter");
    guide.run("kill %1; wait");
    guide.run("rm -r try");
    assert!(!made.exists());
    guide.end();
}

fn write_and_build(guide: &mut Walk, version: &str) {
    if version == "1.0.0" {
        guide.run("mkdir -p try/greeter/src");
        guide.run("cat > try/greeter/Cargo.toml");
    }
    guide.run("cat > try/greeter/src/lib.rs");
    guide.run("cargo build --release --target wasm32-wasip2");
    guide.run(&format!("cp try/target/wasm32-wasip2/release/greeter.wasm try/greeter-{version}.wasm"));
}

#[test]
fn what_is_not_run_here_stands_in_the_documents_and_runs_in_ci() {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let ci = read(".ci/run");
    let written = [commands(&read("README.md")), commands(&read("docs/GETTING-STARTED.md"))].concat();
    for (command, in_ci) in EXEMPT {
        assert!(written.iter().any(|line| line == command), "no document has `{command}` any more");
        assert!(ci.contains(in_ci), ".ci/run does not run `{in_ci}`");
    }
}
