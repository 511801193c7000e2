//! Which protocol client and host speak, and the words when there is none in common.
//!
//! The protocol's number is raised when an answer could no longer be read by the side that lags behind. It is agreed on by
//! `Hello` and named in every call's metadata, so that a mismatch never shows as a message that can't be decoded: a host
//! may have been replaced by another one between two calls of the same client.

use tonic::metadata::{MetadataMap, MetadataValue};

use crate::{Failure, FailureKind};

/// Oldest protocol spoken here.
pub const MIN_PROTOCOL: u32 = 1;
/// Newest protocol spoken here.
pub const MAX_PROTOCOL: u32 = 1;

/// Protocol of a call.
const PROTOCOL_KEY: &str = "hotswap-protocol";
/// Version of the program that calls.
const VERSION_KEY: &str = "hotswap-client";

/// A host's version and process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

impl Identity {
    /// This process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
    }
}

/// The highest protocol that both sides speak.
pub(crate) fn agree(min: u32, max: u32, client: &str, host: &Identity) -> Result<u32, Failure> {
    let chosen = max.min(MAX_PROTOCOL);
    if min <= max && chosen >= min.max(MIN_PROTOCOL) {
        return Ok(chosen);
    }
    let what = format!(
        "this client ({client}) speaks protocol {}, and the host ({}, pid {}) speaks {}",
        range(min, max),
        host.version,
        host.pid,
        range(MIN_PROTOCOL, MAX_PROTOCOL)
    );
    let remedy = if min > MAX_PROTOCOL {
        "update the host: stop it and start it with the newer program; its workloads keep their state"
    } else {
        "update the client: use the `host` program that the host was started with, or a newer one"
    };
    Err(Failure::new(FailureKind::Protocol, what).still("nothing was asked of the host; it goes on").remedy(remedy))
}

/// Whether a call's metadata names a protocol that is spoken here.
pub(crate) fn check(metadata: &MetadataMap, host: &Identity) -> Result<(), Failure> {
    let Some(named) = metadata.get(PROTOCOL_KEY) else { return Ok(()) };
    // What can't be read as a number was written by a protocol that is yet to come.
    let protocol = named.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX);
    let client = metadata.get(VERSION_KEY).and_then(|version| version.to_str().ok()).unwrap_or("of an unknown version");
    agree(protocol, protocol, client, host).map(|_| ())
}

/// Names the protocol of a call.
pub(crate) fn name(metadata: &mut MetadataMap, protocol: u32) {
    metadata.insert(PROTOCOL_KEY, MetadataValue::from(protocol));
    metadata.insert(VERSION_KEY, MetadataValue::from_static(env!("CARGO_PKG_VERSION")));
}

fn range(min: u32, max: u32) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_that_lags_behind_is_told_to_update() {
        let host = Identity { version: "0.1.0".to_owned(), pid: 7 };
        assert_eq!(agree(MIN_PROTOCOL, MAX_PROTOCOL + 4, "9.0.0", &host), Ok(MAX_PROTOCOL));
        let newer = agree(MAX_PROTOCOL + 1, MAX_PROTOCOL + 2, "9.0.0", &host).expect_err("no common protocol");
        assert!(newer.remedy.expect("a remedy").starts_with("update the host"));
        assert!(newer.what.contains("9.0.0") && newer.what.contains("pid 7"), "{}", newer.what);
        let older = agree(0, MIN_PROTOCOL - 1, "0.0.1", &host).expect_err("no common protocol");
        assert!(older.remedy.expect("a remedy").starts_with("update the client"));
        assert!(agree(2, 1, "0.0.1", &host).is_err(), "an empty range");
    }

    #[test]
    fn a_call_of_another_protocol_is_refused_and_one_without_is_taken() {
        let host = Identity::of_this_process();
        let mut metadata = MetadataMap::new();
        assert_eq!(check(&metadata, &host), Ok(()));
        name(&mut metadata, MAX_PROTOCOL);
        assert_eq!(check(&metadata, &host), Ok(()));
        name(&mut metadata, MAX_PROTOCOL + 1);
        assert_eq!(check(&metadata, &host).expect_err("refused").kind, FailureKind::Protocol);
    }
}
