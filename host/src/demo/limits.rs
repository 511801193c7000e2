//! Open files: each connection takes one here and one in the host.

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside the connections: components, database, log, sockets, the runtime's own. The host has most of them.
const SPARE: u64 = 256;

/// Raises the limit on open files as far as the system lets us, for this process and the host it is going to start.
pub(crate) fn raise_open_files(connections: u32) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + SPARE;
    if limit.maximum.is_some_and(|hard| hard < wanted) {
        let hard = limit.maximum.unwrap_or_default();
        bail!(
            "{connections} connections need {wanted} open files, and the hard limit is {hard}: raise it (`ulimit -Hn`, as \
             root), or use --connections {}",
            hard.saturating_sub(SPARE).max(1)
        );
    }
    if limit.current.is_some_and(|soft| soft < wanted) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Some systems name a hard limit that they don't grant.
        setrlimit(Resource::Nofile, raised)
            .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }))
            .with_context(|| format!("raising the limit on open files to {wanted} (`ulimit -n {wanted}`)"))?;
    }
    Ok(())
}
