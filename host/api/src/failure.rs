//! An error as a person reads it, carried over the wire whole.
//!
//! Costs: a text longer than [`TEXT_LIMIT_BYTES`] is cut, since it travels in a header of the answer.

use std::{collections::HashMap, fmt};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Longest of a failure's three texts in bytes. With all three, escaped threefold, it stays below
/// [`HEADER_LIMIT_BYTES`].
pub(crate) const TEXT_LIMIT_BYTES: usize = 4 << 10;
/// Most bytes of headers that either side takes: three texts and their escapes.
pub(crate) const HEADER_LIMIT_BYTES: u32 = 64 << 10;

/// Whose kinds these are, in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "host.hotswap";

/// Something could not be done: what happened, what still holds, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind, for programs.
    pub kind: FailureKind,
    /// What happened.
    pub what: String,
    /// What still runs or holds, where that is in question.
    pub still: Option<String>,
    /// What to do, where something can be done.
    pub remedy: Option<String>,
}

/// Kinds of failure, each with its status code and its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request can't be meant as it stands.
    Invalid,
    /// There is no such workload, version or prepared swap.
    NotFound,
    /// It can be meant, but not now and not like this.
    Refused,
    /// A limit is reached; later it may work.
    Busy,
    /// It took longer than was allowed.
    TimedOut,
    /// The workload is stopped or failed.
    Stopped,
    /// The workload itself answered with an error.
    Workload,
    /// The host is on its way down.
    ShuttingDown,
    /// Client and host speak no common protocol.
    Protocol,
    /// A defect or a broken machine: disk, memory, the host itself.
    Internal,
}

impl FailureKind {
    const ALL: [Self; 10] = [
        Self::Invalid,
        Self::NotFound,
        Self::Refused,
        Self::Busy,
        Self::TimedOut,
        Self::Stopped,
        Self::Workload,
        Self::ShuttingDown,
        Self::Protocol,
        Self::Internal,
    ];

    /// As written for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::TimedOut => "timed-out",
            Self::Stopped => "stopped",
            Self::Workload => "workload",
            Self::ShuttingDown => "shutting-down",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::Refused | Self::Stopped | Self::Protocol => Code::FailedPrecondition,
            Self::Busy => Code::ResourceExhausted,
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Workload => Code::Aborted,
            Self::ShuttingDown => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    /// The kind of a status that names none: the transport's own, or another server's.
    const fn of_code(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::NotFound => Self::NotFound,
            Code::FailedPrecondition | Code::PermissionDenied | Code::AlreadyExists => Self::Refused,
            Code::ResourceExhausted => Self::Busy,
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Aborted => Self::Workload,
            Code::Unavailable => Self::ShuttingDown,
            Code::Unimplemented => Self::Protocol,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Failure {
    /// A failure of this kind, in these words.
    #[must_use]
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), still: None, remedy: None }
    }

    /// And what still runs or holds.
    #[must_use]
    pub fn still(mut self, still: impl Into<String>) -> Self {
        self.still = Some(still.into());
        self
    }

    /// And what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// What happened. The other two parts are for whoever lays them out.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let parts = [("still", failure.still), ("remedy", failure.remedy)];
        let parts = parts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), cut(text?))));
        let details = ErrorDetails::with_error_info(failure.kind.as_str(), DOMAIN, parts.collect::<HashMap<_, _>>());
        Self::with_error_details(failure.kind.code(), cut(failure.what), details)
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let named = info.and_then(|info| FailureKind::ALL.into_iter().find(|kind| kind.as_str() == info.reason));
        let part = |name| info.and_then(|info| info.metadata.get(name).cloned());
        Self {
            kind: named.unwrap_or(FailureKind::of_code(status.code())),
            what: if status.message().is_empty() {
                status.code().description().to_owned()
            } else {
                status.message().to_owned()
            },
            still: part("still"),
            remedy: part("remedy"),
        }
    }
}

/// The text, or its beginning with a word about it.
fn cut(mut text: String) -> String {
    const MARK: &str = " … (cut)";
    if text.len() > TEXT_LIMIT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_LIMIT_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_crosses_with_its_words() {
        for kind in FailureKind::ALL {
            let failure = Failure::new(kind, "the disk is full: größer als 5 %\nsecond line")
                .still("counter 1.0.0 is still running")
                .remedy("free some space");
            assert_eq!(Failure::from(&Status::from(failure.clone())), failure);
        }
    }

    #[test]
    fn a_text_too_long_for_a_header_is_cut_at_a_character() {
        let failure = Failure::new(FailureKind::Internal, "ä".repeat(TEXT_LIMIT_BYTES));
        let crossed = Failure::from(&Status::from(failure));
        assert!(crossed.what.len() <= TEXT_LIMIT_BYTES && crossed.what.ends_with("ä … (cut)"));
    }

    #[test]
    fn a_status_of_another_making_gives_its_nearest_kind() {
        assert_eq!(Failure::from(&Status::unimplemented("no such method")).kind, FailureKind::Protocol);
        assert!(!Failure::from(&Status::new(Code::Unknown, "")).what.is_empty());
    }
}
