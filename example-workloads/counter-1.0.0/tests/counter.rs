//! Counter 1.0.0 as its clients see it.

use std::time::Duration;

use counter_1_0_0::Counter;
use guest_sdk::testing::Kit;

#[test]
fn every_connection_adds_to_one_total() {
    let mut kit = Kit::<Counter>::start("").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    kit.receive(ann, "incr\r\nin");
    kit.receive(bob, "incr\n");
    let effects = kit.receive(ann, "cr\nincr\n");
    assert_eq!(effects.len(), 1, "the answers to one chunk leave together: {effects:?}");
    assert_eq!(kit.take_text(ann), "1.0.0 1\n1.0.0 3\n1.0.0 4\n");
    assert_eq!(kit.take_text(bob), "1.0.0 2\n");
    assert_eq!(kit.call("total", "").unwrap(), b"4");
    assert_eq!(kit.health().details, [("total", "4"), ("connections", "2")].map(|(k, v)| (k.into(), v.into())));
}

#[test]
fn any_other_line_answers_an_error() {
    let mut kit = Kit::<Counter>::start("").unwrap();
    let ann = kit.open();
    kit.receive(ann, "\ndecr\nremind soon\nincr \n\u{1F980}\n");
    let answers = kit.take_text(ann);
    assert_eq!(answers.lines().count(), 5);
    assert!(answers.lines().all(|line| line.starts_with("error ")), "{answers}");
    kit.receive(ann, vec![b'x'; 70_000]);
    assert_eq!(kit.take_text(ann), "error line longer than 65536 bytes\n");
    assert!(!kit.is_open(ann));
    assert_eq!((kit.state().open.len(), kit.state().lines.incomplete()), (0, 0));
}

#[test]
fn a_reminder_comes_once_and_says_how_late_it_is() {
    let mut kit = Kit::<Counter>::start("").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    kit.receive(ann, "remind 50\nremind 200\n");
    kit.receive(bob, "remind 50\n");
    kit.advance(Duration::from_millis(100));
    assert_eq!(kit.take_text(ann), "reminded late 0\n");
    kit.close(bob);
    kit.pause(Duration::from_millis(130));
    let mut kit = kit.restart();
    kit.advance(Duration::ZERO);
    assert_eq!(kit.take_text(ann), "reminded late 30\n");
    assert!(kit.timers().is_empty());
}

#[test]
fn rows_come_from_the_config_once() {
    let kit = Kit::<Counter>::start("# ballast\nrows = 1000\n").unwrap();
    let mut kit = kit.restart();
    assert_eq!(kit.call("rows", "").unwrap(), b"1000");
    assert_eq!(kit.call("add-rows", "500").unwrap(), b"1500");
    assert_eq!(kit.state().rows.last().unwrap().id, 1500);
    assert!(kit.call("add-rows", "4000000").unwrap_err().contains("room for 3998500"));
    assert!(kit.call("add-rows", "many").is_err());
    assert!(kit.call("frobnicate", "").unwrap_err().contains("add-rows"));
}

#[test]
fn a_config_that_is_not_understood_is_refused_with_its_line() {
    for (config, expected) in [
        ("\nrow = 5", "config line 2: unknown key \"row\"; known is rows"),
        ("rows: 5", "config line 1: expected `key = value`"),
        ("rows = lots", "config line 1: rows = lots is not a number"),
        ("rows = 4000001", "is not a number from 0 to 4000000"),
    ] {
        let error = Kit::<Counter>::start(config).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
