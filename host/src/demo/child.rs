//! The host, or the coordinator, that a demo runs against: a process of its own, as in real use.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use host_api::{Client, ClientError, socket};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for a host to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for it to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Lines of its log that are shown when something fails.
const TAIL_LINES: usize = 20;

/// Most of its log that is read for that.
const TAIL_LIMIT_BYTES: u64 = 64 << 10;

/// A running host. Dropped, it is killed and its data directory removed.
#[derive(Debug)]
pub(crate) struct HostProcess {
    // Fields are dropped in this order: first the process, then what it writes to.
    child: Child,
    log: PathBuf,
    verb: Verb,
    arguments: Vec<String>,
    data: TempDir,
}

/// As what this program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Run,
    Coordinator,
}

impl Verb {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Coordinator => "coordinator",
        }
    }
}

impl HostProcess {
    /// Starts this very program as a host in a new temporary directory.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with these arguments besides.
    pub(crate) fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_as(Verb::Run, Self::directory()?, arguments)
    }

    /// Starts it as what is wanted, in a directory that may have something in it.
    pub(crate) fn start_as(verb: Verb, data: TempDir, arguments: &[&str]) -> anyhow::Result<Self> {
        let log = data.path().join("host.log");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(verb, data.path(), &log, &arguments)?;
        Ok(Self { child, log, verb, arguments, data })
    }

    /// A new directory for it.
    pub(crate) fn directory() -> anyhow::Result<TempDir> {
        tempfile::Builder::new().prefix("host-demo-").tempdir().context("a temporary directory")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Starts it once more where it was, after it ended.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.verb, self.data.path(), &self.log, &self.arguments)?;
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) async fn client(&mut self) -> anyhow::Result<Client> {
        let socket = socket::path(self.data.path());
        let began = Instant::now();
        loop {
            let error = match Client::connect(&socket).await {
                Ok(client) => return Ok(client),
                // It does not listen yet.
                Err(error @ ClientError::NoHost { .. }) => error,
                Err(error) => return Err(error.into()),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended as soon as it was started: {status}");
            }
            if began.elapsed() > START_LIMIT {
                return Err(error).context(format!("the host did not answer within {START_LIMIT:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it still runs; its exit status if not.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the host ended by itself: {status}"),
        }
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end and waits for that. Cut short, the wait leaves it to be killed.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.terminate().await
    }

    /// The same, to start it again.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("asking the host to end")?;
        }
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("the host ended with {}", status?),
            Err(_) => bail!("the host did not end within {STOP_LIMIT:?} and was killed"),
        }
    }

    /// Kills it, as a power failure does.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing the host")
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(its log can't be read: {error})"))
    }
}

fn spawn(verb: Verb, data: &Path, log: &Path, arguments: &[String]) -> anyhow::Result<Child> {
    let file = File::options().create(true).append(true).open(log).context("a file for the host's log")?;
    let program = std::env::current_exe().context("where this program is")?;
    Command::new(&program)
        .arg(verb.as_str())
        .arg("--data")
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        // Ctrl-C is for the demo, which then ends its host in good order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}

fn tail(log: &Path) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_LIMIT_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_LIMIT_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_of_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let lines: Vec<String> = (0..20_000).map(|line| format!("line {line}")).collect();
        std::fs::write(&log, lines.join("\n")).expect("written");
        let tail = tail(&log).expect("readable");
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("line 19980\n") && tail.ends_with("line 19999"), "{tail}");
    }
}
