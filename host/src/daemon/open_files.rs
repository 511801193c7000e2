//! Open files: each connection of a client takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
