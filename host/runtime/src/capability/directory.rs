//! A folder of the workload's own, where its release was granted one.
//!
//! Everything outside of it stays unreachable (cap-std's rules: no `..`, no absolute path, no link that leads out). What a
//! guest reads there is not part of its batches: a replay reads what the folder holds by then. That is the price of the
//! capability, and why it has to be asked for.

use std::path::PathBuf;

use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

/// Where a guest finds its folder.
const GUEST_PATH: &str = "/data";

/// The folder of one instance, or none.
#[derive(Clone, Debug, Default)]
pub struct Directory(Option<PathBuf>);

impl Directory {
    /// No folder: what every workload starts with.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// The folder at `path`, shown to the guest as `/data`.
    #[must_use]
    pub const fn granted(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// A WASI context in which this folder is all there is.
    pub(super) fn wasi(&self) -> WasiCtx {
        let mut builder = WasiCtxBuilder::new();
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        if let Some(path) = &self.0
            && let Err(error) = builder.preopened_dir(path, GUEST_PATH, FsPerms::ReadWrite)
        {
            // The guest sees an empty world and says so in its own words; a host that could not open the folder at
            // deploy has already refused.
            tracing::warn!(path = %path.display(), %error, "a workload's folder can't be opened; it goes without");
        }
        builder.build()
    }
}
