//! The one validation door: raw messages become values here and nowhere else.
//!
//! `TryFrom` leads from a message into core's type and names the field that is wrong, with its path; `From` leads back. The
//! same door serves requests (the host reads them) and answers (the client does).

mod event;
pub mod limits;
mod plan;
mod report;
mod request;
mod status;

pub(crate) use request::optional_workload;
pub use request::{Call, Events, History, Upload};

use std::{fmt, str::FromStr, time::Duration};

use host_core::{id::Digest, release::StateFormat};
use semver::Version;

use crate::{Failure, FailureKind, pb};

/// A field that can't be read as a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// Path of the field, as the contract names it.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::new(field, "it is missing")
    }

    /// The same, seen from the message around it.
    pub(crate) fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), why: self.why }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(FailureKind::Invalid, invalid.to_string()).still("nothing was changed")
    }
}

/// Reads text whose type says what is valid: a name, a digest, a listener.
fn text<T: FromStr<Err: fmt::Display>>(field: &str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|why| Invalid::new(field, why))
}

fn version(field: &str, raw: &str) -> Result<Version, Invalid> {
    raw.parse().map_err(|why| Invalid::new(field, format_args!("`{raw}` is no semantic version: {why}")))
}

fn optional_version(field: &str, raw: Option<String>) -> Result<Option<Version>, Invalid> {
    raw.map(|raw| version(field, &raw)).transpose()
}

fn digest(field: &str, raw: &str) -> Result<Digest, Invalid> {
    text(field, raw)
}

/// A message that must be there.
fn wanted<P, T: TryFrom<P, Error = Invalid>>(field: &str, message: Option<P>) -> Result<T, Invalid> {
    optional(field, message)?.ok_or_else(|| Invalid::missing(field))
}

fn optional<P, T: TryFrom<P, Error = Invalid>>(field: &str, message: Option<P>) -> Result<Option<T>, Invalid> {
    message.map(|message| T::try_from(message).map_err(|inner| inner.within(field))).transpose()
}

fn each<P, T: TryFrom<P, Error = Invalid>>(field: &str, messages: Vec<P>) -> Result<Vec<T>, Invalid> {
    let read = |(at, message)| T::try_from(message).map_err(|inner: Invalid| inner.within(&format!("{field}[{at}]")));
    messages.into_iter().enumerate().map(read).collect()
}

/// A duration within its limit.
fn limited(field: &str, ns: u64, limit: Duration) -> Result<Duration, Invalid> {
    let duration = Duration::from_nanos(ns);
    if duration > limit {
        return Err(Invalid::new(field, format_args!("{duration:?} is above the limit of {limit:?}")));
    }
    Ok(duration)
}

/// In nanoseconds; 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Text of limited length.
fn short(field: &str, text: String, limit_bytes: usize) -> Result<String, Invalid> {
    if text.len() > limit_bytes {
        return Err(Invalid::new(field, format_args!("{} bytes are above the limit of {limit_bytes}", text.len())));
    }
    Ok(text)
}

impl From<StateFormat> for pb::StateFormat {
    fn from(format: StateFormat) -> Self {
        Self { schema: format.schema, fingerprint: format.fingerprint }
    }
}

impl TryFrom<pb::StateFormat> for StateFormat {
    type Error = Invalid;

    fn try_from(raw: pb::StateFormat) -> Result<Self, Invalid> {
        Ok(Self { schema: raw.schema, fingerprint: raw.fingerprint })
    }
}

/// Leads between an enum of the contract and one of core, value by value. Its number zero, and a number that this side
/// does not know, name the field.
macro_rules! enumeration {
    ($read:ident, $write:ident, $raw:ty, $core:ty, { $($variant:ident),+ $(,)? }) => {
        pub(super) fn $read(field: &str, number: i32) -> Result<$core, Invalid> {
            match <$raw>::try_from(number) {
                $(Ok(<$raw>::$variant) => Ok(<$core>::$variant),)+
                Ok(<$raw>::Unspecified) => Err(Invalid::missing(field)),
                Err(_) => Err(Invalid::new(field, format_args!("{number} means nothing here"))),
            }
        }

        pub(super) const fn $write(value: $core) -> i32 {
            match value {
                $(<$core>::$variant => <$raw>::$variant as i32,)+
            }
        }
    };
}
use enumeration;
