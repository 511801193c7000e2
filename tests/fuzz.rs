//! The fuzz targets without a fuzzer: over their corpus, and over some thousand mutations of it.
//!
//! `FUZZ_SEED` repeats a run, `FUZZ_ROUNDS` asks for more. What a fuzzer found belongs into the corpus.

#[expect(unreachable_pub, reason = "the fuzz targets, which are a package of their own, use them too")]
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::{fs, panic, path::Path};

/// The bytes to begin from.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Numbers that a seed repeats (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // What lies at the edges of numbers, more often than chance would have it.
        match self.below(8) {
            0 => 0,
            1 => 0xff,
            2 => 0x7f,
            3 => 0x80,
            _ => self.next().to_le_bytes()[0],
        }
    }

    /// A few changes: bytes replaced, put in, taken out, doubled; or cut, or joined with another.
    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, length) = (self.below(bytes.len() + 1), self.below(16));
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] = self.byte(),
                1 => bytes.insert(at, self.byte()),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => bytes.truncate(at),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
            }
        }
        bytes
    }
}

/// Runs a target over its corpus and so many mutations of it.
#[expect(clippy::print_stdout, reason = "what repeats a run that failed")]
#[track_caller]
fn check(name: &str, target: fn(&[u8]), rounds: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap()
    });
    println!("FUZZ_SEED={seed}");
    let (corpus, mut random) = (corpus(name), Random(seed));
    assert!(!corpus.is_empty(), "nothing to begin from");
    corpus.iter().for_each(|bytes| target(bytes));
    for round in 0..number("FUZZ_ROUNDS").unwrap_or(rounds) {
        let bytes = random.mutate(&corpus);
        let ended = panic::catch_unwind(|| target(&bytes));
        assert!(ended.is_ok(), "FUZZ_SEED={seed}, round {round}: {name} failed on {bytes:02x?}");
    }
}

#[test]
fn no_bytes_of_a_checkpoint_make_the_reader_panic() {
    check("checkpoint", targets::checkpoint, 5_000);
}

#[test]
fn pieces_are_the_same_wherever_the_bytes_are_cut() {
    check("framing", targets::framing, 20_000);
}

#[test]
fn no_message_gets_past_the_door_and_back_as_another() {
    check("messages", targets::messages, 20_000);
}

#[test]
fn no_component_makes_the_compiler_panic() {
    check("component", targets::component, 2_000);
}
