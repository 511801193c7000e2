//! Compiled code on disk, so that a host that starts again need not compile.
//!
//! Loading compiled code trusts it: whoever can write it runs in the host. So an entry lies in a folder for the owner alone
//! (who could replace the host itself), and is loaded only when its own header says that it belongs to this component and
//! this engine and is whole. Everything else is a warning, and compiled anew.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use cap_std::fs::Dir;
use host_core::id::Digest;
use wasmtime::component::Component;

use super::{
    StoreError,
    store::{create, open_directory, sweep},
    verify::digest,
};
use crate::engine::Engine;

/// What an entry begins with; the last byte is the version of the header.
const MAGIC: [u8; 8] = *b"hotswap\x01";

/// Magic, the component's digest, the engine's, and that of the code.
const HEADER_BYTES: usize = 8 + 3 * 32;

/// Ending of an entry.
const ENTRY: &str = "code";

/// Ending of one that is being written.
const STAGED: &str = "tmp";

/// Entries kept: some hundred releases; a few megabytes each. The oldest goes.
const ENTRIES_LIMIT: usize = 256;

/// Largest entry that is read: code is about three times its component.
const ENTRY_LIMIT_BYTES: u64 = 1 << 30;

/// The entries in one folder, for one engine.
#[derive(Debug)]
pub(super) struct Cache {
    directory: Dir,
    path: PathBuf,
    fits: Digest,
}

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it is cut short or was not written by a host")]
    Header,
    #[error("it is of another component or another engine")]
    Other,
    #[error("its code has changed since it was written")]
    Changed,
    #[error("the engine does not take it: {0}")]
    Refused(wasmtime::Error),
    #[error("it can't be read: {0}")]
    Io(io::Error),
}

impl Cache {
    /// Opens the folder at `path`, for code of the engine that `fits`.
    pub(super) fn open(path: &Path, fits: Digest) -> Result<Self, StoreError> {
        let directory = open_directory(path)?;
        sweep(&directory, path, STAGED)?;
        Ok(Self { directory, path: path.to_owned(), fits })
    }

    /// The code of a component, if there is an entry that can be trusted.
    pub(super) fn load(&self, engine: &Engine, component: Digest) -> Option<Component> {
        match self.try_load(engine, component) {
            Ok(component) => component,
            Err(why) => {
                let name = self.name(component);
                tracing::warn!(file = %self.path.join(&name).display(), %why, "kept code is not used; compiling anew");
                self.remove(component);
                None
            }
        }
    }

    /// Whether there is an entry, trusted or not.
    pub(super) fn contains(&self, component: Digest) -> bool {
        self.directory.exists(self.name(component))
    }

    /// Keeps the code of a component. What can't be kept is compiled again next time.
    pub(super) fn store(&self, component: Digest, code: &Component) {
        if let Err(error) = self.try_store(component, code) {
            let path = self.path.join(self.name(component));
            tracing::warn!(file = %path.display(), %error, "compiled code can't be kept; going on without");
        }
        if let Err(error) = self.evict() {
            tracing::debug!(folder = %self.path.display(), %error, "old compiled code can't be removed");
        }
    }

    /// Forgets the code of a component.
    pub(super) fn remove(&self, component: Digest) {
        match self.directory.remove_file(self.name(component)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(folder = %self.path.display(), %error, "kept code can't be removed");
            }
            _ => {}
        }
    }

    /// One entry per component: what another engine compiled is of no use any more.
    fn name(&self, component: Digest) -> String {
        format!("{component}.{ENTRY}")
    }

    fn header(&self, component: Digest, code: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let code = digest(code);
        let parts: [&[u8]; 4] = [&MAGIC, component.as_bytes(), self.fits.as_bytes(), code.as_bytes()];
        header.iter_mut().zip(parts.concat()).for_each(|(to, from)| *to = from);
        header
    }

    fn try_load(&self, engine: &Engine, component: Digest) -> Result<Option<Component>, Unusable> {
        let file = match self.directory.open(self.name(component)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unusable::Io(error)),
        };
        let mut entry = Vec::new();
        file.take(ENTRY_LIMIT_BYTES).read_to_end(&mut entry).map_err(Unusable::Io)?;
        let (header, code) = entry.split_at_checked(HEADER_BYTES).ok_or(Unusable::Header)?;
        if !header.starts_with(&MAGIC) {
            return Err(Unusable::Header);
        }
        let expected = self.header(component, code);
        let (named, sum) = (HEADER_BYTES - 32, header == expected);
        if header.get(..named) != expected.get(..named) {
            return Err(Unusable::Other);
        }
        if !sum {
            return Err(Unusable::Changed);
        }
        #[expect(unsafe_code, reason = "compiled code can only be loaded on trust; the header above is what earns it")]
        // SAFETY: these very bytes, read into memory that nobody else writes, have the hash they had when this host wrote
        // them into a folder for its owner alone, for this component and an engine with these settings. The engine checks
        // version and settings once more.
        let component = unsafe { Component::deserialize(engine.wasmtime(), code) };
        component.map(Some).map_err(Unusable::Refused)
    }

    fn try_store(&self, component: Digest, code: &Component) -> io::Result<()> {
        let code = code.serialize().map_err(io::Error::other)?;
        let (name, staged) = (self.name(component), format!("{component}.{STAGED}"));
        let mut file = create(&self.directory, &staged)?;
        let written = file
            .write_all(&self.header(component, &code))
            .and_then(|()| file.write_all(&code))
            // Not synced: a cut entry is known by its header, and compiling again is all it costs.
            .and_then(|()| self.directory.rename(&staged, &self.directory, &name));
        if written.is_err() {
            let _ = self.directory.remove_file(&staged);
        }
        written
    }

    fn evict(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in self.directory.entries()? {
            let entry = entry?;
            let written =
                entry.metadata()?.modified().map_or(SystemTime::UNIX_EPOCH, cap_std::time::SystemTime::into_std);
            entries.push((written, entry.file_name()));
        }
        entries.sort();
        let excess = entries.len().saturating_sub(ENTRIES_LIMIT);
        entries.iter().take(excess).try_for_each(|(_, name)| self.directory.remove_file(name))
    }
}
