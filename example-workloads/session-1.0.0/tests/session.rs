//! Session 1.0.0 as its client sees it.

use std::time::Duration;

use guest_sdk::testing::Kit;
use session_1_0_0::{Session, input};

#[test]
fn a_client_logs_in_puts_and_logs_out_however_its_bytes_are_cut() {
    let script = "login ann\r\nput 5\nhelloput 0\nsum\nput 3\nabclogout\n";
    let sum = input::add(input::SUM_START, b"hello");
    let all = input::add(sum, b"abc");
    let expected = format!(
        "1.0.0 hello ann\n1.0.0 stored 5 {sum:016x}\n1.0.0 stored 0 {sum:016x}\n1.0.0 5 {sum:016x}\n\
         1.0.0 stored 3 {all:016x}\n1.0.0 bye ann 8\n"
    );
    for length in [1, 2, 3, 7, script.len()] {
        let mut kit = Kit::<Session>::start("").unwrap();
        let ann = kit.open();
        for chunk in script.as_bytes().chunks(length) {
            kit.receive(ann, chunk);
        }
        assert_eq!(kit.take_text(ann), expected, "in chunks of {length}");
        assert!(!kit.is_open(ann));
    }
}

#[test]
fn what_is_out_of_turn_answers_an_error_and_changes_nothing() {
    let mut kit = Kit::<Session>::start("").unwrap();
    let ann = kit.open();
    kit.receive(ann, "sum\nput 3\nlogout\nlogin \nlogin ann\nlogin bob\nput many\nput 2000000000\nhello\nsum\n");
    let answers = kit.take_text(ann);
    let errors = answers.lines().filter(|line| line.starts_with("error ")).count();
    assert_eq!((answers.lines().count(), errors), (10, 8), "{answers}");
    assert!(answers.ends_with(&format!("1.0.0 0 {:016x}\n", input::SUM_START)), "{answers}");
    kit.receive(ann, vec![b'x'; 300]);
    assert_eq!(kit.take_text(ann), "error a line has at most 256 bytes\n");
    assert!(!kit.is_open(ann));
}

#[test]
fn who_does_not_log_in_is_sent_away_and_who_does_stays() {
    let mut kit = Kit::<Session>::start("login-ms = 100").unwrap();
    let ann = kit.open();
    kit.advance(Duration::from_millis(100));
    assert_eq!((kit.take_text(ann).as_str(), kit.is_open(ann)), ("error nobody logged in\n", false));

    let mut kit = Kit::<Session>::start("login-ms = 100").unwrap();
    let bob = kit.open();
    kit.receive(bob, "login bob\n");
    kit.advance(Duration::from_secs(1));
    assert!(kit.is_open(bob) && kit.timers().is_empty());
}

#[test]
fn an_instance_is_for_one_connection() {
    let mut kit = Kit::<Session>::start("").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    assert_eq!(kit.take_text(bob), "error this workload wants an instance for each connection\n");
    assert!(kit.is_open(ann) && !kit.is_open(bob));
    assert!(Kit::<Session>::start("login-ms = soon").is_err());
}
