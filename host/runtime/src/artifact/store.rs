//! Stored components, each under the SHA-256 of its bytes.
//!
//! A component is written to a file of another name, hashed while it is written, made durable and then renamed: whoever
//! finds a file under a digest finds all of it, also after the power failed. It is hashed again at every load, and a file
//! that has changed is set aside, so that the same component can simply be deployed once more.
//!
//! Everything here reads and writes files: call it where that may block (`spawn_blocking`); [`Staging::write`] alone only
//! touches the system's cache.

use std::{
    fmt,
    io::{self, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use cap_std::{
    ambient_authority,
    fs::{Dir, DirBuilder, DirBuilderExt as _, File, OpenOptions, OpenOptionsExt as _},
};
use host_core::id::Digest;
use sha2::{Digest as _, Sha256};

use super::{ARTIFACT_LIMIT_BYTES, VerifiedArtifact, VerifyError};

/// Ending of a stored component.
const STORED: &str = "wasm";

/// Ending of one that is being written.
const STAGED: &str = "tmp";

/// Ending of one that was found changed.
const CORRUPT: &str = "corrupt";

/// For the owner alone: a component is code that runs with his workload's state.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The components stored in one folder. Clones are the same store.
#[derive(Clone)]
pub struct ArtifactStore(Arc<Shared>);

struct Shared {
    directory: Dir,
    path: PathBuf,
    staged: AtomicU64,
}

/// A component that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What it goes by.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// A component that is being written. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    store: ArtifactStore,
    file: File,
    name: String,
    hash: Sha256,
    bytes: u64,
    renamed: bool,
}

/// What went wrong with stored components.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("there is no room left on the disk that holds {}; free some, or give the host another folder", path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system refused.
    #[error("{} {}", path.display(), action)]
    Io {
        /// What can't be done with it.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Too large.
    #[error("the component has more than {limit} bytes, which is the limit")]
    TooLarge {
        /// How large it may be.
        limit: u64,
    },
    /// Not stored.
    #[error("component {} is not stored; deploy it again", digest.short())]
    Missing {
        /// The one asked for.
        digest: Digest,
    },
    /// The file has changed since it was stored.
    #[error(
        "component {} was stored in {} but has changed since (now {}); it was set aside as {}; deploy it again",
        error.expected.short(), path.display(), error.found.short(), aside.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// The two digests.
        error: VerifyError,
    },
}

impl StoreError {
    /// Sorts an error of the system: a full disk is something a person can do something about.
    pub(super) fn io(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::NoRoom { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether there was no room left.
    #[must_use]
    pub const fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }
}

impl ArtifactStore {
    /// Opens the store in the folder at `path`, makes it if need be, and sweeps what a host that died left half written.
    ///
    /// # Errors
    /// The folder can't be made, opened or read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = open_directory(path)?;
        let store = Self(Arc::new(Shared { directory, path: path.to_owned(), staged: AtomicU64::new(0) }));
        sweep(&store.0.directory, path, STAGED)?;
        Ok(store)
    }

    /// Begins to store a component.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn stage(&self) -> Result<Staging, StoreError> {
        let name = format!("{}.{STAGED}", self.0.staged.fetch_add(1, Ordering::Relaxed));
        let file = create(&self.0.directory, &name).map_err(|source| self.failed("can't be made", &name, source))?;
        Ok(Staging { store: self.clone(), file, name, hash: Sha256::new(), bytes: 0, renamed: false })
    }

    /// Stores a component that is all there.
    ///
    /// # Errors
    /// It is too large, or can't be written.
    pub fn store(&self, bytes: &[u8]) -> Result<Artifact, StoreError> {
        let mut staging = self.stage()?;
        staging.write(bytes)?;
        staging.finish()
    }

    /// A component that is stored. Says nothing of its bytes: [`load`](Self::load) does.
    ///
    /// # Errors
    /// Its file can't be looked at.
    pub fn find(&self, digest: Digest) -> Result<Option<Artifact>, StoreError> {
        let name = stored_name(digest);
        match self.0.directory.metadata(&name) {
            Ok(file) => Ok(file.is_file().then(|| Artifact { digest, bytes: file.len() })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed("can't be looked at", &name, source)),
        }
    }

    /// Whether a component is stored. Says nothing of its bytes: [`load`](Self::load) does.
    #[must_use]
    pub fn contains(&self, digest: Digest) -> bool {
        self.0.directory.is_file(stored_name(digest))
    }

    /// Reads a component and checks that it is still what was stored.
    ///
    /// # Errors
    /// It is not stored, can't be read, or has changed; then its file is set aside.
    pub fn load(&self, digest: Digest) -> Result<VerifiedArtifact, StoreError> {
        let name = stored_name(digest);
        let bytes = match self.read(&name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::Missing { digest }),
            Err(source) => return Err(self.failed("can't be read", &name, source)),
        };
        VerifiedArtifact::verify(digest, bytes.into()).map_err(|error| {
            let aside = format!("{name}.{CORRUPT}");
            // Out of the way, so that the same bytes can be stored again, and kept, since somebody will ask why.
            if let Err(error) = self.0.directory.rename(&name, &self.0.directory, &aside) {
                tracing::warn!(file = %self.path(&name).display(), %error, "a corrupt component can't be set aside");
            }
            StoreError::Corrupt { path: self.path(&name), aside: self.path(&aside), error }
        })
    }

    /// Forgets a component. One that is not stored is forgotten already.
    ///
    /// # Errors
    /// Its file can't be removed.
    pub fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        let name = stored_name(digest);
        match self.0.directory.remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("can't be removed", &name, error)),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.0.directory.open(name)?;
        let mut bytes =
            Vec::with_capacity(usize::try_from(file.metadata()?.len().min(ARTIFACT_LIMIT_BYTES)).unwrap_or_default());
        // One byte more than can be right is enough to know that it is wrong.
        file.take(ARTIFACT_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path.join(name)
    }

    fn failed(&self, action: &'static str, name: &str, source: io::Error) -> StoreError {
        StoreError::io(action, self.path(name), source)
    }
}

impl fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArtifactStore").field(&self.0.path).finish()
    }
}

impl Staging {
    /// Adds some of the component's bytes.
    ///
    /// # Errors
    /// It has become too large, or can't be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > ARTIFACT_LIMIT_BYTES {
            return Err(StoreError::TooLarge { limit: ARTIFACT_LIMIT_BYTES });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|source| self.store.failed("can't be written", &self.name, source))
    }

    /// Makes the component durable under its digest. One that is stored already is stored again, whole.
    ///
    /// # Errors
    /// It can't be made durable; nothing is stored then.
    pub fn finish(mut self) -> Result<Artifact, StoreError> {
        let digest = Digest::new(std::mem::take(&mut self.hash).finalize().into());
        let (shared, stored) = (Arc::clone(&self.store.0), stored_name(digest));
        let failed = |source| self.store.failed("can't be made durable", &stored, source);
        // The bytes before the name, the name before the answer.
        self.file.sync_all().map_err(failed)?;
        shared.directory.rename(&self.name, &shared.directory, &stored).map_err(failed)?;
        sync(&shared.directory).map_err(failed)?;
        self.renamed = true;
        Ok(Artifact { digest, bytes: self.bytes })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.renamed {
            // What can't be removed now is swept when the store is next opened.
            let _ = self.store.0.directory.remove_file(&self.name);
        }
    }
}

fn stored_name(digest: Digest) -> String {
    format!("{digest}.{STORED}")
}

/// Opens the folder at `path`, and makes it for the owner alone if it is not there.
pub(super) fn open_directory(path: &Path) -> Result<Dir, StoreError> {
    let failed = |source| StoreError::io("can't be made or opened", path.to_owned(), source);
    std::fs::DirBuilder::new().recursive(true).create(path.parent().unwrap_or(path)).map_err(failed)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Dir::open_ambient_dir(path, ambient_authority()).map_err(failed);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = Dir::open_ambient_dir(parent, ambient_authority()).map_err(failed)?;
    match parent.create_dir_with(name, DirBuilder::new().mode(DIRECTORY_MODE)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
        _ => parent.open_dir(name).map_err(failed),
    }
}

/// Makes a file for the owner alone, empty.
pub(super) fn create(directory: &Dir, name: &str) -> io::Result<File> {
    directory.open_with(name, OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE))
}

/// Makes the names in a folder durable.
pub(super) fn sync(directory: &Dir) -> io::Result<()> {
    directory.open(".")?.sync_all()
}

/// Removes the files with this ending.
pub(super) fn sweep(directory: &Dir, path: &Path, ending: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("can't be read", path.to_owned(), source);
    for entry in directory.entries().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if Path::new(&name).extension().is_some_and(|found| found == ending) {
            directory
                .remove_file(&name)
                .map_err(|source| StoreError::io("can't be removed", path.join(&name), source))?;
        }
    }
    Ok(())
}

impl From<VerifiedArtifact> for Bytes {
    fn from(artifact: VerifiedArtifact) -> Self {
        artifact.bytes().clone()
    }
}
