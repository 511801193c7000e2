//! What a person asks of a fleet.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::policy::{InvalidPolicy, RolloutPolicy, Schedule};
use crate::{
    fleet::{FleetRevision, Selector},
    id::WorkloadName,
    label::Label,
};

/// Longest address of a release in bytes.
pub const SOURCE_LIMIT_BYTES: usize = 2_048;
/// Most labels that order the hosts of a rollout: one for each step a person plans.
pub const ORDER_LIMIT: usize = 32;
/// Longest name of whoever asks, in bytes.
pub const PERSON_LIMIT_BYTES: usize = 256;

/// Where hosts take the component from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// The coordinator's store; a host that has the bytes asks for none.
    #[default]
    Store,
    /// Each host has it already.
    Host,
    /// An address that each host reads: `https://…` or `file://…`.
    Address(String),
}

/// Text that says no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no source: write store, host, https://… or file://…, in at most {SOURCE_LIMIT_BYTES} bytes")]
pub struct InvalidSource {
    /// What was given.
    pub text: String,
}

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address =
            || ["https://", "file://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
        match text {
            "store" => Ok(Self::Store),
            "host" => Ok(Self::Host),
            _ if text.len() <= SOURCE_LIMIT_BYTES && address() => Ok(Self::Address(text.to_owned())),
            _ => Err(InvalidSource { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = InvalidSource;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Host => "host",
            Self::Address(address) => address,
        })
    }
}

/// Which way a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To a version that is not lower than what runs.
    #[default]
    Upgrade,
    /// A lower version is meant (`--downgrade`).
    Downgrade,
    /// Back to what was stable before (`fleet rollback`).
    Rollback,
}

impl Direction {
    /// Whether a lower version is meant.
    #[must_use]
    pub const fn lowers(self) -> bool {
        matches!(self, Self::Downgrade | Self::Rollback)
    }
}

/// How far a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// Every host prepares and rehearses on its own live state; none is switched (`--dry-run`).
    Rehearse,
    /// All the way.
    #[default]
    Roll,
}

/// What a person asks of a fleet: bring this revision to these hosts in this manner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRequest {
    /// What.
    pub target: FleetRevision,
    /// Where hosts take it from.
    pub source: Source,
    /// To which of the hosts that the assignment chooses.
    pub hosts: Selector,
    /// Hosts with the first of these labels come first, then those with the second; the others follow by name.
    pub order: Vec<Label>,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub extent: Extent,
    /// When; now if nothing is said.
    pub schedule: Option<Schedule>,
    /// In which manner.
    pub policy: RolloutPolicy,
    /// Who asks.
    pub by: String,
}

/// Why a request is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Its policy can't be followed.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// Too many labels of order.
    #[error("at most {ORDER_LIMIT} labels can order the hosts")]
    Order,
    /// A name that fills the log.
    #[error("whoever asks has a name of at most {PERSON_LIMIT_BYTES} bytes")]
    Person,
}

impl RolloutRequest {
    /// A request in the default manner.
    #[must_use]
    pub fn new(target: FleetRevision, by: impl Into<String>) -> Self {
        Self {
            target,
            source: Source::default(),
            hosts: Selector::All,
            order: Vec::new(),
            direction: Direction::Upgrade,
            extent: Extent::Roll,
            schedule: None,
            policy: RolloutPolicy::default(),
            by: by.into(),
        }
    }

    /// The workload.
    #[must_use]
    pub const fn workload(&self) -> &WorkloadName {
        &self.target.workload
    }

    /// The request, if it can be followed. Whatever comes from outside passes here once.
    ///
    /// # Errors
    /// What is wrong, in the words a person reads.
    pub fn checked(mut self) -> Result<Self, InvalidRequest> {
        self.policy = self.policy.checked()?;
        if self.order.len() > ORDER_LIMIT {
            return Err(InvalidRequest::Order);
        }
        if self.by.len() > PERSON_LIMIT_BYTES {
            return Err(InvalidRequest::Person);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_what_it_wrote() {
        for text in ["store", "host", "https://example.org/chat.wasm", "file:///srv/chat.wasm"] {
            assert_eq!(text.parse::<Source>().expect(text).to_string(), text);
        }
        for bad in ["", "http://example.org/chat.wasm", "https://", "/srv/chat.wasm"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
