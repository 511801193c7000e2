//! Names and numbers that identify things, each a type of its own so that none is taken for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::hex;

/// Longest name of a workload in bytes: it becomes a folder, a metric label and a column of a table.
pub const WORKLOAD_NAME_LIMIT_BYTES: usize = 63;

/// Name of a workload: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or a digit.
///
/// The name is the workload's identity; its code's hash never is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadName(String);

/// A name that can't be a workload's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` can't name a workload: use 1 to {WORKLOAD_NAME_LIMIT_BYTES} lower-case letters, digits, `-`, `_` or `.`, \
     beginning with a letter or a digit"
)]
pub struct InvalidWorkloadName {
    /// What was given.
    pub name: String,
}

impl WorkloadName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for WorkloadName {
    type Error = InvalidWorkloadName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if is_name(&name, WORKLOAD_NAME_LIMIT_BYTES) { Ok(Self(name)) } else { Err(InvalidWorkloadName { name }) }
    }
}

impl FromStr for WorkloadName {
    type Err = InvalidWorkloadName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::try_from(name.to_owned())
    }
}

impl From<WorkloadName> for String {
    fn from(name: WorkloadName) -> Self {
        name.0
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a host in bytes: one label of a DNS name.
pub const HOST_NAME_LIMIT_BYTES: usize = 63;

/// Name of a host in its fleet: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or a digit.
///
/// Its certificate says it, so a host can't speak for another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostId(String);

/// A name that can't be a host's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` can't name a host: use 1 to {HOST_NAME_LIMIT_BYTES} lower-case letters, digits, `-`, `_` or `.`, \
     beginning with a letter or a digit"
)]
pub struct InvalidHostId {
    /// What was given.
    pub name: String,
}

impl HostId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostId {
    type Error = InvalidHostId;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if is_name(&name, HOST_NAME_LIMIT_BYTES) { Ok(Self(name)) } else { Err(InvalidHostId { name }) }
    }
}

impl FromStr for HostId {
    type Err = InvalidHostId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::try_from(name.to_owned())
    }
}

impl From<HostId> for String {
    fn from(name: HostId) -> Self {
        name.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or a digit.
pub(crate) fn is_name(name: &str, limit_bytes: usize) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= limit_bytes
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no SHA-256 digest: 64 hexadecimal digits are wanted, in lower case")]
pub struct InvalidDigest {
    /// What was given.
    pub text: String,
}

impl Digest {
    /// Takes the 32 bytes of a SHA-256.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hexadecimal digits, enough for a person.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::read(text).map(Self).ok_or_else(|| InvalidDigest { text: text.to_owned() })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Declares a number that identifies something.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Counter per workload, raised by each switch; fences stale commands.
    Generation
}
number! {
    /// A rollout of a fleet, counted from 1.
    RolloutId
}
number! {
    /// Which start of a coordinator speaks: raised by each, so that the word of an older one is known as such.
    Epoch
}
number! {
    /// A command to a host, counted by the coordinator and never given twice.
    CommandId
}
number! {
    /// A revision of a workload that the fleet was asked to run, counted by the coordinator: the same content, the same number.
    RevisionId
}
number! {
    /// A question to a host, counted within its rollout: an answer to an older one is known as such.
    QuestionId
}
number! {
    /// A swap of this host, counted from 1.
    SwapId
}
number! {
    /// A client's connection, named by the host: boot epoch in the upper half, counter in the lower.
    ConnectionId
}
number! {
    /// A timer, named by the workload.
    TimerId
}
number! {
    /// A call that waits for its reply, named by the host like a connection.
    CallId
}
number! {
    /// How many batches a workload has handled since it first started.
    BatchSeq
}

impl CommandId {
    /// Bits that count the commands of one rollout: ten thousand hosts take a few hundred thousand.
    const COUNT_BITS: u32 = 24;

    /// The `count`th command of a rollout: whatever a later rollout orders has a higher number. What a coordinator orders
    /// outside of a rollout gets a number from the rollouts' counter for itself.
    #[must_use]
    pub const fn of(rollout: RolloutId, count: u32) -> Self {
        Self((rollout.0 << Self::COUNT_BITS) + count as u64)
    }

    /// The rollout it belongs to.
    #[must_use]
    pub const fn rollout(self) -> RolloutId {
        RolloutId(self.0 >> Self::COUNT_BITS)
    }
}

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_the_rule() {
        for bad in ["", "Chat", "a b", "../x", "-a", "ä", &"x".repeat(64)] {
            let error = bad.parse::<WorkloadName>().expect_err(bad);
            assert!(error.to_string().contains("lower-case"), "{error}");
        }
        for good in ["chat", "counter-1.0.0", "0", "a_b"] {
            good.parse::<WorkloadName>().expect(good);
        }
    }

    #[test]
    fn a_digest_reads_back_what_it_wrote() {
        let digest = Digest::new(std::array::from_fn(|i| u8::try_from(i * 8).expect("below 256")));
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn a_digest_is_64_lower_case_digits_and_nothing_else_is_one() {
        "0a".repeat(32).parse::<Digest>().expect("64 lower-case digits");
        for bad in ["abc", &"ä".repeat(32), &"0A".repeat(32), &"+f".repeat(32), &"-1".repeat(32), &" f".repeat(32)] {
            let error = bad.parse::<Digest>().expect_err(bad);
            assert!(error.to_string().contains("lower case"), "{error}");
        }
        assert!("0a".repeat(33).parse::<Digest>().is_err());
    }
}
