//! Which trace something belongs to: W3C's trace context, as it travels from a coordinator to its hosts.

use std::{fmt, num::NonZeroU64, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::hex;

/// A trace: all that belongs to one rollout, wherever it happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A span within its trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpanId([u8; 8]);

/// A span and its trace: what a child of it must know.
///
/// Written as a `traceparent` of version 00. It is handed on only where the trace is recorded, so the sampled flag is always set; one
/// without it is read as no context at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span in it.
    pub span: SpanId,
}

/// Text that is no trace context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no trace context that is recorded: 00-(32 digits)-(16 digits)-01 is wanted, hexadecimal in lower case"
)]
pub struct InvalidTraceContext {
    /// What was given.
    pub text: String,
}

impl TraceId {
    /// None for zero, which names nothing.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// None for zero, which names nothing.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl TraceContext {
    /// The `number`th span besides this one: another for each number, the same again for the same. So whoever knows the root and a
    /// counter goes on with the same trace after a restart, and draws nothing at random.
    #[must_use]
    pub fn nth(&self, number: u64) -> SpanId {
        let seed = u64::from_be_bytes(self.span.0);
        // SplitMix64: one value for each number, none of which looks like its neighbour to a backend that samples by them.
        let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        SpanId(NonZeroU64::new(mixed).unwrap_or(NonZeroU64::MIN).get().to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl TryFrom<String> for SpanId {
    type Error = InvalidTraceContext;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::read(&text).and_then(Self::new).ok_or(InvalidTraceContext { text })
    }
}

impl From<SpanId> for String {
    fn from(span: SpanId) -> Self {
        span.to_string()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (trace, span) = text.strip_prefix("00-")?.strip_suffix("-01")?.split_once('-')?;
            Some(Self { trace: TraceId::new(hex::read(trace)?)?, span: SpanId::new(hex::read(span)?)? })
        };
        read().ok_or_else(|| InvalidTraceContext { text: text.to_owned() })
    }
}

impl TryFrom<String> for TraceContext {
    type Error = InvalidTraceContext;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> Self {
        context.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_reads_back_what_it_wrote() {
        let context: TraceContext = TEXT.parse().expect("the specification's example");
        assert_eq!(context.to_string(), TEXT);
        assert_eq!(serde_json::to_string(&context).expect("text"), format!("\"{TEXT}\""));
        let zeros = [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ];
        let not_recorded = TEXT.replace("-01", "-00");
        for bad in ["", "00", &TEXT.to_uppercase(), &TEXT[1..], not_recorded.as_str(), &format!("{TEXT}-")]
            .into_iter()
            .chain(zeros)
        {
            assert!(bad.parse::<TraceContext>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_number_names_another_span_and_always_the_same() {
        let context: TraceContext = TEXT.parse().expect("a context");
        let spans: BTreeSet<_> = (1..=10_000).map(|number| context.nth(number)).collect();
        assert_eq!(spans.len(), 10_000);
        assert!(!spans.contains(&context.span));
        assert_eq!(context.nth(7), context.nth(7));
    }
}
