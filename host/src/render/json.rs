//! What programs read. Every document has `schema_version`; within a version fields are added, never renamed or removed.
//!
//! Durations are whole nanoseconds (`…_ns`), sizes bytes (`…_bytes`), moments RFC 3339 in UTC, fingerprints text (they don't
//! fit a double). What is not known is `null`. docs/CLI.md shows the shapes to people.

pub(super) mod fleet;
pub(super) mod report;
pub(super) mod status;

use std::time::Duration;

use host_core::id::WorkloadName;
use serde::Serialize;

use crate::cli::Trouble;

/// Raised when a field is renamed, removed or means something else.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<T> {
    schema_version: u32,
    #[serde(flatten)]
    content: T,
}

/// A document of its own.
pub(super) fn pretty<T: Serialize>(content: T) -> String {
    serde_json::to_string_pretty(&Document { schema_version: SCHEMA_VERSION, content }).unwrap_or_else(impossible)
}

/// A document on one line.
pub(super) fn compact<T: Serialize>(content: T) -> String {
    serde_json::to_string(&Document { schema_version: SCHEMA_VERSION, content }).unwrap_or_else(impossible)
}

/// Our shapes have text for keys and no way to fail; should one ever, this is still a document.
fn impossible(error: serde_json::Error) -> String {
    format!(
        "{{\"schema_version\":{SCHEMA_VERSION},\"error\":{{\"kind\":\"internal\",\"what\":{:?}}}}}",
        error.to_string()
    )
}

/// Whole nanoseconds.
fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Why a command came to nothing.
#[derive(Serialize)]
pub(super) struct Error<'a> {
    error: ErrorParts<'a>,
}

#[derive(Serialize)]
struct ErrorParts<'a> {
    kind: &'a str,
    what: &'a str,
    still: Option<&'a str>,
    remedy: Option<&'a str>,
    exit_code: u8,
}

impl<'a> Error<'a> {
    pub(super) fn of(trouble: &'a Trouble) -> Self {
        Self {
            error: ErrorParts {
                kind: trouble.kind,
                what: &trouble.what,
                still: trouble.still.as_deref(),
                remedy: trouble.remedy.as_deref(),
                exit_code: trouble.exit.code(),
            },
        }
    }
}

/// A person left before the report.
#[derive(Serialize)]
pub(super) struct Detached<'a> {
    pub(super) detached: bool,
    pub(super) workload: &'a str,
    /// Whether the host had begun.
    pub(super) begun: bool,
}

/// A workload's reply.
#[derive(Serialize)]
pub(super) struct Reply<'a> {
    workload: &'a str,
    method: &'a str,
    reply_bytes: usize,
    /// As text, where it is UTF-8.
    reply: Option<&'a str>,
    /// As hexadecimal digits, where it is not.
    reply_hex: Option<String>,
}

impl<'a> Reply<'a> {
    pub(super) fn of(workload: &'a WorkloadName, method: &'a str, reply: &'a [u8]) -> Self {
        let text = std::str::from_utf8(reply).ok();
        let hex = || reply.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            workload: workload.as_str(),
            method,
            reply_bytes: reply.len(),
            reply: text,
            reply_hex: text.is_none().then(hex),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn every_document_has_its_version() {
        let trouble = Trouble::new(Exit::NoHost, "no host runs in /d").remedy("start one");
        let document: serde_json::Value = serde_json::from_str(&pretty(Error::of(&trouble))).expect("JSON");
        assert_eq!(
            document,
            serde_json::json!({
                "schema_version": 1,
                "error": {
                    "kind": "no-host", "what": "no host runs in /d", "still": null, "remedy": "start one", "exit_code": 5
                }
            })
        );
    }

    #[test]
    fn a_reply_that_is_no_text_is_in_digits() {
        let name = "counter".parse().expect("a name");
        let of = |reply: &[u8]| -> serde_json::Value {
            serde_json::from_str(&compact(Reply::of(&name, "m", reply))).expect("JSON")
        };
        assert_eq!(of(b"5")["reply"], "5");
        assert_eq!(of(&[0xff, 1])["reply_hex"], "ff01");
    }
}
