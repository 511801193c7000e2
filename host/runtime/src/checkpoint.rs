//! Checkpoints: what a workload needs to be born again, in an envelope that says when it is damaged.
//!
//! A checkpoint is a *birth*: `init(config)`, then `code-change(state, from)` makes the instance again. The one made at a
//! switch holds the state as it was handed over, so that both sides can start from it: the new release after a crash, the
//! predecessor on a rollback.
//!
//! ```text
//! "HSCKPT" version:u16 length:u64 sha256:[u8;32] body        all numbers little-endian; body is postcard
//! ```

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use host_core::{
    id::{BatchSeq, Digest, Generation},
    release::StateFormat,
    status::CheckpointStatus,
    time::UnixNanos,
};
use semver::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::CheckpointError;

const MAGIC: &[u8; 6] = b"HSCKPT";
/// Raised when the body's layout changes; the host reads every layout it ever wrote.
const LAYOUT: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 6 + 2 + 8 + 32;
/// Largest body read: the largest state, and room for what stands beside it.
const BODY_LIMIT_BYTES: u64 = 1 << 30;
/// Checkpoints kept of a generation besides a pinned one: the newest, and two to fall back on when it is damaged.
const KEPT: usize = 3;

/// Everything DESIGN lists: state, and what the host holds for the workload, after the same batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The version that wrote the state.
    pub(crate) written_by: Version,
    /// Its component.
    pub(crate) digest: Digest,
    /// The format of the state.
    pub(crate) format: StateFormat,
    /// The generation that is born from it, or that made it.
    pub(crate) generation: Generation,
    /// The batch it stands after.
    pub(crate) batches: BatchSeq,
    /// Events up to that batch.
    pub(crate) events: u64,
    /// When it was made.
    pub(crate) made: UnixNanos,
    /// The guest's state.
    pub(crate) state: Bytes,
    /// Timers that are set: id and due time.
    pub(crate) timers: Vec<(u64, UnixNanos)>,
    /// Calls that wait for a reply.
    pub(crate) calls: Vec<u64>,
    /// Connections the state may know, in no order.
    #[serde(with = "shared_list")]
    pub(crate) connections: Arc<Vec<ConnectionRecord>>,
}

/// A connection as a checkpoint remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    pub(crate) id: u64,
    #[serde(with = "shared")]
    pub(crate) listener: Arc<str>,
    #[serde(with = "shared")]
    pub(crate) peer: Arc<str>,
}

/// A list that is shared in memory and plain on disk.
mod shared_list {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::ConnectionRecord;

    pub(super) fn serialize<S: Serializer>(list: &[ConnectionRecord], serializer: S) -> Result<S::Ok, S::Error> {
        list.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Vec<ConnectionRecord>>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::new)
    }
}

/// Text that is shared in memory and plain on disk.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

impl Checkpoint {
    /// Its file's name.
    pub(crate) const fn name(&self) -> CheckpointName {
        CheckpointName { generation: self.generation, batches: self.batches, made: self.made }
    }

    /// For `host status`.
    pub(crate) const fn status(&self) -> CheckpointStatus {
        CheckpointStatus { at: self.made, batches: self.batches, state_bytes: self.state.len() as u64 }
    }

    /// The envelope and the body.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.reserve(self.state.len() + 1024);
        let mut bytes = postcard::to_extend(self, bytes)?;
        let (header, body) = bytes.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&Self::header(body.len() as u64, &Sha256::digest(&*body)));
        Ok(bytes)
    }

    /// The header of a body of this length and with this checksum.
    pub(crate) fn header(length: u64, sum: &[u8]) -> Vec<u8> {
        [MAGIC, &LAYOUT.to_le_bytes()[..], &length.to_le_bytes(), sum].concat()
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// What is wrong with it: cut, of another kind, of a newer layout, or with another checksum.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (magic, rest) = bytes.split_first_chunk::<6>().ok_or("it is cut short")?;
        let (layout, rest) = rest.split_first_chunk::<2>().ok_or("it is cut short")?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or("it is cut short")?;
        let (sum, body) = rest.split_first_chunk::<32>().ok_or("it is cut short")?;
        if magic != MAGIC {
            return Err("it is no checkpoint");
        }
        if u16::from_le_bytes(*layout) != LAYOUT {
            return Err("it was written by a newer host");
        }
        let length = u64::from_le_bytes(*length);
        if length > BODY_LIMIT_BYTES || length != body.len() as u64 {
            return Err("it is cut short");
        }
        if Sha256::digest(body).as_slice() != sum {
            return Err("its checksum is wrong");
        }
        match postcard::take_from_bytes(body) {
            Ok((checkpoint, [])) => Ok(checkpoint),
            Ok(_) => Err("something follows it"),
            Err(_) => Err("its body does not read"),
        }
    }
}

/// The checkpoints of one workload on disk. Every method blocks.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointFiles {
    folder: PathBuf,
}

/// A checkpoint's file name, which sorts by generation and batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CheckpointName {
    generation: Generation,
    batches: BatchSeq,
    made: UnixNanos,
}

impl CheckpointName {
    fn file(&self) -> String {
        format!("{:010}-{:020}-{}.ckpt", self.generation.0, self.batches.0, self.made.0)
    }

    fn parse(file: &str) -> Option<Self> {
        let mut numbers = file.strip_suffix(".ckpt")?.splitn(3, '-').map(|number| number.parse().ok());
        Some(Self {
            generation: Generation(numbers.next()??),
            batches: BatchSeq(numbers.next()??),
            made: UnixNanos(numbers.next()??),
        })
    }
}

impl CheckpointFiles {
    pub(crate) fn open(folder: PathBuf) -> Result<Self, CheckpointError> {
        fs::create_dir_all(&folder).map_err(|source| CheckpointError::Io { path: folder.clone(), source })?;
        Ok(Self { folder })
    }

    /// Writes a checkpoint durably: whole file, its name, or nothing. Older ones are [`prune`](Self::prune)d by whoever knows
    /// what the ledger names.
    pub(crate) fn write(&self, checkpoint: &Checkpoint) -> Result<CheckpointName, CheckpointError> {
        let name = checkpoint.name();
        let path = self.folder.join(name.file());
        let io = |source| CheckpointError::Io { path: path.clone(), source };
        let bytes = checkpoint.encode().map_err(|error| io(io::Error::other(error)))?;
        if let Err(source) = write_durably(&self.folder, &path, &bytes) {
            return Err(io(source));
        }
        Ok(name)
    }

    /// The newest whole checkpoint of this generation, and the damaged ones that were passed over and set aside.
    pub(crate) fn newest(&self, generation: Generation) -> (Option<Checkpoint>, Vec<CheckpointError>) {
        let mut damaged = Vec::new();
        for name in self.names().into_iter().rev().filter(|name| name.generation == generation) {
            match self.read(&name) {
                Ok(checkpoint) => return (Some(checkpoint), damaged),
                Err(error) => {
                    // Kept for whoever wants to look; under another name it is not tried again.
                    let path = self.folder.join(name.file());
                    drop(fs::rename(&path, path.with_extension("damaged")));
                    damaged.push(error);
                }
            }
        }
        (None, damaged)
    }

    /// One checkpoint.
    pub(crate) fn read(&self, name: &CheckpointName) -> Result<Checkpoint, CheckpointError> {
        let path = self.folder.join(name.file());
        match fs::read(&path) {
            Ok(bytes) => Checkpoint::decode(&bytes).map_err(|what| CheckpointError::Damaged { path, what }),
            Err(source) => Err(CheckpointError::Io { path, source }),
        }
    }

    /// Removes all of them, with their folder.
    pub(crate) fn remove_all(&self) -> Result<(), CheckpointError> {
        match fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CheckpointError::Io { path: self.folder.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Removes what nobody will ask for: all of generations before the one that the ledger names, and of that and later ones,
    /// whose record may be on its way, all but the last [`KEPT`]. Never `pinned`.
    pub(crate) fn prune(&self, named: Generation, pinned: Option<&CheckpointName>) {
        let (mut generation, mut kept) = (None, 0);
        for name in self.names().iter().rev() {
            if generation.replace(name.generation) != Some(name.generation) {
                kept = 0;
            }
            kept += 1;
            if (name.generation < named || kept > KEPT) && Some(name) != pinned {
                // A leftover costs space, not correctness.
                drop(fs::remove_file(self.folder.join(name.file())));
            }
        }
    }

    /// All of them, oldest first.
    fn names(&self) -> Vec<CheckpointName> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| CheckpointName::parse(entry.file_name().to_str()?)).collect();
        names.sort();
        names
    }
}

/// Whole or not at all: a file of another name, flushed, then renamed, then the folder flushed.
pub(crate) fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&partial, path)).and_then(|()| fs::File::open(folder)?.sync_all());
    if moved.is_err() {
        drop(fs::remove_file(&partial));
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(generation: u64, batches: u64) -> Checkpoint {
        Checkpoint {
            written_by: Version::new(1, 0, 0),
            digest: Digest::new([7; 32]),
            format: StateFormat { schema: 1, fingerprint: 2 },
            generation: Generation(generation),
            batches: BatchSeq(batches),
            events: batches,
            made: UnixNanos(batches + 5),
            state: Bytes::from_static(b"state"),
            timers: vec![(1, UnixNanos(9))],
            calls: vec![4],
            connections: Arc::new(vec![ConnectionRecord { id: 3, listener: "l".into(), peer: "p".into() }]),
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = checkpoint(1, 2).encode().unwrap();
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint(1, 2)));
        for length in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(Checkpoint::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_damaged_newest_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let files = CheckpointFiles::open(folder.path().join("c")).unwrap();
        files.write(&checkpoint(1, 1)).unwrap();
        let newest = files.write(&checkpoint(1, 2)).unwrap();
        let path = files.folder.join(newest.file());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (found, damaged) = files.newest(Generation(1));
        assert_eq!(found.unwrap().batches, BatchSeq(1));
        assert_eq!(damaged.len(), 1);
        let (found, damaged) = files.newest(Generation(1));
        assert!(found.is_some() && damaged.is_empty(), "a damaged one is set aside once");
    }

    #[test]
    fn old_ones_go_and_the_pinned_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let files = CheckpointFiles::open(folder.path().to_owned()).unwrap();
        let pinned = files.write(&checkpoint(1, 0)).unwrap();
        for batch in 1..10 {
            files.write(&checkpoint(2, batch)).unwrap();
        }
        files.prune(Generation(1), None);
        assert!(files.read(&pinned).is_ok(), "the second generation is not in the ledger yet");
        assert_eq!(files.names().len(), KEPT + 1);
        files.prune(Generation(2), Some(&pinned));
        assert_eq!(files.names().len(), KEPT + 1);
        assert!(files.read(&pinned).is_ok());
        files.prune(Generation(2), None);
        assert!(files.read(&pinned).is_err());
    }
}
