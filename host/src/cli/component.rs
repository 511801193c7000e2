//! A component's file and what it is to become: what `deploy` and `plan` have in common.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use host_api::convert::limits;
use host_core::{
    id::WorkloadName,
    plan::Intent,
    policy::{StateSource, SwapPolicy},
    release::{ListenAddress, Topology},
    request::{DeployRequest, Extent},
};
use semver::Version;

use super::{Exit, Trouble, values};
use crate::render;

/// Which component, as what.
#[derive(Debug, clap::Args)]
pub(crate) struct Component {
    /// The component's .wasm file
    file: PathBuf,

    /// Version of the component, as 1.2.3
    #[arg(long, value_name = "V", value_parser = values::version)]
    version: Version,

    /// Workload that it is a version of [default: the file's stem without a version at its end: counter-1.1.0.wasm is
    /// a version of counter]
    #[arg(long, value_name = "N")]
    name: Option<WorkloadName>,

    /// Where clients reach the workload; repeat it for more [default: where they do now; a new workload needs one]
    #[arg(long, value_name = "tcp://ADDR")]
    listen: Vec<ListenAddress>,

    /// File with the text that the workload is given at its start [default: the text it has now]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How many instances serve it; a workload's first deploy chooses [default: what it has now; at first, single]
    #[arg(long, value_enum, value_name = "TOPOLOGY")]
    topology: Option<Instances>,

    /// A version lower than the running one is meant
    #[arg(long)]
    downgrade: bool,

    /// Where the state comes from; last-checkpoint is for a version whose snapshot fails, and costs what happened since
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE")]
    state_from: Source,
}

/// How many instances serve a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Instances {
    /// One, with the state that all connections share
    Single,
    /// One for each connection, which ends with it and is not persisted
    PerConnection,
}

impl From<Instances> for Topology {
    fn from(instances: Instances) -> Self {
        match instances {
            Instances::Single => Self::Single,
            Instances::PerConnection => Self::PerConnection,
        }
    }
}

/// Where the state comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// The running instance
    #[default]
    Live,
    /// Its last checkpoint
    LastCheckpoint,
}

impl Component {
    pub(crate) const fn state_source(&self) -> StateSource {
        match self.state_from {
            Source::Live => StateSource::Live,
            Source::LastCheckpoint => StateSource::LastCheckpoint,
        }
    }

    /// The request and the component's bytes. Nothing was asked of a host yet.
    pub(crate) fn request(self, policy: SwapPolicy, extent: Extent) -> Result<(DeployRequest, Bytes), Trouble> {
        self.read(policy, extent).map_err(|trouble| trouble.still("nothing was asked of the host; what runs goes on"))
    }

    fn read(self, policy: SwapPolicy, extent: Extent) -> Result<(DeployRequest, Bytes), Trouble> {
        let state_from = self.state_source();
        let workload = match self.name {
            Some(name) => name,
            None => values::name_of_file(&self.file).map_err(|error| {
                Trouble::new(Exit::Usage, error.to_string()).remedy("name the workload with --name")
            })?,
        };
        if self.listen.len() > limits::LISTENERS_LIMIT {
            let what = format!("a workload has at most {} listeners", limits::LISTENERS_LIMIT);
            return Err(Trouble::new(Exit::Usage, what));
        }
        let component = read("component", &self.file, limits::COMPONENT_LIMIT_BYTES)?;
        if component.is_empty() {
            let what = format!("{} is empty", self.file.display());
            return Err(Trouble::new(Exit::Failed, what).remedy("build it: cargo build --target wasm32-wasip2"));
        }
        let request = DeployRequest {
            workload,
            version: self.version,
            listeners: (!self.listen.is_empty()).then_some(self.listen),
            config: self.config.as_deref().map(read_config).transpose()?,
            topology: self.topology.map(Into::into),
            intent: Intent::Deploy { downgrade: self.downgrade },
            policy: SwapPolicy { state_from, ..policy },
            extent,
            trace: None,
        };
        Ok((request, component))
    }
}

pub(crate) fn read_config(file: &Path) -> Result<String, Trouble> {
    let bytes = read("config", file, limits::CONFIG_LIMIT_BYTES as u64)?;
    String::from_utf8(bytes.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Trouble::new(Exit::Failed, format!("the config {} is no UTF-8 text (byte {at})", file.display()))
    })
}

/// Reads a file that a person named, whole.
pub(crate) fn read(what: &str, file: &Path, limit_bytes: u64) -> Result<Bytes, Trouble> {
    let failed = |error: io::Error| {
        let shown = file.display();
        let (what, remedy) = match error.kind() {
            io::ErrorKind::NotFound => (format!("there is no file {shown}"), Some("look at the path")),
            io::ErrorKind::IsADirectory => (format!("{shown} is a directory"), Some("name the file in it")),
            _ => (format!("the {what} {shown} can't be read: {error}"), None),
        };
        Trouble { remedy: remedy.map(str::to_owned), ..Trouble::new(Exit::Failed, what) }
    };
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is too much, also of what is no plain file.
    fs::File::open(file).and_then(|file| file.take(limit_bytes + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        let what = format!("{} is larger than a {what} may be ({})", file.display(), render::bytes(limit_bytes));
        return Err(Trouble::new(Exit::Failed, what));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_is_said_to_be_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = read("component", &folder.path().join("x.wasm"), 10).expect_err("missing");
        assert!(missing.what.starts_with("there is no file"), "{}", missing.what);
        let directory = read("component", folder.path(), 10).expect_err("a directory");
        assert!(directory.what.ends_with("is a directory"), "{}", directory.what);
        let file = folder.path().join("x.wasm");
        fs::write(&file, [7; 11]).expect("written");
        let large = read("component", &file, 10).expect_err("too large");
        assert!(large.what.contains("larger than a component may be (10 B)"), "{}", large.what);
        assert_eq!(read("component", &file, 11).expect("read").len(), 11);
    }
}
