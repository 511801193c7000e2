//! Erlang's side: a BEAM in a process of its own that swaps its servers when it is told to.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

/// How Debian installs what this needs.
pub const INSTALL: &str = "apt-get install erlang-base";

/// Where the Erlang sources are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/otp");

/// A running BEAM. It ends with its owner.
#[derive(Debug)]
pub struct Beam {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The compiled module, read when it starts and nowhere else.
    _folder: TempDir,
}

/// Which way a swap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How long the servers stood still.
#[derive(Clone, Copy, Debug)]
pub struct Swap {
    /// From before the first is suspended until the last has been resumed.
    pub pause_ms: f64,
    /// Of which for loading the code.
    pub load_ms: f64,
    /// Of which for `code_change`.
    pub change_ms: f64,
}

impl Beam {
    /// Compiles the Erlang side and starts it.
    ///
    /// # Errors
    /// In words: what is missing, or what failed.
    pub fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let source = Path::new(SOURCES).join("swap.erl");
        let compiled = Command::new("erlc").arg("-o").arg(folder.path()).arg(source).status();
        match compiled {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("erlc failed: {status}")),
            Err(error) => return Err(format!("no erlc ({error}); on Debian: {INSTALL}")),
        }
        let mut child = Command::new("erl")
            .args(["-noshell", "-pa"])
            .arg(folder.path())
            .args(["-run", "swap", "main", SOURCES, "-s", "init", "stop"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("no erl ({error}); on Debian: {INSTALL}"))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("erl has no standard input and output".to_owned());
        };
        Ok(Self { child, commands, answers: BufReader::new(answers), _folder: folder })
    }

    /// One new server with so many rows, instead of those there are.
    pub fn single(&mut self, rows: u32) -> Result<(), String> {
        self.ask(&format!("single {rows}")).map(drop)
    }

    /// So many new servers without rows, instead of those there are.
    pub fn many(&mut self, processes: u32) -> Result<(), String> {
        self.ask(&format!("many {processes}")).map(drop)
    }

    /// Swaps all servers there are.
    pub fn swap(&mut self, way: Way) -> Result<Swap, String> {
        let answer = self.ask(way.name())?;
        let mut figures = answer.split(' ').map(|micros| micros.parse::<f64>().map(|micros| micros / 1e3));
        match (figures.next(), figures.next(), figures.next()) {
            (Some(Ok(pause_ms)), Some(Ok(load_ms)), Some(Ok(change_ms))) => Ok(Swap { pause_ms, load_ms, change_ms }),
            _ => Err(format!("erl answered `{answer}`")),
        }
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        let mut answer = String::new();
        writeln!(self.commands, "{command}")
            .and_then(|()| self.answers.read_line(&mut answer))
            .map_err(|error| format!("erl, asked to `{command}`: {error}"))?;
        if answer.is_empty() {
            return Err(format!("erl ended when asked to `{command}`"));
        }
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
