//! Checks every answer to every line.
//!
//! All lines are the same (`incr`), so the answers must tell whether one was lost, doubled or taken out of turn:
//!
//! - the totals of **all** connections together are 1, 2, 3, … up to the number of lines: a total that never came is a lost
//!   answer, one that came twice is a doubled one;
//! - the totals of **one** connection rise: one that falls was taken out of turn, or the state went back in time;
//! - a version must be one that was put in place, and none may answer after its successor did;
//! - a version that counts per connection counts 1, 2, 3, … on each, beginning anew whenever it is put in place;
//! - a connection has one answer per line in the end, none more and none less.

use std::{fmt, time::Duration};

/// Most faults that are kept in words. The counts go on; twenty tell a person what is wrong.
const FAULTS_KEPT_LIMIT: usize = 20;

/// Longest answer in bytes: a version, two numbers and the spaces between fit three times.
pub(crate) const ANSWER_LIMIT_BYTES: usize = 192;

/// What a version's answers look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The version in its answers.
    pub(crate) version: String,
    /// Whether it counts per connection: a third field.
    pub(crate) counts_mine: bool,
}

/// An answer, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer<'a> {
    version: &'a str,
    total: u64,
    mine: Option<u64>,
}

impl<'a> Answer<'a> {
    /// None if it is no answer to `incr`.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split(' ');
        let (version, total) = (fields.next()?, fields.next()?.parse().ok()?);
        let mine = fields.next().map(str::parse).transpose().ok()?;
        fields.next().is_none().then_some(Self { version, total, mine })
    }
}

/// What is known about all connections together.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// One bit per total, from 1.
    seen: Vec<u64>,
    highest: u64,
    answered: u64,
    repeated: u64,
    out_of_order: u64,
    wrong: u64,
    dropped: u64,
    /// Each version that was put in place, in order.
    timeline: Vec<Place>,
    faults: Vec<String>,
}

/// A version's time in place.
#[derive(Debug)]
struct Place {
    expected: Expected,
    /// When its first answer arrived.
    first: Option<Duration>,
    answers: u64,
}

/// What became of all lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tally {
    /// Lines that were written to a socket.
    pub(crate) sent: u64,
    /// Lines that came back.
    pub(crate) answered: u64,
    /// Lines without an answer, and totals that nobody saw.
    pub(crate) lost: u64,
    /// Totals that came twice, and answers beyond a connection's lines.
    pub(crate) doubled: u64,
    /// Answers whose total, count or version went backwards.
    pub(crate) out_of_order: u64,
    /// Lines that are no answer at all.
    pub(crate) wrong: u64,
    /// Connections that ended before they should.
    pub(crate) dropped: u64,
    /// The first faults, in words.
    pub(crate) faults: Vec<String>,
}

impl Tally {
    /// Whether every line has its one answer, in order, and every connection lives.
    pub(crate) const fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.out_of_order == 0 && self.wrong == 0 && self.dropped == 0
    }
}

impl Ledger {
    /// This version answers from the beginning.
    pub(crate) fn begin(&mut self, first: Expected) {
        self.put(first);
    }

    /// A swap begins: from now on `target` may answer, and after it `back` once more, should the swap be rolled back.
    pub(crate) fn swap_begins(&mut self, target: Expected, back: Expected) {
        self.put(target);
        self.put(back);
    }

    /// The swap is over and `target` is in place, or it is not. When `target` first answered, if it did.
    pub(crate) fn swap_ended(&mut self, target_runs: bool) -> Option<Duration> {
        let length = self.timeline.len();
        let first = self.timeline.get(length.saturating_sub(2)).and_then(|target| target.first);
        let Some(back) = self.timeline.last() else { return first };
        if back.answers == 0 && target_runs {
            self.timeline.pop();
        } else if first.is_none() {
            // Nobody saw the target, so nobody saw what came back after it.
            self.timeline.truncate(length.saturating_sub(2));
        } else if target_runs {
            let (answers, version) = (back.answers, back.expected.version.clone());
            self.out_of_order += answers;
            self.fault(format_args!("{version} answered {answers} lines after the version that took its place"));
        }
        first
    }

    fn put(&mut self, expected: Expected) {
        self.timeline.push(Place { expected, first: None, answers: 0 });
    }

    /// Answers so far.
    pub(crate) const fn answered(&self) -> u64 {
        self.answered
    }

    /// A connection ended before it should.
    pub(crate) fn dropped(&mut self, connection: usize, why: &dyn fmt::Display) {
        self.dropped += 1;
        self.fault(format_args!("connection {connection} was dropped: {why}"));
    }

    /// Sums up. Wants what each connection sent and how many answers it got.
    pub(crate) fn tally(&self, connections: impl IntoIterator<Item = (u64, u64)>) -> Tally {
        let (mut sent, mut missing, mut surplus) = (0, 0, 0);
        for (lines, answers) in connections {
            sent += lines;
            missing += lines.saturating_sub(answers);
            surplus += answers.saturating_sub(lines);
        }
        let distinct = self.answered.saturating_sub(self.repeated + self.wrong);
        let gaps = self.highest.saturating_sub(distinct);
        Tally {
            sent,
            answered: self.answered,
            // The same loss shows both ways, or only one: a gap may hide behind a doubled answer, and a line that never
            // arrived leaves no gap.
            lost: missing.max(gaps),
            doubled: surplus.max(self.repeated),
            out_of_order: self.out_of_order,
            wrong: self.wrong,
            dropped: self.dropped,
            faults: self.faults.clone(),
        }
    }

    /// Notes that a total was seen; whether that was the first time.
    fn see(&mut self, total: u64) -> bool {
        let (word, bit) = (usize::try_from(total / 64).unwrap_or(usize::MAX), 1 << (total % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let Some(word) = self.seen.get_mut(word) else { return false };
        let first = *word & bit == 0;
        *word |= bit;
        self.highest = self.highest.max(total);
        first
    }

    fn fault(&mut self, what: fmt::Arguments<'_>) {
        if self.faults.len() < FAULTS_KEPT_LIMIT {
            self.faults.push(what.to_string());
        }
    }
}

/// What is known about one connection.
#[derive(Debug)]
pub(crate) struct ConnectionCheck {
    name: usize,
    /// The beginning of an answer whose end has not come yet.
    partial: Vec<u8>,
    answered: u64,
    last_total: u64,
    /// The place in the timeline of the version that answered last.
    place: usize,
    mine: u64,
}

impl ConnectionCheck {
    pub(crate) const fn new(name: usize) -> Self {
        Self { name, partial: Vec::new(), answered: 0, last_total: 0, place: 0, mine: 0 }
    }

    /// Answers that came so far.
    pub(crate) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Takes bytes as they came. `limit` is how many lines were sent on all connections, `at` the time of arrival. Gives
    /// how many answers were complete.
    pub(crate) fn bytes(&mut self, ledger: &mut Ledger, bytes: &[u8], limit: u64, at: Duration) -> u64 {
        let before = self.answered;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                self.line(ledger, line, limit, at);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(ledger, &whole, limit, at);
            }
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > ANSWER_LIMIT_BYTES {
            ledger.wrong += 1;
            ledger.fault(format_args!("connection {}: {} bytes without an end of line", self.name, self.partial.len()));
            self.partial.clear();
        }
        self.answered - before
    }

    fn line(&mut self, ledger: &mut Ledger, line: &[u8], limit: u64, at: Duration) {
        let name = self.name;
        self.answered += 1;
        ledger.answered += 1;
        let nth = self.answered;
        let Some(answer) = Answer::parse(line) else {
            ledger.wrong += 1;
            ledger.fault(format_args!("connection {name}, answer {nth}: `{}`", String::from_utf8_lossy(line)));
            return;
        };
        // A total beyond all lines sent is no place to mark: a broken host could name any number.
        if answer.total == 0 || answer.total > limit {
            ledger.wrong += 1;
            ledger.fault(format_args!("connection {name}, answer {nth}: total {} of {limit} lines", answer.total));
        } else if !ledger.see(answer.total) {
            ledger.repeated += 1;
            ledger.fault(format_args!("connection {name}, answer {nth}: total {} for the second time", answer.total));
        }
        if answer.total < self.last_total {
            ledger.out_of_order += 1;
            ledger.fault(format_args!(
                "connection {name}, answer {nth}: total {} after {}",
                answer.total, self.last_total
            ));
        }
        self.last_total = answer.total;
        self.version(ledger, answer, at);
    }

    /// The version must be the one of before, or one that was put in place since.
    fn version(&mut self, ledger: &mut Ledger, answer: Answer<'_>, at: Duration) {
        let (name, nth) = (self.name, self.answered);
        let mut from_here = ledger.timeline.iter().skip(self.place);
        let Some(later) = from_here.position(|place| place.expected.version == answer.version) else {
            ledger.out_of_order += 1;
            ledger.fault(format_args!("connection {name}, answer {nth}: version {} out of its time", answer.version));
            return;
        };
        if later > 0 {
            self.place += later;
            self.mine = 0;
        }
        let Some(Place { expected, first, answers }) = ledger.timeline.get_mut(self.place) else { return };
        first.get_or_insert(at);
        *answers += 1;
        let wanted = expected.counts_mine.then_some(self.mine + 1);
        if answer.mine != wanted {
            ledger.out_of_order += 1;
            ledger.fault(format_args!(
                "connection {name}, answer {nth}: {} counts {:?} for this connection instead of {wanted:?}",
                answer.version, answer.mine
            ));
        }
        self.mine = answer.mine.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
