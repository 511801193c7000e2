//! What a host tells whoever listens, and the patterns to choose by.

use serde::{Deserialize, Serialize};

use crate::{
    id::{SwapId, WorkloadName},
    time::UnixNanos,
};

/// Something that happened on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEvent {
    /// Counted from 1 for the life of the data directory.
    pub seq: u64,
    /// When.
    pub at: UnixNanos,
    /// `swap.phase`, `workload.restarted`, … (docs/RUNBOOK.md lists them).
    pub name: String,
    /// The workload, where it concerns one.
    pub workload: Option<WorkloadName>,
    /// The swap, where it belongs to one.
    pub swap: Option<SwapId>,
    /// In words.
    pub message: String,
}

/// A pattern over event names: literal text with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Longest pattern in bytes: event names are shorter.
    pub const LIMIT_BYTES: usize = 128;

    /// A pattern; none when it is longer than [`Self::LIMIT_BYTES`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= Self::LIMIT_BYTES).then(|| Self(text.to_owned()))
    }

    /// Whether it chooses this name. Linear in the name for each star.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_nothing() {
        for (pattern, name, wanted) in [
            ("swap.*", "swap.phase", true),
            ("swap.*", "swap.", true),
            ("swap.*", "workload.restarted", false),
            ("*", "", true),
            ("*.restarted", "workload.restarted", true),
            ("w*d.*ed", "workload.restarted", true),
            ("swap", "swap.phase", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).expect("short").matches(name), wanted, "{pattern} on {name}");
        }
    }
}
