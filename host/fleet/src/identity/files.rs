//! Small files that only their owner may read, replaced whole or not at all.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Longest file of an identity: a certificate, a key, an address.
const FILE_LIMIT_BYTES: u64 = 16 << 10;

/// Makes a folder that only its owner may enter, and those above it.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file of mode 0600. After a crash it has the old contents or the new, never a part.
pub(super) fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (folder, name) = parts(path)?;
    let beside = folder.join(format!("{name}.new"));
    // Left behind by a crash. Opened anew, so that its mode is the one given here.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Reads a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    fs::File::open(path)?.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > FILE_LIMIT_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {FILE_LIMIT_BYTES} bytes")));
    }
    Ok(contents)
}

/// The file's mode, if others than its owner may do something with it.
pub(super) fn exposed(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

fn parts(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owners_and_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write(&path, b"one").expect("written");
        assert_eq!(exposed(&path).expect("a mode"), None);
        fs::write(folder.path().join("key.new"), "left behind by a crash").expect("written");
        write(&path, b"two").expect("replaced");
        assert_eq!(read(&path).expect("read"), b"two");
        assert_eq!(exposed(&path).expect("a mode"), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened up");
        assert_eq!(exposed(&path).expect("a mode"), Some(0o640));
    }

    #[test]
    fn a_file_too_long_is_not_read_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("long");
        fs::write(&path, vec![0; usize::try_from(FILE_LIMIT_BYTES).expect("fits") + 1]).expect("written");
        assert_eq!(read(&path).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
    }
}
