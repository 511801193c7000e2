//! What can run: releases, what a component says of itself, and revisions.

use std::{collections::BTreeSet, fmt, net::SocketAddr, str::FromStr};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, WorkloadName};

/// The format of a state: the author's number and the hash of the state's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateFormat {
    /// Number of the format.
    pub schema: u32,
    /// Hash of the state's type.
    pub fingerprint: u64,
}

impl fmt::Display for StateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {}", self.schema)
    }
}

/// What a component says of itself (`describe`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The format it writes.
    pub writes: StateFormat,
    /// Older formats it takes over.
    pub upgrades_from: Vec<StateFormat>,
    /// Older formats it can also write.
    pub downgrades_to: Vec<StateFormat>,
    /// Client protocols it speaks, newest first.
    pub protocols: Vec<String>,
}

impl Description {
    /// Whether `code-change` takes a state of this format.
    #[must_use]
    pub fn accepts(&self, format: StateFormat) -> bool {
        self.writes == format || self.upgrades_from.contains(&format)
    }
}

/// A power of the host that a release must be granted: nothing is open without it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// A folder of its own, kept by the host under the workload's name.
    Directory,
}

/// Workload, version, digest and state format. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The workload.
    pub workload: WorkloadName,
    /// The label.
    pub version: Version,
    /// Which bytes.
    pub digest: Digest,
    /// What the component says of itself.
    pub description: Description,
    /// What it must be granted.
    pub capabilities: BTreeSet<Capability>,
}

/// A release with all it runs with. Changing any of it is a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The release.
    pub release: Release,
    /// The text given to `init`.
    pub config: String,
    /// Where clients reach it.
    pub listeners: Vec<ListenAddress>,
    /// How many instances serve it.
    pub topology: Topology,
}

/// How many instances serve a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// One instance with the state that all connections share.
    #[default]
    Single,
    /// An instance for each connection, which lives as long as the connection does and is not persisted.
    PerConnection,
}

impl Topology {
    /// As written for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::PerConnection => "per-connection",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a workload listens, written `tcp://ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress {
    /// Address and port. Port 0 lets the system choose at the first start; the chosen one is kept from then on.
    pub address: SocketAddr,
}

/// Text that is no listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListenAddress {
    /// Not `tcp://`.
    #[error("`{text}` is no listener: write it as tcp://127.0.0.1:7000 (other schemes are not built yet)")]
    Scheme {
        /// What was given.
        text: String,
    },
    /// Not an address and a port.
    #[error(
        "`{text}` is no listener: an IP address and a port are wanted, as in tcp://127.0.0.1:7000 or tcp://[::1]:7000"
    )]
    Address {
        /// What was given.
        text: String,
    },
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("tcp://").ok_or_else(|| InvalidListenAddress::Scheme { text: text.to_owned() })?;
        // Names are not resolved: which of several addresses a listener binds must not depend on a resolver.
        let rest = rest.strip_prefix("localhost:").map_or_else(|| rest.to_owned(), |port| format!("127.0.0.1:{port}"));
        let address = rest.parse().map_err(|_| InvalidListenAddress::Address { text: text.to_owned() })?;
        Ok(Self { address })
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListenAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(listener: ListenAddress) -> Self {
        listener.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_reads_back_what_it_wrote() {
        for text in ["tcp://127.0.0.1:7000", "tcp://[::1]:0"] {
            assert_eq!(text.parse::<ListenAddress>().expect(text).to_string(), text);
        }
        assert_eq!("tcp://localhost:1".parse::<ListenAddress>().expect("localhost").to_string(), "tcp://127.0.0.1:1");
        for bad in ["127.0.0.1:7000", "udp://127.0.0.1:1", "tcp://host:1", "tcp://127.0.0.1", "tcp://127.0.0.1:70000"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }
}
