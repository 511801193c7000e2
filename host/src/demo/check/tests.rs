//! Bad streams, each of which has to be found.

use super::*;

/// A ledger that knows 1.0.0, then 1.1.0, then 1.0.0 again.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for (version, counts_mine) in [("1.0.0", false), ("1.1.0", true), ("1.0.0", false)] {
        ledger.put(Expected { version: version.to_owned(), counts_mine });
    }
    ledger
}

/// Feeds each connection its lines, round by round, and sums up. Every connection is said to have sent `sent` lines.
fn tally(sent: u64, connections: &[&[&str]]) -> Tally {
    let mut ledger = ledger();
    let all = sent * connections.len() as u64;
    let mut answered = Vec::new();
    for (name, lines) in connections.iter().enumerate() {
        let mut check = ConnectionCheck::new(name);
        for line in *lines {
            check.bytes(&mut ledger, format!("{line}\n").as_bytes(), all, Duration::ZERO);
        }
        answered.push((sent, check.answered()));
    }
    ledger.tally(answered)
}

#[test]
fn a_good_stream_across_two_swaps_is_clean() {
    let tally =
        tally(4, &[&["1.0.0 1", "1.0.0 3", "1.1.0 5 1", "1.0.0 8"], &["1.0.0 2", "1.1.0 4 1", "1.1.0 6 2", "1.0.0 7"]]);
    assert_eq!((tally.sent, tally.answered), (8, 8));
    assert!(tally.is_clean(), "{tally:?}");
}

#[test]
fn an_answer_may_come_in_pieces() {
    let mut ledger = ledger();
    let mut check = ConnectionCheck::new(0);
    for piece in ["1.0", ".0 1\n1.0.", "0 2", "\n1.1.0 3 1\n1.1.0 4 2\n"] {
        check.bytes(&mut ledger, piece.as_bytes(), 4, Duration::from_millis(7));
    }
    let tally = ledger.tally([(4, check.answered())]);
    assert!(tally.is_clean(), "{tally:?}");
}

#[test]
fn a_lost_answer_is_found() {
    let tally = tally(3, &[&["1.0.0 1", "1.0.0 3"]]);
    assert_eq!((tally.lost, tally.doubled), (1, 0), "{tally:?}");
}

#[test]
fn a_lost_line_is_found_although_the_totals_have_no_gap() {
    let tally = tally(3, &[&["1.0.0 1", "1.0.0 2"]]);
    assert_eq!((tally.lost, tally.doubled), (1, 0), "{tally:?}");
}

#[test]
fn a_doubled_answer_is_found() {
    let tally = tally(2, &[&["1.0.0 1", "1.0.0 1", "1.0.0 2"]]);
    assert_eq!((tally.lost, tally.doubled), (0, 1), "{tally:?}");
}

#[test]
fn a_line_counted_twice_is_found_whether_it_is_answered_twice_or_once() {
    let twice = tally(2, &[&["1.0.0 1", "1.0.0 2", "1.0.0 3"]]);
    assert!(!twice.is_clean(), "{twice:?}");
    let once = tally(2, &[&["1.0.0 1", "1.0.0 3"]]);
    assert!(!once.is_clean(), "{once:?}");
}

#[test]
fn a_loss_does_not_hide_behind_a_double() {
    let tally = tally(3, &[&["1.0.0 1", "1.0.0 1", "1.0.0 3"]]);
    assert_eq!((tally.lost, tally.doubled), (1, 1), "{tally:?}");
}

#[test]
fn answers_out_of_order_are_found() {
    let tally = tally(3, &[&["1.0.0 1", "1.0.0 3", "1.0.0 2"]]);
    assert_eq!((tally.lost, tally.doubled, tally.out_of_order), (0, 0, 1), "{tally:?}");
}

#[test]
fn a_state_that_went_back_in_time_is_found() {
    let tally = tally(4, &[&["1.0.0 1", "1.0.0 2", "1.1.0 1 1", "1.1.0 2 2"]]);
    assert_eq!((tally.lost, tally.doubled, tally.out_of_order), (0, 2, 1), "{tally:?}");
}

fn version(version: &str) -> Expected {
    Expected { version: version.to_owned(), counts_mine: version == "1.1.0" }
}

/// One connection across one upgrade from 1.0.0 to 1.1.0 that gets these answers before its end is known, and these
/// after; how many were out of order.
fn out_of_order(target_runs: bool, before: &[&str], after: &[&str]) -> u64 {
    let mut ledger = Ledger::default();
    ledger.begin(version("1.0.0"));
    ledger.swap_begins(version("1.1.0"), version("1.0.0"));
    let mut check = ConnectionCheck::new(0);
    let lines = (before.len() + after.len()) as u64;
    let mut feed = |ledger: &mut Ledger, answers: &[&str]| {
        for answer in answers {
            check.bytes(ledger, format!("{answer}\n").as_bytes(), lines, Duration::from_secs(1));
        }
    };
    feed(&mut ledger, before);
    let first = ledger.swap_ended(target_runs);
    assert_eq!(first.is_some(), before.iter().any(|answer| answer.starts_with("1.1.0")));
    feed(&mut ledger, after);
    let tally = ledger.tally([(lines, lines)]);
    assert_eq!((tally.lost, tally.doubled, tally.wrong), (0, 0, 0), "{tally:?}");
    tally.out_of_order
}

#[test]
fn an_old_version_that_answers_after_the_new_one_is_found() {
    assert_eq!(out_of_order(true, &["1.0.0 1", "1.1.0 2 1"], &["1.1.0 3 2"]), 0);
    assert_ne!(out_of_order(true, &["1.1.0 1 1", "1.0.0 2"], &[]), 0, "while the swap goes on");
    assert_ne!(out_of_order(true, &["1.1.0 1 1", "1.0.0 2", "1.1.0 3 2"], &[]), 0, "once in between");
    assert_ne!(out_of_order(true, &["1.1.0 1 1"], &["1.0.0 2"]), 0, "after its end");
}

#[test]
fn a_swap_may_be_rolled_back_once() {
    assert_eq!(out_of_order(false, &["1.0.0 1", "1.1.0 2 1", "1.0.0 3"], &["1.0.0 4"]), 0);
    assert_eq!(out_of_order(false, &["1.1.0 1 1"], &["1.0.0 2"]), 0);
    assert_ne!(out_of_order(false, &["1.1.0 1 1", "1.0.0 2", "1.1.0 3 1"], &[]), 0);
}

#[test]
fn a_version_that_was_never_put_in_place_is_found() {
    assert_eq!(out_of_order(false, &["1.0.0 1"], &["1.0.0 2"]), 0);
    assert_ne!(out_of_order(false, &["1.0.0 1"], &["1.1.0 2 1"]), 0);
}

#[test]
fn a_count_per_connection_must_go_up_by_one() {
    let wrong = ["1.1.0 1 1", "1.1.0 2 3"];
    assert_eq!(tally(2, &[&wrong]).out_of_order, 1);
    assert_eq!(tally(1, &[&["1.1.0 1"]]).out_of_order, 1, "it is missing");
    assert_eq!(tally(1, &[&["1.0.0 1 1"]]).out_of_order, 1, "1.0.0 has none");
    assert_eq!(tally(1, &[&["1.1.0 1 2"]]).out_of_order, 1, "it begins at the swap");
}

#[test]
fn what_is_no_answer_is_found() {
    for line in ["error unknown line", "", "1.0.0", "1.0.0 x", "1.0.0 1 1 1", "1.0.0 0", "1.0.0 99"] {
        let tally = tally(1, &[&[line]]);
        assert_eq!(tally.wrong, 1, "`{line}`: {tally:?}");
    }
    let mut ledger = ledger();
    ConnectionCheck::new(0).bytes(&mut ledger, &[b'x'; ANSWER_LIMIT_BYTES + 1], 1, Duration::ZERO);
    assert_eq!(ledger.tally([(1, 1)]).wrong, 1);
}

#[test]
fn an_answer_on_the_wrong_connection_is_found() {
    let tally = tally(1, &[&["1.0.0 1", "1.0.0 2"], &[]]);
    assert_eq!((tally.lost, tally.doubled), (1, 1), "{tally:?}");
}

#[test]
fn a_dropped_connection_and_its_lines_are_found() {
    let mut ledger = ledger();
    let mut check = ConnectionCheck::new(3);
    check.bytes(&mut ledger, b"1.0.0 1\n", 2, Duration::ZERO);
    ledger.dropped(3, &"connection reset");
    let tally = ledger.tally([(2, 1)]);
    assert_eq!((tally.dropped, tally.lost), (1, 1), "{tally:?}");
    assert!(tally.faults.iter().any(|fault| fault.contains("connection 3")), "{tally:?}");
}
