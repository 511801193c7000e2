//! Files: each connection of a client takes one, and each has a size that the system may limit.

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Raises the limit on open files as far as the system lets this process. The soft limit is low for the sake of programs
/// that this is none of; the host counts from what it finds how many connections it can take.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        // Some systems name a hard limit that they don't grant. Fewer connections fit then; `host status` shows how many.
        tracing::warn!(%error, "the limit on open files stays at {:?}", limit.current);
    }
}

/// Makes a write past the limit on a file's size (`ulimit -f`) an error as any full disk is one. By default the system kills
/// the process instead, with every workload in it.
pub(super) fn outlive_size_limit() {
    // Listened to once, the signal has lost its default effect for good; nobody needs to hear it.
    if let Err(error) = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())) {
        tracing::warn!(%error, "a file that reaches the limit on its size will end this process");
    }
}
