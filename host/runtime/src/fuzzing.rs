//! Doors to what reads bytes from outside and is otherwise private, for the fuzz targets (`fuzz/`). No promise is made about
//! them.

use sha2::{Digest as _, Sha256};

use crate::checkpoint::{Checkpoint, HEADER_BYTES};

/// Reads a checkpoint's envelope; then the same bytes as the body of an envelope that is in order, since no random change
/// gets past a checksum.
///
/// # Panics
/// What was read is written and read again as something else.
pub fn checkpoint(bytes: &[u8]) {
    let raw = Checkpoint::decode(bytes);
    let body = bytes.get(HEADER_BYTES..).unwrap_or(bytes);
    let mut sealed = Checkpoint::header(body.len() as u64, &Sha256::digest(body));
    sealed.extend_from_slice(body);
    for read in [raw, Checkpoint::decode(&sealed)].into_iter().flatten() {
        let again = read.encode().ok().and_then(|bytes| Checkpoint::decode(&bytes).ok());
        assert_eq!(again.as_ref(), Some(&read), "a checkpoint is written as it was read");
    }
}
