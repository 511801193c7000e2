//! What a call may cost: fuel, time, memory, and how much may come back.
//!
//! Fuel is the limit that counts: it is the same in every replay, so what is called endless is endless again. Bulk memory
//! operations burn it by the byte and are cut into pieces between which a guest yields; host functions whose work grows with
//! what is asked for burn it too. Time is the backstop for what fuel does not see (a machine that swaps) and proves nothing
//! about an event. The
//! calls that carry the whole state have limits of their own, at least twice the memory of `handle`: a state that fits
//! while it is used must also fit while its old and its new form stand beside each other.

use std::{fmt, time::Duration};

use wasmtime::ResourceLimiter;

use crate::engine::Share;

/// One mebibyte.
const MIB: usize = 1 << 20;

/// Fuel that about one second of work burns on a machine of today: compiled code executes one to two instructions that
/// count in a nanosecond.
pub const FUEL_PER_SECOND: u64 = 1_500_000_000;

/// Longest text of an error that a guest answers with; the rest is cut.
pub const ERROR_LIMIT_BYTES: usize = 4 << 10;

/// Most named details in a `health` answer; the rest is cut. What doesn't fit a screen isn't read.
pub const HEALTH_DETAILS_LIMIT: usize = 64;

/// Longest name or value in a `health` answer; the rest is cut.
pub const HEALTH_TEXT_LIMIT_BYTES: usize = 1 << 10;

/// Most formats or protocols that `describe` may list: an author who keeps more than this many steps alive has lost count.
pub const DESCRIPTION_LIST_LIMIT: usize = 256;

/// Longest name of a protocol: ALPN's own limit.
pub const PROTOCOL_LIMIT_BYTES: usize = 255;

/// Most elements in all tables of an instance together, each eight bytes of the host's memory. Rust guests have a few
/// thousand, a guest with an interpreter in it has ten thousand.
pub const TABLE_ELEMENTS_LIMIT: usize = 100_000;

/// A call into a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// The component's own start code, before any export was called.
    Instantiate,
    /// `describe`.
    Describe,
    /// `init`.
    Init,
    /// `snapshot`.
    Snapshot,
    /// `code-change`.
    CodeChange,
    /// `health`.
    Health,
    /// `handle`.
    Handle,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instantiate => "its start",
            Self::Describe => "`describe`",
            Self::Init => "`init`",
            Self::Snapshot => "`snapshot`",
            Self::CodeChange => "`code-change`",
            Self::Health => "`health`",
            Self::Handle => "`handle`",
        })
    }
}

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Instructions, roughly.
    pub fuel: u64,
    /// Time on the clock, waiting for a processor included.
    pub time: Duration,
    /// Linear memory of the instance during the call. Memory it already has stays; it can't grow beyond this.
    pub memory_bytes: usize,
}

/// What the effects of one batch may amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectLimits {
    /// How many.
    pub count: usize,
    /// Bytes of payload, each counted once however many connections it goes to.
    pub bytes: usize,
    /// Connections addressed, each counted as often as it is named.
    pub targets: usize,
}

/// All limits of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For `handle`.
    pub handle: CallLimits,
    /// For `init` and the component's start.
    pub brief: CallLimits,
    /// For `describe` and `health`.
    pub query: CallLimits,
    /// For `snapshot` and `code-change`.
    pub state: CallLimits,
    /// Largest state that `snapshot` may hand out.
    pub state_bytes: usize,
    /// What one batch may bring about.
    pub effects: EffectLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handle: CallLimits {
                // Ten seconds of work: no batch that serves clients takes as long, and clients of one that does have
                // given up. Three times that on the clock, for a machine that is busy with other things.
                fuel: 10 * FUEL_PER_SECOND,
                time: Duration::from_secs(30),
                // A thousandth of this is usual. What is bigger belongs into tables.
                memory_bytes: 256 * MIB,
            },
            brief: CallLimits {
                // `init` may fill a state; nothing here waits for clients.
                fuel: 10 * FUEL_PER_SECOND,
                time: Duration::from_secs(30),
                memory_bytes: 256 * MIB,
            },
            query: CallLimits {
                // A word on what it is or how it is, the latter while clients wait.
                fuel: FUEL_PER_SECOND,
                time: Duration::from_secs(10),
                memory_bytes: 256 * MIB,
            },
            state: CallLimits {
                // A million rows take half a second each way; a slow migration may take minutes where its pause may.
                fuel: 60 * FUEL_PER_SECOND,
                time: Duration::from_secs(180),
                // Three times what `handle` has: the state, its bytes, and what a growing buffer leaves behind.
                memory_bytes: 768 * MIB,
            },
            // As much as `handle` may hold: a state can't be bigger than the memory it lives in.
            state_bytes: 256 * MIB,
            effects: EffectLimits {
                // A batch is at most a few thousand events, and a hundred answers to each is a lot.
                count: 100_000,
                // A thousand connections' full output queues.
                bytes: 64 * MIB,
                // Every one of ten thousand connections hears of a hundred events.
                targets: 1_000_000,
            },
        }
    }
}

impl Limits {
    /// The limits of one kind of call.
    #[must_use]
    pub const fn of(&self, call: Call) -> CallLimits {
        match call {
            Call::Instantiate | Call::Init => self.brief,
            Call::Describe | Call::Health => self.query,
            Call::Snapshot | Call::CodeChange => self.state,
            Call::Handle => self.handle,
        }
    }

    /// Bytes a call may hand to the host, lists counted by what they take in the host's memory.
    pub(crate) const fn answer_bytes(&self, call: Call) -> usize {
        // An effect, a connection's id and a header are records of under 256 bytes beside their payload. A guest that
        // logs passes its text by the same door, hence at least a mebibyte for every call.
        match call {
            Call::Snapshot => self.state_bytes.saturating_add(MIB),
            Call::Handle => self.effects.bytes + self.effects.count * 256 + self.effects.targets * 8 + MIB,
            _ => MIB,
        }
    }
}

/// Counts an instance's linear memory and refuses what is too much, for it or for all guests together.
#[derive(Debug)]
pub(crate) struct MemoryGauge {
    limit_bytes: usize,
    now_bytes: usize,
    peak_bytes: usize,
    growing_bytes: usize,
    table_elements: usize,
    refused: Option<Refused>,
    share: Share,
}

/// Why memory was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The instance has what one may have.
    Own,
    /// All guests together have what there is.
    Shared {
        /// How much that is.
        limit_bytes: u64,
    },
}

impl MemoryGauge {
    pub(crate) const fn new(limit_bytes: usize, share: Share) -> Self {
        Self { limit_bytes, now_bytes: 0, peak_bytes: 0, growing_bytes: 0, table_elements: 0, refused: None, share }
    }

    /// Begins a call with this limit.
    pub(crate) const fn begin_call(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        self.refused = None;
    }

    /// Whether memory was refused since the call began, and why.
    pub(crate) const fn refused(&self) -> Option<Refused> {
        self.refused
    }

    pub(crate) const fn now_bytes(&self) -> usize {
        self.now_bytes
    }

    pub(crate) const fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }
}

impl ResourceLimiter for MemoryGauge {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growing = desired.saturating_sub(current);
        let wanted = self.now_bytes.saturating_add(growing);
        // Not a trap: a guest that asks carefully (`try_reserve`) may go on with less.
        self.growing_bytes = 0;
        if wanted > self.limit_bytes {
            self.refused = Some(Refused::Own);
            return Ok(false);
        }
        if !self.share.take(growing as u64) {
            self.refused = Some(Refused::Shared { limit_bytes: self.share.limit_bytes() });
            return Ok(false);
        }
        self.growing_bytes = growing;
        self.now_bytes = wanted;
        self.peak_bytes = self.peak_bytes.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Called for what was refused above, too: then nothing was added.
        let added = std::mem::take(&mut self.growing_bytes);
        if added > 0 {
            self.now_bytes = self.now_bytes.saturating_sub(added);
            self.share.give_back(added as u64);
            self.refused = Some(Refused::Own);
            tracing::debug!(%error, "the system refused memory to a guest");
        }
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > TABLE_ELEMENTS_LIMIT {
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{GuestMemory, Purpose};

    #[test]
    fn the_calls_that_carry_the_state_have_twice_the_memory_of_handle() {
        let limits = Limits::default();
        assert!(limits.state.memory_bytes >= 2 * limits.handle.memory_bytes);
        assert!(limits.answer_bytes(Call::Snapshot) > limits.state_bytes);
    }

    #[test]
    fn memory_is_counted_over_all_of_an_instances_memories_and_refused_beyond_the_limit() {
        let mut gauge = MemoryGauge::new(100, GuestMemory::new(150).share(Purpose::Replacement));
        assert!(gauge.memory_growing(0, 60, None).expect("no trap"));
        assert!(!gauge.memory_growing(0, 60, None).expect("no trap"));
        assert_eq!(gauge.refused(), Some(Refused::Own));
        gauge.begin_call(200);
        assert!(gauge.memory_growing(0, 60, None).expect("no trap"));
        gauge.memory_grow_failed(wasmtime::Error::msg("the system has none")).expect("no trap");
        assert_eq!((gauge.now_bytes(), gauge.peak_bytes(), gauge.refused()), (60, 120, Some(Refused::Own)));
        gauge.begin_call(200);
        assert!(!gauge.memory_growing(0, 91, None).expect("no trap"), "others have the rest");
        assert_eq!(gauge.refused(), Some(Refused::Shared { limit_bytes: 150 }));
        gauge.memory_grow_failed(wasmtime::Error::msg("refused")).expect("no trap");
        assert!(gauge.memory_growing(0, 90, None).expect("no trap"));
    }
}
