//! A mark on disk while a call into a release on probation runs: a host that starts again can tell whether the release may be
//! what killed it.
//!
//! One byte in a file that stays open. It is not flushed: the death of the process leaves it with the system, and the death
//! of the machine is not the guest's doing. It costs two small writes a call, and only on probation.

use std::{
    fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct InCall {
    file: fs::File,
    running: AtomicBool,
}

impl InCall {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path(folder))?;
        Ok(Self { file, running: AtomicBool::new(false) })
    }

    /// A call begins or is over. A mark that can't be made is one that is missing after a death: the release is then given
    /// the benefit of the doubt.
    pub(crate) fn set(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
        let _unmarked = self.file.write_at(&[u8::from(running)], 0);
    }
}

impl Drop for InCall {
    /// A call that was cut off did not end. The host that cut it off lives.
    fn drop(&mut self) {
        if *self.running.get_mut() {
            self.set(false);
        }
    }
}

/// Whether a call was running when the host died; asked before anything runs again.
pub(crate) fn was_running(folder: &Path) -> bool {
    fs::read(path(folder)).is_ok_and(|byte| byte.first() == Some(&1))
}

/// What it told has been dealt with, and that is on disk.
pub(crate) fn forget(folder: &Path) {
    drop(fs::remove_file(path(folder)));
}

fn path(folder: &Path) -> PathBuf {
    folder.join("in-call")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_never_ended_is_seen_until_it_is_dealt_with() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!was_running(folder.path()));
        let mark = InCall::open(folder.path()).unwrap();
        mark.set(true);
        mark.set(false);
        assert!(!was_running(folder.path()));
        mark.set(true);
        // A host that dies drops nothing.
        std::mem::forget(mark);
        drop(InCall::open(folder.path()).unwrap());
        assert!(was_running(folder.path()) && was_running(folder.path()));
        forget(folder.path());
        assert!(!was_running(folder.path()));
    }

    #[test]
    fn a_call_that_was_cut_off_is_not_held_against_what_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let mark = InCall::open(folder.path()).unwrap();
        mark.set(true);
        // Another release is being prepared, and comes to nothing.
        drop(InCall::open(folder.path()).unwrap());
        assert!(was_running(folder.path()), "the call goes on");
        drop(mark);
        assert!(!was_running(folder.path()));
    }
}
