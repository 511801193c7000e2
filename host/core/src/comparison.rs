//! The same events, handled twice: how many effects differ, and the first of them.

use serde::{Deserialize, Serialize};

use crate::id::BatchSeq;

/// Differences that are kept with what they are: enough to see a pattern, few enough to read.
pub const EXAMPLES_LIMIT: usize = 3;

/// What came of handling the same events with two instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Batches handled by both.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Effects of the one that counts: what clients saw.
    pub effects: u64,
    /// Effects that are not alike, missing and additional ones included.
    pub differing: u64,
    /// The first of them.
    pub examples: Vec<Difference>,
}

/// One effect that is not alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The batch it belongs to.
    pub batch: BatchSeq,
    /// What the batch held, in words.
    pub events: String,
    /// What clients saw; none when there was nothing.
    pub expected: Option<String>,
    /// What the other did; none when it did nothing.
    pub found: Option<String>,
}

impl Comparison {
    /// Counts a batch of `events` events and `effects` effects of the one that counts.
    pub const fn count(&mut self, events: u64, effects: u64) {
        self.batches += 1;
        self.events += events;
        self.effects += effects;
    }

    /// Notes a difference; `what` is asked only while there is room for another example.
    pub fn differs(&mut self, what: impl FnOnce() -> Difference) {
        self.differing += 1;
        if self.examples.len() < EXAMPLES_LIMIT {
            self.examples.push(what());
        }
    }

    /// How many of a hundred effects differ, rounded up: one difference is never none.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.differing.saturating_mul(100).div_ceil(self.effects.max(self.differing).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_is_never_none_and_a_hundred_percent_is_the_most() {
        let mut comparison = Comparison::default();
        assert_eq!(comparison.percent(), 0);
        comparison.count(5, 1000);
        let difference =
            || Difference { batch: BatchSeq(1), events: String::new(), expected: None, found: Some("x".to_owned()) };
        comparison.differs(difference);
        assert_eq!((comparison.percent(), comparison.examples.len()), (1, 1));
        (0..5000).for_each(|_| comparison.differs(difference));
        assert_eq!((comparison.percent(), comparison.examples.len()), (100, EXAMPLES_LIMIT));
    }
}
