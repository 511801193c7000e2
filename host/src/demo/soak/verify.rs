//! Judges a round by what its clients wrote down, and by nothing that the host says of itself but the workload's total
//! before and after.
//!
//! The total is one number for all connections, raised by each `incr`, so that answers tell about each other:
//!
//! - on a connection that lives, each line has its one answer, in the order of the lines;
//! - no total comes twice, on a connection they rise, and one that never came belongs to a line whose connection ended
//!   before its answer;
//! - in the order of their totals, answers come from the versions that were put in place, in that order;
//! - a count of a connection's own goes on, or begins anew where a version ran that keeps none;
//! - no connection ends before its client or its host does;
//! - after a SIGTERM the total is that of the last line handled. After a SIGKILL it is that of the checkpoint: what was
//!   answered before it counts, what was sent after it does not, and nothing else differs.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    behaviour::PROVOKER,
    record::{Answer, End, Line, Record, Told},
};

/// Most violations that are kept in words. The count goes on; twenty tell a person what is wrong.
const WORDS_LIMIT: usize = 20;

/// How far the clocks of this process and of the host may be apart: both follow the system's, from other moments on.
const CLOCKS_APART: Duration = Duration::from_millis(50);

/// A round, as its director knows it.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    /// The workload's total before the first line.
    pub(super) before: u64,
    /// And after the last, or after the host was started again.
    pub(super) after: u64,
    /// The versions that may have answered, by number, in order.
    pub(super) places: &'a [usize],
    /// When a version that keeps no count per connection may have been put in place.
    pub(super) resets: &'a [(Duration, Duration)],
    /// When what a release had counted may have been counted again by the one that took its place again.
    pub(super) replays: &'a [(Duration, Duration)],
    pub(super) ended: Ended,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    Quiet,
    /// By SIGTERM at that time.
    Terminated(Duration),
    /// By SIGKILL.
    Killed {
        at: Duration,
        /// When the checkpoint was made that the host came back from.
        checkpoint: Duration,
        /// What the total was then, at least and at most, where it was made before this round.
        earlier: Option<(u64, u64)>,
    },
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Violations in words, not all of them if there are many.
    pub(super) words: Vec<String>,
    pub(super) violations: u64,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) reminded: u64,
    /// Lines whose connection ended before their answer came.
    pub(super) cut_off: u64,
    /// Lines that were answered after the checkpoint that a killed host came back from.
    pub(super) lost_to_kill: u64,
}

impl Findings {
    fn violation(&mut self, what: fmt::Arguments<'_>) {
        self.violations += 1;
        if self.words.len() < WORDS_LIMIT {
            self.words.push(what.to_string());
        }
    }

    /// Adds another round's.
    pub(super) fn add(&mut self, other: Self) {
        self.violations += other.violations;
        self.sent += other.sent;
        self.answered += other.answered;
        self.reminded += other.reminded;
        self.cut_off += other.cut_off;
        self.lost_to_kill += other.lost_to_kill;
        let room = WORDS_LIMIT.saturating_sub(self.words.len());
        self.words.extend(other.words.into_iter().take(room));
    }
}

/// Judges.
pub(super) fn verify(facts: &Facts<'_>, records: &[Record]) -> Findings {
    let mut findings = Findings::default();
    let mut answers = BTreeMap::new();
    for record in records {
        lines(&mut findings, record);
        reminders(&mut findings, record);
        end(&mut findings, record, facts.ended);
        totals(&mut findings, record, &mut answers);
    }
    versions(&mut findings, &answers, facts.places);
    for record in records {
        counts(&mut findings, record, &answers, facts);
    }
    sums(&mut findings, facts, records, &answers);
    findings
}

/// Each line has its one answer, in order, as far as the connection lived.
fn lines(findings: &mut Findings, record: &Record) {
    let Record { client, behaviour, .. } = record;
    let (asked, answered) = (record.asked().count() as u64, record.answered().count() as u64);
    findings.sent += asked;
    findings.answered += answered;
    for (nth, ((_, line), (_, answer))) in record.asked().zip(record.answered()).enumerate() {
        match (line, answer) {
            (Line::Incr, Answer::Total { .. })
            | (Line::Nonsense | Line::Provocation, Answer::Refused)
            | (Line::Provocation, Answer::Broken) => {}
            (line, answer) => {
                findings.violation(format_args!("client {client} ({behaviour}), line {nth}: {answer:?} to {line:?}"));
                // What follows is out of step; once is enough.
                break;
            }
        }
    }
    if answered > asked {
        findings.violation(format_args!("client {client} ({behaviour}): {answered} answers to {asked} lines"));
    }
    let missing = asked.saturating_sub(answered);
    if record.end != End::Open {
        findings.cut_off += missing;
    } else if missing > 0 {
        findings.violation(format_args!("client {client} ({behaviour}): {missing} of {asked} lines without an answer"));
    }
}

/// Each reminder comes once, and not too early.
fn reminders(findings: &mut Findings, record: &Record) {
    use super::record::Entry;
    let Record { client, .. } = record;
    let (mut due, mut came) = (Vec::new(), Vec::new());
    for entry in &record.entries {
        match entry {
            Entry::Sent { at, line: Line::Remind(delay) } => due.push(*at + *delay),
            Entry::Got { at, answer: Answer::Reminded } => came.push(*at),
            _ => {}
        }
    }
    findings.reminded += came.len() as u64;
    due.sort_unstable();
    let early = due.iter().zip(&came).filter_map(|(due, came)| due.checked_sub(*came));
    let early: Vec<_> = early.filter(|by| *by > Duration::ZERO).collect();
    if let Some(most) = early.iter().max() {
        let count = early.len();
        findings
            .violation(format_args!("client {client}: {count} reminders before they were due, by {most:?} at most"));
    }
    if came.len() > due.len() || (record.end == End::Open && came.len() < due.len()) {
        findings.violation(format_args!("client {client}: {} reminders to {} wishes", came.len(), due.len()));
    }
}

/// A connection ends by its client or with its host.
fn end(findings: &mut Findings, record: &Record, ended: Ended) {
    let End::Lost { at, why } = &record.end else { return };
    // Set aside with what it said.
    if record.behaviour == PROVOKER && record.asked().any(|(_, line)| line == Line::Provocation) {
        return;
    }
    let host_ended = match ended {
        Ended::Quiet => None,
        Ended::Terminated(at) | Ended::Killed { at, .. } => Some(at),
    };
    if host_ended.is_none_or(|ended| *at < ended) {
        findings.violation(format_args!("client {} ({}) was dropped: {why}", record.client, record.behaviour));
    }
}

/// Totals rise on a connection, and none comes twice.
fn totals(findings: &mut Findings, record: &Record, answers: &mut BTreeMap<u64, usize>) {
    let Record { client, .. } = record;
    let mut last = 0;
    for (_, answer) in record.answered() {
        match answer {
            Answer::Total { version, total, .. } => {
                if *total <= last {
                    findings.violation(format_args!("client {client}: total {total} after {last}"));
                }
                last = *total;
                if answers.insert(*total, *version).is_some() {
                    findings.violation(format_args!("client {client}: total {total} for the second time"));
                }
            }
            Answer::Strange(line) => findings.violation(format_args!("client {client} was told `{line}`")),
            Answer::Refused | Answer::Broken | Answer::Reminded => {}
        }
    }
}

/// In the order of totals the versions are those that were put in place, one after the other.
fn versions(findings: &mut Findings, answers: &BTreeMap<u64, usize>, places: &[usize]) {
    let mut at = 0;
    for (total, version) in answers {
        let rest = places.get(at..).unwrap_or_default();
        match rest.iter().position(|place| place == version) {
            Some(later) => at += later,
            None => {
                findings.violation(format_args!(
                    "total {total} is from version {version}, out of its time: {places:?}, at {at}"
                ));
                return;
            }
        }
    }
}

/// A connection's own count goes on, or begins anew where a version without counts ran. Where that one's lines were counted
/// again by the version that came back, the count goes on over them.
fn counts(findings: &mut Findings, record: &Record, answers: &BTreeMap<u64, usize>, facts: &Facts<'_>) {
    let Record { client, .. } = record;
    let within = |times: &[(Duration, Duration)], since: Duration, got: Duration| {
        times.iter().any(|(from, to)| *from <= got && *to >= since)
    };
    let mut last = record.before;
    for (got, version, told) in record.told() {
        let Told { total, mine, times, .. } = told;
        let since = last.map(|last| last.sent);
        let replayed =
            since.is_some_and(|since| within(facts.replays, since, got)) && mine.is_some_and(|mine| mine <= times);
        let may_begin = since.is_none_or(|since| within(facts.resets, since, got));
        let must_begin = last.is_some_and(|last| {
            // Inverted only where totals fell, which is told elsewhere.
            last.total < total && answers.range(last.total + 1..total).any(|(_, version)| *version == 0)
        });
        let before = last.and_then(|last| last.mine);
        let fits = match (version == 0, mine) {
            (true, None) => true,
            (false, Some(1)) => before.is_none() || may_begin || must_begin,
            (false, Some(mine)) => replayed || (!must_begin && before == mine.checked_sub(1)),
            (true, Some(_)) | (false, None) => false,
        };
        if !fits {
            findings.violation(format_args!("client {client}, total {total}: {mine:?} of its own after {before:?}"));
        }
        last = Some(told);
    }
}

/// The total before, the total after, and all that was counted in between.
fn sums(findings: &mut Findings, facts: &Facts<'_>, records: &[Record], answers: &BTreeMap<u64, usize>) {
    let Facts { before, after, .. } = *facts;
    let sent = records.iter().map(|record| record.increments().count() as u64).sum::<u64>();
    let answered = answers.len() as u64;
    if let Some((first, _)) = answers.first_key_value().filter(|(first, _)| **first <= before) {
        findings.violation(format_args!("total {first} was given again: it stood at {before}"));
    }
    if after.saturating_sub(before) > sent {
        findings.violation(format_args!("the total went from {before} to {after} by {sent} lines"));
    }
    // Whoever counts on counts each line once: a total that nobody saw belongs to a line that was cut off.
    let seen = answers.range(..=after).count() as u64;
    let unseen = after.saturating_sub(before).saturating_sub(seen);
    if unseen > sent.saturating_sub(answered) {
        findings.violation(format_args!(
            "{unseen} totals up to {after} were never given, but only {} lines have no answer",
            sent.saturating_sub(answered)
        ));
    }
    let highest = answers.last_key_value().map_or(before, |(highest, _)| *highest);
    match facts.ended {
        Ended::Quiet | Ended::Terminated(_) if after < highest.max(before) => {
            findings.violation(format_args!("the total fell from {} to {after}", highest.max(before)));
        }
        Ended::Quiet | Ended::Terminated(_) => {}
        Ended::Killed { checkpoint, earlier, .. } => {
            let (least, most) = earlier.unwrap_or_else(|| bounds(before, checkpoint, records));
            if !(least..=most).contains(&after) {
                findings.violation(format_args!(
                    "after a kill the total is {after}; at its checkpoint it was from {least} to {most}"
                ));
            }
            let gone = answers.len() as u64 - seen;
            findings.lost_to_kill += gone + before.saturating_sub(after);
        }
    }
}

/// What the total can have been at that moment: what was answered before counts, what was sent after does not.
fn bounds(before: u64, moment: Duration, records: &[Record]) -> (u64, u64) {
    let answered_by = moment.saturating_sub(CLOCKS_APART);
    let answered = records.iter().flat_map(Record::totals).filter(|(at, _)| *at <= answered_by);
    let least = answered.map(|(_, total)| total).max().unwrap_or(before);
    let sent_by = moment + CLOCKS_APART;
    let sent = records.iter().flat_map(Record::increments).filter(|at| *at <= sent_by).count() as u64;
    (least, before + sent)
}

#[cfg(test)]
mod tests;
