//! Why a host could not be asked, or what it answered instead.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{Code, Status};

use crate::{Failure, convert::Invalid, socket};

/// A request did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("no host runs in {}; start one with `host run --data {}`", data.display(), data.display())]
    NoHost {
        /// The data directory.
        data: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The system keeps the caller away.
    #[error(
        "the host in {} belongs to another user: only who started it may talk to it",
        data.display()
    )]
    NotAllowed {
        /// The data directory.
        data: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Somebody answers, but not as a host does.
    #[error("what answers on {} is no host", socket.display())]
    NotAHost {
        /// The socket.
        socket: PathBuf,
        /// What came instead.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Somebody listens, but says nothing.
    #[error("the host in {} did not answer within {after:?}: it is stopped, or its machine is overloaded", data.display())]
    Silent {
        /// The data directory.
        data: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke; what was asked may have been done.
    #[error(
        "the connection to the host broke off: it was stopped or killed; what was asked for may have been done, \
         `host history` tells when it runs again"
    )]
    Lost {
        /// The transport's word.
        #[source]
        source: Box<Status>,
    },
    /// The host answered with a failure.
    #[error(transparent)]
    Host(Failure),
    /// The host's answer can't be read.
    #[error("the host's answer can't be read: {0}; client and host are of different versions")]
    Unreadable(Invalid),
}

impl ClientError {
    pub(super) fn of_connecting(socket: &Path, source: io::Error) -> Self {
        let data = socket::data(socket).to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotAllowed { data, source },
            _ => Self::NoHost { data, source },
        }
    }

    /// The host's failure, if that is what it is.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Host(failure) => Some(failure),
            _ => None,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        // A status with details was written by a host; without, and with a source, by the transport here.
        let by_transport =
            status.details().is_empty() && (status.source().is_some() || status.code() == Code::Cancelled);
        if by_transport { Self::Lost { source: Box::new(status) } } else { Self::Host(Failure::from(&status)) }
    }
}
