//! What clients write down: what each sent, what it got, and when. Nothing is judged here.

use std::time::Duration;

use semver::Version;

use crate::demo::plan::{AFTER, BEFORE, LATER};

/// The counter's versions, oldest first.
pub(super) static VERSIONS: [Version; 3] = [BEFORE, AFTER, LATER];

/// One connection over one round.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// A client's number, given once.
    pub(super) client: u64,
    /// What it is like, in a word.
    pub(super) behaviour: &'static str,
    /// What it was told last in an earlier round.
    pub(super) before: Option<Told>,
    pub(super) entries: Vec<Entry>,
    pub(super) end: End,
}

/// The last total that a connection was told, and what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// When its line was sent.
    pub(super) sent: Duration,
    pub(super) total: u64,
    /// The count of its own, of a version that has one.
    pub(super) mine: Option<u64>,
    /// Totals that the connection was told in its life: no count of its own is higher.
    pub(super) times: u64,
}

/// A line, one way or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A line whose last byte was about to be written. If the connection then broke, it may not have left.
    Sent { at: Duration, line: Line },
    /// A line that was read.
    Got { at: Duration, answer: Answer },
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Incr,
    /// `remind <ms>`.
    Remind(Duration),
    /// Something that is answered with `error …`.
    Nonsense,
    /// Something that a guest may fail on: its connection is then closed. One that does not fail answers as to nonsense,
    /// or that it is broken.
    Provocation,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `<version> <total>`, and `<mine>` of a version that counts per connection.
    Total {
        version: usize,
        total: u64,
        mine: Option<u64>,
    },
    Reminded,
    /// `error …`.
    Refused,
    /// `<version> broken`: what comes next will fail.
    Broken,
    /// None of these.
    Strange(Box<str>),
}

/// How a connection stands at the end of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It lives.
    Open,
    /// The client closed it.
    Left,
    /// The other side did.
    Lost { at: Duration, why: String },
}

impl Answer {
    /// Takes a line apart.
    pub(super) fn parse(line: &[u8]) -> Self {
        let strange = || Self::Strange(String::from_utf8_lossy(line).into());
        let Ok(text) = std::str::from_utf8(line) else { return strange() };
        if text.starts_with("reminded late ") {
            return Self::Reminded;
        }
        if text.starts_with("error ") {
            return Self::Refused;
        }
        if text == "1.0.0 broken" {
            return Self::Broken;
        }
        let mut fields = text.split(' ');
        let version = fields.next().and_then(|field| Version::parse(field).ok());
        let version = version.and_then(|version| VERSIONS.iter().position(|known| *known == version));
        let total = fields.next().and_then(|field| field.parse().ok());
        let mine = fields.next().map(str::parse).transpose();
        match (version, total, mine, fields.next()) {
            (Some(version), Some(total), Ok(mine), None) => Self::Total { version, total, mine },
            _ => strange(),
        }
    }
}

impl Record {
    /// The lines that are answered in turn, with the moment of each; reminders come when they come.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Duration, Line)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Sent { at, line: line @ (Line::Incr | Line::Nonsense | Line::Provocation) } => Some((*at, *line)),
            _ => None,
        })
    }

    /// The answers to those, with the moment of each.
    pub(super) fn answered(&self) -> impl Iterator<Item = (Duration, &Answer)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Got { at, answer } if *answer != Answer::Reminded => Some((*at, answer)),
            _ => None,
        })
    }

    /// What it was told in turn, with the version and the moment of each.
    pub(super) fn told(&self) -> impl Iterator<Item = (Duration, usize, Told)> {
        let totals = self.asked().zip(self.answered()).filter_map(|((sent, _), (got, answer))| match answer {
            Answer::Total { version, total, mine } => Some((sent, got, *version, *total, *mine)),
            _ => None,
        });
        let before = self.before.map_or(0, |before| before.times);
        totals
            .zip(before + 1..)
            .map(|((sent, got, version, total, mine), times)| (got, version, Told { sent, total, mine, times }))
    }

    /// `incr` lines, with the moment of each.
    pub(super) fn increments(&self) -> impl Iterator<Item = Duration> {
        self.asked().filter(|(_, line)| *line == Line::Incr).map(|(at, _)| at)
    }

    /// Totals, with the moment of each.
    pub(super) fn totals(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.answered().filter_map(|(at, answer)| match answer {
            Answer::Total { total, .. } => Some((at, *total)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let total = |version, total, mine| Answer::Total { version, total, mine };
        for (line, answer) in [
            ("1.0.0 7", total(0, 7, None)),
            ("1.1.0 8 2", total(1, 8, Some(2))),
            ("2.0.0 9 3", total(2, 9, Some(3))),
            ("reminded late 0", Answer::Reminded),
            ("1.0.0 broken", Answer::Broken),
            ("error expected `incr` or `remind <ms>`", Answer::Refused),
        ] {
            assert_eq!(Answer::parse(line.as_bytes()), answer);
        }
        for line in ["", "1.0.0", "1.0.0 x", "3.0.0 1", "1.1.0 1 2 3", "1.0.0  1"] {
            assert_eq!(Answer::parse(line.as_bytes()), Answer::Strange(line.into()), "{line}");
        }
    }
}
