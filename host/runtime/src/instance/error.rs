//! How a call into a guest fails, in words that say what happened and who has to do something about it.

use std::{fmt, time::Duration};

use host_core::swap::CallFault;
use wasmtime::{Trap, WasmBacktrace};

use super::{
    limits::{Call, ERROR_LIMIT_BYTES, Limits, Refused},
    words::cut,
};
use crate::{capability::Context, engine::NoSlot};

/// Frames of a guest's stack that are named in an error: where it happened, and who called that.
const FRAMES_LIMIT: usize = 8;

/// Why a call brought no answer. All but [`Failed`](Self::Failed) mean that the instance is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest answered with an error of its own; the instance is whole.
    #[error("{0}")]
    Failed(String),
    /// An earlier call lost the instance.
    #[error("the instance was lost in an earlier call")]
    Lost,
    /// The guest's code failed.
    #[error("{call} trapped: {why}{}{}", Said(said.as_ref()), At(at))]
    Trap {
        /// The call.
        call: Call,
        /// What the engine says.
        why: String,
        /// What the guest said on standard error: a panic's message.
        said: Option<String>,
        /// Functions on its stack, innermost first; empty when the component was stripped of names.
        at: Vec<String>,
    },
    /// The guest computed for too long.
    #[error("{call} did not come to an end within its fuel of {limit}")]
    OutOfFuel {
        /// The call.
        call: Call,
        /// What it had.
        limit: u64,
    },
    /// The call took too long on the clock. That may be the machine's fault, and proves nothing about an event.
    #[error("{call} took longer than {}", Seconds(*limit))]
    TimedOut {
        /// The call.
        call: Call,
        /// What it had.
        limit: Duration,
    },
    /// The guest asked for more memory than it may have.
    #[error("{call} ran out of memory: its limit is {limit_bytes} bytes{}", Said(said.as_ref()))]
    OutOfMemory {
        /// The call.
        call: Call,
        /// What it may have.
        limit_bytes: usize,
        /// What the guest said on standard error.
        said: Option<String>,
    },
    /// The guest asked for memory, and all guests of the host together have what there is.
    #[error(
        "{call} ran out of memory: all guests together have the {limit_bytes} bytes that there are for them{}",
        Said(said.as_ref())
    )]
    NoMemoryLeft {
        /// The call.
        call: Call,
        /// What all guests may have.
        limit_bytes: u64,
        /// What the guest said on standard error.
        said: Option<String>,
    },
    /// The guest's answer is out of bounds.
    #[error("{call} answered with {excess}")]
    TooMuch {
        /// The call.
        call: Call,
        /// In what.
        excess: Excess,
    },
}

impl CallError {
    /// The machine or another guest may be the cause: the same call may go well at another time.
    pub(crate) const fn may_be_others_doing(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::NoMemoryLeft { .. } | Self::Lost)
    }
}

/// In what an answer is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many effects.
    #[error("{given} effects, more than the {limit} that one batch may have")]
    Effects {
        /// How many.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Too many bytes in effects.
    #[error("{given} bytes of effects, more than the {limit} that one batch may have")]
    EffectBytes {
        /// How many.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Too many connections addressed.
    #[error("effects for {given} connections, more than the {limit} that one batch may address")]
    Targets {
        /// How many.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Too many entries in a list.
    #[error("a list of {given} entries, more than the limit of {limit}")]
    ListEntries {
        /// How many.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More than the host copies out of a guest in one call.
    #[error("more data than the {limit_bytes} bytes that the host takes from one call")]
    Data {
        /// How much it takes.
        limit_bytes: usize,
    },
}

/// Why no instance was born.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BirthError {
    /// There is no room.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// The component's own start code failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl CallError {
    /// Whether the instance is lost.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

impl From<CallError> for CallFault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(error) => Self::Error(error),
            lost => Self::Lost(lost.to_string()),
        }
    }
}

/// Tells from what is left why a call was lost.
pub(super) fn diagnose(call: Call, limits: &Limits, error: &wasmtime::Error, context: &Context) -> CallError {
    let allowed = limits.of(call);
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return CallError::OutOfFuel { call, limit: allowed.fuel };
    }
    let said = context.log.last_words().map(|said| cut(said, ERROR_LIMIT_BYTES));
    // A guest that was refused memory and then trapped did so because of it: its allocator aborts.
    match context.memory.refused().filter(|_| trap.is_some() || call == Call::Instantiate) {
        Some(Refused::Own) => return CallError::OutOfMemory { call, limit_bytes: allowed.memory_bytes, said },
        Some(Refused::Shared { limit_bytes }) => return CallError::NoMemoryLeft { call, limit_bytes, said },
        None => {}
    }
    let why = error.root_cause().to_string();
    // The engine has no type for this one that is public.
    if why.contains("fuel allocated for hostcalls has been exhausted") {
        return CallError::TooMuch { call, excess: Excess::Data { limit_bytes: limits.answer_bytes(call) } };
    }
    let at = error.downcast_ref::<WasmBacktrace>().map(names).unwrap_or_default();
    CallError::Trap { call, why: cut(why, ERROR_LIMIT_BYTES), said, at }
}

fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    names.take(FRAMES_LIMIT).map(|name| cut(name.to_owned(), ERROR_LIMIT_BYTES / FRAMES_LIMIT)).collect()
}

struct Said<'a>(Option<&'a String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |said| write!(f, "; it said: {said}"))
    }
}

struct At<'a>(&'a [String]);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (in {})", self.0.join(" ← ")) }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
