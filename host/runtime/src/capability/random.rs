//! Random numbers as a guest sees them: secret to the world, and the same in a replay.
//!
//! A birth brings 32 secret bytes, a batch a number. Both together seed one SHA-256 in counter mode per stream, so that
//! what a guest draws can't be told from outside, nor from what it drew in another batch. Seeding costs nothing until the
//! first draw.

use sha2::{Digest as _, Sha256};
use wasmtime::{StoreContextMut, component::Linker};

use super::{Context, WASI_VERSION, charge};

/// The most random bytes one call may ask for: a key or a nonce is under 100, and whoever wants megabytes shall expand
/// them in the guest, where fuel counts.
const DRAW_LIMIT_BYTES: u64 = 64 << 10;

/// Fuel for a random byte: a hash makes 32 of them in the time of about three hundred instructions.
const FUEL_PER_BYTE: u64 = 10;

/// The random numbers of one instance.
#[derive(Clone)]
pub(crate) struct Random {
    birth: [u8; 32],
    secure: Stream,
    insecure: Stream,
}

/// SHA-256 of (birth, batch, which stream, counter), block after block.
#[derive(Clone)]
struct Stream {
    which: u8,
    batch: u64,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Stream {
    const SECURE: u8 = 1;
    const INSECURE: u8 = 2;
    const SEED: u8 = 3;

    const fn new(which: u8, batch: u64) -> Self {
        Self { which, batch, counter: 0, block: [0; 32], used: 32 }
    }

    fn fill(&mut self, birth: &[u8; 32], out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                let hash = Sha256::new_with_prefix(birth)
                    .chain_update([self.which])
                    .chain_update(self.batch.to_le_bytes())
                    .chain_update(self.counter.to_le_bytes());
                self.block = hash.finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }

    fn number(&mut self, birth: &[u8; 32]) -> u64 {
        let mut bytes = [0; 8];
        self.fill(birth, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn bytes(&mut self, birth: &[u8; 32], length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(birth, &mut bytes);
        bytes
    }
}

impl Random {
    /// The numbers of an instance whose birth brought `birth`, until its first batch.
    pub(crate) const fn new(birth: [u8; 32]) -> Self {
        // A batch is never given the number `MAX`: what `init` draws differs from what every batch draws.
        let mut random = Self {
            birth,
            secure: Stream::new(Stream::SECURE, u64::MAX),
            insecure: Stream::new(Stream::INSECURE, u64::MAX),
        };
        random.secure.used = 32;
        random
    }

    /// Begins a batch.
    pub(crate) const fn reseed(&mut self, batch: u64) {
        self.secure = Stream::new(Stream::SECURE, batch);
        self.insecure = Stream::new(Stream::INSECURE, batch);
    }

    /// The seed a guest's hash maps take, the same for its whole life.
    fn insecure_seed(&self) -> (u64, u64) {
        let mut stream = Stream::new(Stream::SEED, 0);
        (stream.number(&self.birth), stream.number(&self.birth))
    }
}

/// Bounds and charges what is about to be drawn.
fn drawn(store: &mut StoreContextMut<'_, Context>, length: u64) -> wasmtime::Result<usize> {
    if length > DRAW_LIMIT_BYTES {
        wasmtime::bail!("it asked for more than {DRAW_LIMIT_BYTES} random bytes at once");
    }
    charge(store, length * FUEL_PER_BYTE)?;
    Ok(usize::try_from(length)?)
}

pub(super) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    let mut secure = linker.instance(&format!("wasi:random/random@{WASI_VERSION}"))?;
    secure.func_wrap("get-random-bytes", |mut store, (length,): (u64,)| {
        let length = drawn(&mut store, length)?;
        let Random { birth, secure, .. } = &mut store.data_mut().random;
        Ok((secure.bytes(birth, length),))
    })?;
    secure.func_wrap("get-random-u64", |mut store, (): ()| {
        drawn(&mut store, 8)?;
        let Random { birth, secure, .. } = &mut store.data_mut().random;
        Ok((secure.number(birth),))
    })?;

    let mut insecure = linker.instance(&format!("wasi:random/insecure@{WASI_VERSION}"))?;
    insecure.func_wrap("get-insecure-random-bytes", |mut store, (length,): (u64,)| {
        let length = drawn(&mut store, length)?;
        let Random { birth, insecure, .. } = &mut store.data_mut().random;
        Ok((insecure.bytes(birth, length),))
    })?;
    insecure.func_wrap("get-insecure-random-u64", |mut store, (): ()| {
        drawn(&mut store, 8)?;
        let Random { birth, insecure, .. } = &mut store.data_mut().random;
        Ok((insecure.number(birth),))
    })?;

    linker
        .instance(&format!("wasi:random/insecure-seed@{WASI_VERSION}"))?
        .func_wrap("insecure-seed", |store, (): ()| Ok((store.data().random.insecure_seed(),)))
}
