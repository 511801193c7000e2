//! Whom a certificate names: the one place where that is written and read.
//!
//! It is a [SPIFFE](https://spiffe.io) ID, the one URI among the certificate's subject alternative names:
//!
//! ```text
//! spiffe://<fleet>.hotswap/host/<name>          a host
//! spiffe://<fleet>.hotswap/operator/<name>      who gives orders
//! spiffe://<fleet>.hotswap/coordinator/<name>   who keeps the fleet
//! spiffe://<fleet>.hotswap                      the authority itself
//! ```
//!
//! What is not written exactly so is nobody. Room is left for an operator's role: it would be a further part of the path,
//! and a program that does not know it refuses the certificate instead of taking it for more than it is.

use std::{fmt, str::FromStr};

use host_core::{
    hex,
    id::{HostId, InvalidHostId},
};
use serde::{Deserialize, Serialize};

use super::{NoRandomness, random};

const SCHEME: &str = "spiffe://";
const DOMAIN: &str = ".hotswap";

/// A fleet: 16 hexadecimal digits, drawn when its authority was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FleetId([u8; 8]);

/// Text that names no fleet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no fleet: 16 hexadecimal digits are wanted")]
pub struct InvalidFleetId {
    /// What was given.
    pub text: String,
}

impl FleetId {
    /// A fleet that there is not yet.
    pub(super) fn draw() -> Result<Self, NoRandomness> {
        Ok(Self(random()?))
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetId({self})")
    }
}

impl FromStr for FleetId {
    type Err = InvalidFleetId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::read(text).map(Self).ok_or_else(|| InvalidFleetId { text: text.to_owned() })
    }
}

impl TryFrom<String> for FleetId {
    type Error = InvalidFleetId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FleetId> for String {
    fn from(fleet: FleetId) -> Self {
        fleet.to_string()
    }
}

/// What a member of a fleet is, and so what it may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Runs workloads and takes commands.
    Host,
    /// Gives orders.
    Operator,
    /// Keeps the fleet; is reached, never reaches.
    Coordinator,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Name of a member among those of its kind. The rule is a host's: 1 to 63 lower-case letters, digits, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectName(HostId);

impl SubjectName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<HostId> for SubjectName {
    fn from(host: HostId) -> Self {
        Self(host)
    }
}

impl From<SubjectName> for HostId {
    fn from(name: SubjectName) -> Self {
        name.0
    }
}

impl FromStr for SubjectName {
    type Err = InvalidHostId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member of a fleet by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Which fleet.
    pub fleet: FleetId,
    /// As what.
    pub kind: Kind,
    /// Which of that kind.
    pub name: SubjectName,
}

impl Subject {
    /// The host, if that is what it is.
    #[must_use]
    pub fn host(&self) -> Option<&HostId> {
        (self.kind == Kind::Host).then_some(&self.name.0)
    }

    /// As it is written into a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{}/{}/{}", authority_uri(self.fleet), self.kind, self.name)
    }
}

/// For people: `host web-1`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What a fleet's authority calls itself.
pub(super) fn authority_uri(fleet: FleetId) -> String {
    format!("{SCHEME}{fleet}{DOMAIN}")
}

/// The fleet whose authority this URI names.
pub(super) fn read_authority(uri: &str) -> Option<FleetId> {
    uri.strip_prefix(SCHEME)?.strip_suffix(DOMAIN)?.parse().ok()
}

/// The member whom this URI names.
pub(super) fn read(uri: &str) -> Option<Subject> {
    let mut parts = uri.strip_prefix(SCHEME)?.split('/');
    let (domain, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let fleet = domain.strip_suffix(DOMAIN)?.parse().ok()?;
    let kind = [Kind::Host, Kind::Operator, Kind::Coordinator].into_iter().find(|known| known.as_str() == kind)?;
    Some(Subject { fleet, kind, name: name.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_reads_back_what_it_wrote() {
        let fleet = "0123456789abcdef".parse().expect("a fleet");
        for kind in [Kind::Host, Kind::Operator, Kind::Coordinator] {
            let subject = Subject { fleet, kind, name: "web-1.eu".parse().expect("a name") };
            assert_eq!(read(&subject.uri()), Some(subject.clone()));
            assert_eq!(read_authority(&subject.uri()), None);
            assert_eq!(subject.host().is_some(), kind == Kind::Host);
        }
        assert_eq!(read_authority(&authority_uri(fleet)), Some(fleet));
        assert_eq!(read(&authority_uri(fleet)), None);
    }

    #[test]
    fn what_is_not_written_exactly_so_is_nobody() {
        for bad in [
            "",
            "https://0123456789abcdef.hotswap/host/a",
            "spiffe://0123456789abcdef/host/a",
            "spiffe://0123456789ABCDEF.hotswap/host/a",
            "spiffe://0123456789abcdef.hotswap/host",
            "spiffe://0123456789abcdef.hotswap/host/",
            "spiffe://0123456789abcdef.hotswap/host/a/",
            "spiffe://0123456789abcdef.hotswap/host/a/admin",
            "spiffe://0123456789abcdef.hotswap/Host/a",
            "spiffe://0123456789abcdef.hotswap/host/A",
            "spiffe://0123456789abcdef.hotswap/host/..",
            "spiffe://0123456789abcdef.hotswap//a",
            "spiffe://0123456789abcdef.hotswap/root/a",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
