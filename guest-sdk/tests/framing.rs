//! Lines and frames, whichever way the bytes are cut.

#![expect(clippy::unwrap_used, reason = "also in the helpers of these tests")]

use guest_sdk::ConnectionId;
use guest_sdk::framing::{Frames, Lines};

const ANN: ConnectionId = ConnectionId::new(1);
const BOB: ConnectionId = ConnectionId::new(2);

fn lines(framing: &mut Lines, data: &[u8]) -> Vec<String> {
    let mut chunk = framing.feed(ANN, data.to_vec()).unwrap();
    let mut all = Vec::new();
    while let Some(line) = chunk.next_line() {
        all.push(String::from_utf8(line.to_vec()).unwrap());
    }
    all
}

#[test]
fn lines_are_the_same_however_they_are_cut() {
    let text = b"one\n\ntwo\r\nthree\rfour\nfive\n";
    let whole = lines(&mut Lines::new(), text);
    assert_eq!(whole, ["one", "", "two", "three\rfour", "five"]);
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let mut framing = Lines::new();
            let mut all = lines(&mut framing, &text[..first]);
            all.extend(lines(&mut framing, &text[first..second]));
            all.extend(lines(&mut framing, &text[second..]));
            assert_eq!(all, whole, "cut at {first} and {second}");
            assert_eq!(framing.incomplete(), 0);
        }
    }
}

#[test]
fn half_a_line_belongs_to_its_connection_until_it_is_forgotten() {
    let mut framing = Lines::new();
    assert!(lines(&mut framing, b"ann ").is_empty());
    framing.feed(BOB, b"bob ".to_vec()).unwrap();
    assert_eq!(framing.incomplete(), 2);
    assert_eq!(lines(&mut framing, b"is here\n"), ["ann is here"]);
    framing.forget(BOB);
    assert_eq!(framing.incomplete(), 0);
    assert_eq!(framing, Lines::new());
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    let mut framing = Lines::with_limit(8);
    assert_eq!(lines(&mut framing, b"12345678\r\n12345678\n"), ["12345678", "12345678"]);
    assert_eq!(lines(&mut framing, b"1234"), Vec::<String>::new());
    assert_eq!(lines(&mut framing, b"5678\n"), ["12345678"]);
    assert!(framing.feed(ANN, b"ok\n123456789\n".to_vec()).is_err());
}

#[test]
fn what_comes_after_a_line_that_is_too_long_is_not_taken_for_a_new_one() {
    let mut framing = Lines::with_limit(8);
    framing.feed(ANN, b"12345".to_vec()).unwrap();
    assert_eq!(framing.feed(ANN, b"67890".to_vec()).unwrap_err().limit_bytes, 8);
    assert!(framing.feed(ANN, b"\nincr\n".to_vec()).is_err());
    framing.forget(ANN);
    assert_eq!(lines(&mut framing, b"incr\n"), ["incr"]);
}

#[test]
fn a_client_that_never_ends_a_line_costs_no_more_than_the_limit() {
    let mut framing = Lines::with_limit(1000);
    let mut refused = 0;
    for _ in 0..10_000 {
        refused += u32::from(framing.feed(ANN, vec![b'x'; 999]).is_err());
    }
    assert_eq!(refused, 9_999);
}

#[test]
fn frames_are_the_same_however_they_are_cut() {
    let encode = |payload: &[u8]| Frames::new().encode(payload).unwrap();
    let wire = [encode(b"one"), encode(b""), encode(b"three")].concat();
    for first in 0..=wire.len() {
        for second in first..=wire.len() {
            let mut framing = Frames::new();
            let mut all = Vec::new();
            for piece in [&wire[..first], &wire[first..second], &wire[second..]] {
                let mut chunk = framing.feed(ANN, piece.to_vec()).unwrap();
                while let Some(frame) = chunk.next_frame() {
                    all.push(frame.to_vec());
                }
            }
            assert_eq!(all, [&b"one"[..], b"", b"three"], "cut at {first} and {second}");
            assert_eq!(framing.incomplete(), 0);
        }
    }
}

#[test]
fn a_frame_that_announces_too_much_is_refused_before_it_comes() {
    let mut framing = Frames::with_limit(100);
    assert!(framing.feed(ANN, 101_u32.to_be_bytes().to_vec()).is_err());
    assert!(framing.encode(&[0; 101]).is_err());
    framing.forget(ANN);
    assert!(framing.feed(ANN, 100_u32.to_be_bytes().to_vec()).unwrap().next_frame().is_none());
}
