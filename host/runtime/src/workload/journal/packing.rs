//! How the journal packs its entries. In memory only: the layout may change from one build to the next.
//!
//! Numbers are LEB128, as postcard has them. Bytes that clients sent, which are most of it, are copied as they are; all
//! other events are postcard.

use std::hash::{Hash as _, Hasher as _};

use host_core::{id::BatchSeq, time::UnixNanos};
use rustc_hash::FxHasher;

use super::{Entry, Handled};
use crate::bindings::types::{Effect, Event, Received};

const HANDLED: u8 = 0;
const SNAPSHOT: u8 = 1;
const HEALTH: u8 = 2;

const RECEIVED: u8 = 0;
const OTHER: u8 = 1;

/// A segment that does not read. The host wrote it itself, so that this is a defect or broken memory; a replay that meets
/// it fails with words and goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal does not read: memory or host are defective")]
pub(crate) struct Damaged;

pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn handled(&mut self, seq: BatchSeq, now: UnixNanos, events: &[Event], effects: &[Effect]) {
        self.0.push(HANDLED);
        self.number(seq.0);
        self.number(now.0);
        self.number(events.len() as u64);
        for event in events {
            self.event(event);
        }
        self.number(effects.len() as u64);
        for effect in effects {
            self.0.extend_from_slice(&sum(effect).to_le_bytes());
        }
    }

    pub(super) fn snapshot(&mut self, now: UnixNanos, schema: u32) {
        self.0.push(SNAPSHOT);
        self.number(now.0);
        self.number(schema.into());
    }

    pub(super) fn health(&mut self, now: UnixNanos) {
        self.0.push(HEALTH);
        self.number(now.0);
    }

    fn event(&mut self, event: &Event) {
        if let Event::Received(Received { connection, data }) = event {
            self.0.push(RECEIVED);
            self.number(*connection);
            self.bytes(data);
            return;
        }
        self.0.push(OTHER);
        // Into memory, of a type without anything postcard can't write.
        let packed = postcard::to_stdvec(event).unwrap_or_default();
        self.bytes(&packed);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

/// Reads a segment's entries. Ends after the first that is damaged.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(segment: &'a [u8]) -> Self {
        Self(segment)
    }

    fn entry(&mut self) -> Result<Entry, Damaged> {
        match self.byte()? {
            HANDLED => self.handled().map(Entry::Handled),
            SNAPSHOT => {
                let now = UnixNanos(self.number()?);
                Ok(Entry::Snapshot { now, schema: u32::try_from(self.number()?).map_err(|_| Damaged)? })
            }
            HEALTH => Ok(Entry::Health { now: UnixNanos(self.number()?) }),
            _ => Err(Damaged),
        }
    }

    fn handled(&mut self) -> Result<Handled, Damaged> {
        let (seq, now) = (BatchSeq(self.number()?), UnixNanos(self.number()?));
        let count = self.count()?;
        let events = (0..count).map(|_| self.event()).collect::<Result<_, _>>()?;
        let count = self.count()?;
        let sums = (0..count).map(|_| self.sum()).collect::<Result<_, _>>()?;
        Ok(Handled { seq, now, events, sums })
    }

    fn event(&mut self) -> Result<Event, Damaged> {
        match self.byte()? {
            RECEIVED => {
                let connection = self.number()?;
                Ok(Event::Received(Received { connection, data: self.bytes()?.to_vec() }))
            }
            OTHER => postcard::from_bytes(self.bytes()?).map_err(|_| Damaged),
            _ => Err(Damaged),
        }
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn sum(&mut self) -> Result<u64, Damaged> {
        let (sum, rest) = self.0.split_first_chunk::<8>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*sum))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if count > self.0.len() { Err(Damaged) } else { Ok(count) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Entry, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.0 = &[];
        }
        Some(entry)
    }
}

/// A hash of an effect. Not for strangers: a guest that wants two effects to look alike can have it so.
pub(super) fn sum(effect: &Effect) -> u64 {
    let mut hasher = FxHasher::default();
    effect.hash(&mut hasher);
    hasher.finish()
}
