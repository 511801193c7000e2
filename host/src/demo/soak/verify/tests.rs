//! Rounds in which something went wrong, each of which has to be found.

use super::{super::record::Entry, *};

/// A moment.
const fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn incr(ms: u64) -> Entry {
    Entry::Sent { at: at(ms), line: Line::Incr }
}

fn got(ms: u64, line: &str) -> Entry {
    Entry::Got { at: at(ms), answer: Answer::parse(line.as_bytes()) }
}

fn record(client: u64, end: End, entries: Vec<Entry>) -> Record {
    Record { client, behaviour: "steady", before: None, entries, end }
}

fn lost(ms: u64) -> End {
    End::Lost { at: at(ms), why: "reset".to_owned() }
}

/// At any time a version may have come that keeps no counts.
static RESETS: [(Duration, Duration); 1] = [(at(0), at(1_000))];

/// A round that began at a total of 10 with 1.0.0, to which 1.1.0 came and went.
fn facts(after: u64, ended: Ended) -> Facts<'static> {
    Facts { before: 10, after, places: &[0, 1, 0], resets: &RESETS, replays: &[], ended }
}

/// The findings' words, for a round that is as `facts` say.
fn words(after: u64, ended: Ended, records: &[Record]) -> Vec<String> {
    let findings = verify(&facts(after, ended), records);
    assert_eq!(findings.violations, findings.words.len() as u64);
    findings.words
}

#[track_caller]
fn found(wanted: &str, after: u64, ended: Ended, records: &[Record]) {
    let words = words(after, ended, records);
    assert!(words.iter().any(|word| word.contains(wanted)), "`{wanted}` is not in {words:?}");
}

#[track_caller]
fn clean(after: u64, ended: Ended, records: &[Record]) {
    assert_eq!(words(after, ended, records), Vec::<String>::new());
}

/// Two clients that were served well.
fn good() -> Vec<Record> {
    vec![
        record(
            1,
            End::Open,
            vec![incr(1), got(2, "1.0.0 11"), incr(5), incr(6), got(7, "1.1.0 13 1"), got(8, "1.1.0 15 2")],
        ),
        record(
            2,
            End::Open,
            vec![incr(1), got(2, "1.0.0 12"), incr(5), got(7, "1.1.0 14 1"), incr(9), got(9, "1.0.0 16")],
        ),
    ]
}

#[test]
fn a_good_round_is_clean() {
    clean(16, Ended::Quiet, &good());
    clean(16, Ended::Terminated(at(20)), &good());
}

#[test]
fn a_line_without_an_answer_is_found_where_the_connection_lives() {
    let mut records = good();
    records[0].entries.push(incr(10));
    found("1 of 4 lines without an answer", 17, Ended::Quiet, &records);
    records[0].end = End::Left;
    clean(17, Ended::Quiet, &records);
    clean(16, Ended::Quiet, &records);
    found("2 totals up to 18 were never given", 18, Ended::Quiet, &records);
}

#[test]
fn an_answer_too_many_or_for_the_second_time_is_found() {
    let mut records = good();
    records[0].entries.push(got(10, "1.0.0 17"));
    found("4 answers to 3 lines", 17, Ended::Quiet, &records);
    let mut records = good();
    records[1].entries[5] = got(9, "1.1.0 15 2");
    found("total 15 for the second time", 15, Ended::Quiet, &records);
}

#[test]
fn what_is_out_of_order_is_found() {
    let records = [record(1, End::Open, vec![incr(1), incr(1), got(2, "1.0.0 12"), got(2, "1.0.0 11")])];
    found("total 11 after 12", 12, Ended::Quiet, &records);
    let answers = ["1.0.0 11", "1.1.0 12 1", "1.0.0 13", "1.1.0 14 1"];
    let entries = answers.into_iter().flat_map(|line| [incr(1), got(2, line)]).collect();
    found("total 14 is from version 1, out of its time", 14, Ended::Quiet, &[record(1, End::Open, entries)]);
    let crossed =
        vec![incr(1), Entry::Sent { at: at(1), line: Line::Nonsense }, got(2, "error what"), got(2, "1.0.0 11")];
    found("Refused to Incr", 11, Ended::Quiet, &[record(1, End::Open, crossed)]);
}

#[test]
fn a_count_that_goes_wrong_is_found() {
    let two = |first: &str, second: &str| [record(1, End::Open, vec![incr(1), got(2, first), incr(3), got(4, second)])];
    found("Some(3) of its own after Some(1)", 12, Ended::Quiet, &two("1.1.0 11 1", "1.1.0 12 3"));
    found("Some(2) of its own after None", 12, Ended::Quiet, &two("1.0.0 11", "1.1.0 12 2"));
    found("None of its own", 12, Ended::Quiet, &two("1.0.0 11", "1.1.0 12"));
    clean(12, Ended::Quiet, &two("1.1.0 11 1", "1.1.0 12 1"));
    let never = Facts { resets: &[], ..facts(12, Ended::Quiet) };
    let findings = verify(&never, &two("1.1.0 11 1", "1.1.0 12 1"));
    assert_eq!(findings.violations, 1, "nothing ran in between that could have forgotten it: {findings:?}");
}

#[test]
fn a_count_goes_on_over_what_was_counted_again() {
    let lines = ["1.1.0 11 1", "1.0.0 12", "1.0.0 13", "1.1.0 14 4"];
    let entries = lines.into_iter().flat_map(|line| [incr(1), got(2, line)]).collect();
    let records = [record(1, End::Open, entries)];
    let places = &[1, 0, 1];
    let rolled_back = Facts { places, ..facts(14, Ended::Quiet) };
    assert_eq!(verify(&rolled_back, &records).violations, 1, "nothing was counted again");
    let again = Facts { replays: &[(at(0), at(1_000))], ..rolled_back };
    assert_eq!(verify(&again, &records).words, Vec::<String>::new());
    let too_late = Facts { replays: &[(at(3), at(1_000))], ..rolled_back };
    assert_eq!(verify(&too_late, &records).violations, 1, "it was told before that began");
    let before = Some(Told { sent: at(0), total: 9, mine: None, times: 3 });
    let mut later = [Record { before, ..record(1, End::Open, vec![incr(1), got(2, "1.1.0 11 4")]) }];
    let lines_of_a_round_before = Facts { after: 11, ..again };
    assert_eq!(verify(&lines_of_a_round_before, &later).words, Vec::<String>::new());
    later[0].entries = vec![incr(1), got(2, "1.1.0 11 5")];
    assert_eq!(verify(&lines_of_a_round_before, &later).violations, 1, "more than it ever said");
}

#[test]
fn only_who_provoked_a_failure_may_be_closed_for_it() {
    let provoked = |behaviour| {
        let entries = vec![incr(1), got(2, "1.0.0 11"), Entry::Sent { at: at(3), line: Line::Provocation }];
        vec![Record { behaviour, ..record(1, lost(4), entries) }]
    };
    clean(11, Ended::Quiet, &provoked(PROVOKER));
    found("was dropped", 11, Ended::Quiet, &provoked("steady"));
}

#[test]
fn a_dropped_connection_is_found_unless_its_host_ended() {
    let mut records = good();
    records[1].end = lost(10);
    found("client 2 (steady) was dropped: reset", 16, Ended::Quiet, &records);
    found("was dropped", 16, Ended::Terminated(at(11)), &records);
    clean(16, Ended::Terminated(at(9)), &records);
}

#[test]
fn a_total_that_falls_is_found() {
    found("the total fell from 16 to 15", 15, Ended::Quiet, &good());
    found("the total went from 10 to 17 by 6 lines", 17, Ended::Quiet, &good());
    let again = [record(1, End::Open, vec![incr(1), got(2, "1.0.0 10")])];
    found("total 10 was given again", 11, Ended::Quiet, &again);
    found("was told `what`", 11, Ended::Quiet, &[record(1, End::Open, vec![incr(1), got(2, "what")])]);
}

#[test]
fn after_a_kill_the_total_is_that_of_the_checkpoint() {
    let mut records = good();
    for record in &mut records {
        // A second apart, so that the clocks' difference does not matter.
        for entry in &mut record.entries {
            let (Entry::Sent { at, .. } | Entry::Got { at, .. }) = entry;
            *at *= 1_000;
        }
        record.end = lost(20_000);
    }
    // At four seconds two lines were answered and no other was sent.
    let killed = Ended::Killed { at: at(15_000), checkpoint: at(4_000), earlier: None };
    clean(12, killed, &records);
    let findings = verify(&facts(12, killed), &records);
    assert_eq!(findings.lost_to_kill, 4);
    found("the total is 11; at its checkpoint it was from 12 to 12", 11, killed, &records);
    found("the total is 13; at its checkpoint it was from 12 to 12", 13, killed, &records);
    let earlier = Ended::Killed { at: at(15_000), checkpoint: at(0), earlier: Some((7, 9)) };
    clean(8, earlier, &records);
    found("from 7 to 9", 10, earlier, &records);
}

#[test]
fn reminders_come_once_and_not_early() {
    let wish = Entry::Sent { at: at(10), line: Line::Remind(at(100)) };
    let with = |rest: &[Entry]| {
        let entries = [std::slice::from_ref(&wish), rest].concat();
        [record(1, End::Open, entries)]
    };
    clean(10, Ended::Quiet, &with(&[got(120, "reminded late 3")]));
    found("0 reminders to 1 wishes", 10, Ended::Quiet, &with(&[]));
    found("1 reminders before they were due", 10, Ended::Quiet, &with(&[got(100, "reminded late 0")]));
    let twice = [got(120, "reminded late 3"), got(121, "reminded late 4")];
    found("2 reminders to 1 wishes", 10, Ended::Quiet, &with(&twice));
}
