//! The control socket: where it lies, how it is taken, how it is reached.
//!
//! It lies in a folder of its own that only its owner may enter (0700), so that it is closed to others from the moment it
//! exists, and is itself 0600. A socket that a dead host left behind is replaced; one that answers is not.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

const FOLDER: &str = "control";
const FILE: &str = "host.sock";

/// Longest path that a socket's address holds everywhere (108 bytes on Linux, 104 elsewhere, with the final zero).
const ADDRESS_LIMIT_BYTES: usize = 103;

/// The control socket of the host in this data directory.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(FILE)
}

/// The data directory that a control socket belongs to.
#[must_use]
pub fn data(socket: &Path) -> &Path {
    socket.parent().and_then(Path::parent).unwrap_or(socket)
}

/// The socket can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A host answers on it.
    #[error("another host answers on {}", socket.display())]
    InUse {
        /// The socket.
        socket: PathBuf,
    },
    /// The system refuses.
    #[error("the control socket {} can't be opened", socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// Its word.
        #[source]
        source: io::Error,
    },
}

/// Takes the control socket. Call it while holding the data directory's lock: two that replace the same stale socket at
/// once would not notice each other.
///
/// # Errors
/// When somebody answers there, or the system refuses.
pub async fn bind(socket: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { socket: socket.to_owned(), source };
    let folder = socket.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    match connect(socket).await {
        Ok(_) => return Err(BindError::InUse { socket: socket.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Nobody listens: a host was killed and left it behind.
        // A plain file refuses connections too; it is not ours to remove.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(socket) => {
            fs::remove_file(socket).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let (_folder, address) = address(socket).map_err(failed)?;
    let listener = UnixListener::bind(address).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Reaches the control socket.
///
/// # Errors
/// As the system says it: not found, refused, not allowed.
pub async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (_folder, address) = address(socket)?;
    UnixStream::connect(address).await
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// A path to the socket that fits into an address. A long one goes by way of its open folder, which must stay open until
/// the address was used.
fn address(socket: &Path) -> io::Result<(Option<fs::File>, PathBuf)> {
    if socket.as_os_str().as_bytes().len() <= ADDRESS_LIMIT_BYTES {
        return Ok((None, socket.to_owned()));
    }
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if !cfg!(target_os = "linux") {
        let why = format!("its path is longer than {ADDRESS_LIMIT_BYTES} bytes; choose a shorter data directory");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
    }
    let folder = fs::File::open(folder)?;
    let address = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((Some(folder), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn only_the_owner_reaches_the_socket() {
        let data = tempfile::tempdir().expect("a folder");
        let socket = path(data.path());
        let _listener = bind(&socket).await.expect("bound");
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(socket.parent().expect("a folder")), 0o700);
        assert_eq!(super::data(&socket), data.path());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let data = tempfile::tempdir().expect("a folder");
        let socket = path(data.path());
        let first = bind(&socket).await.expect("bound");
        assert!(matches!(bind(&socket).await, Err(BindError::InUse { .. })));
        drop(first);
        bind(&socket).await.expect("nobody listens any more");
    }

    #[tokio::test]
    async fn something_else_in_its_place_is_left_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let socket = path(data.path());
        fs::create_dir_all(socket.parent().expect("a folder")).expect("made");
        fs::write(&socket, "mine").expect("a file in its place");
        assert!(matches!(bind(&socket).await, Err(BindError::Io { .. })));
        assert!(socket.is_file());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_data_directory_may_have_a_long_path() {
        let data = tempfile::tempdir().expect("a folder");
        let socket = path(&data.path().join("long".repeat(40)));
        let _listener = bind(&socket).await.expect("bound");
        connect(&socket).await.expect("reached");
    }
}
