//! A shell as a person has it open: commands go in one after the other, and each has its output and its status.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

/// Longest wait for a command. One of them compiles a guest from nothing.
const PATIENCE: Duration = Duration::from_secs(300);

/// Reads commands, each up to a zero byte, and does them in this very shell. What a command started in the background ends
/// with the shell.
const LOOP: &str = r#"
set -m -o pipefail
trap 'jobs -p | xargs -r kill; wait' EXIT
exec 9<&0 </dev/null
while IFS= read -r -d '' command <&9; do
    eval "$command" 9<&-
    printf '\036%d\n' "$?"
done
"#;

/// One shell.
pub(super) struct Session {
    shell: Child,
    commands: Option<ChildStdin>,
    done: Receiver<(String, i32)>,
    complaints: PathBuf,
}

impl Session {
    /// Opens it in `folder`, with these folders before all others on its path. `home` is where its user is at home.
    pub(super) fn open(folder: &Path, path: &[PathBuf], home: Option<&Path>) -> Self {
        let complaints = folder.join("stderr");
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(path.iter().cloned().chain(std::env::split_paths(&inherited))).unwrap();
        let mut shell = Command::new("bash");
        shell.args(["--noprofile", "--norc", "-c", LOOP]).current_dir(folder).env("PATH", path);
        shell.env("CARGO_NET_OFFLINE", "true").env("PWD", folder);
        // A person has none of what cargo tells its tests, and no host in mind yet.
        let cargos = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(cargos) {
                shell.env_remove(name);
            }
        }
        for name in ["HOST_DATA", "XDG_DATA_HOME", "CARGO_TARGET_DIR", "CARGO", "RUST_LOG"] {
            shell.env_remove(name);
        }
        if let Some(home) = home {
            shell.env("HOME", home);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&complaints).unwrap());
        let mut shell = shell.spawn().unwrap();
        let (sender, done) = sync_channel(1);
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        std::thread::spawn(move || {
            loop {
                let (mut text, mut status) = (Vec::new(), String::new());
                let end = output.read_until(0x1e, &mut text).is_err() || text.pop() != Some(0x1e);
                if end || output.read_line(&mut status).is_err() {
                    break drop(output.read_to_end(&mut text));
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                let Ok(status) = status.trim().parse() else { break };
                if sender.send((text, status)).is_err() {
                    break;
                }
            }
        });
        let commands = shell.stdin.take();
        Self { shell, commands, done, complaints }
    }

    /// Runs a command, which must succeed, and gives what it wrote to standard output.
    #[track_caller]
    pub(super) fn run(&mut self, command: &str) -> String {
        let pipe = self.commands.as_mut().expect("the session is open");
        pipe.write_all(command.as_bytes()).and_then(|()| pipe.write_all(&[0])).unwrap();
        let complaints = || std::fs::read_to_string(&self.complaints).unwrap_or_default();
        match self.done.recv_timeout(PATIENCE) {
            Ok((output, 0)) => output,
            Ok((output, status)) => panic!("`{command}` ended with {status}:\n{output}\n{}", complaints()),
            Err(error) => panic!("`{command}` did not end ({error}):\n{}", complaints()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its commands is the shell's end, and that the end of what it started.
        self.commands = None;
        drop(self.shell.wait());
    }
}
