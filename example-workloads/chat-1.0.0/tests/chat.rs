//! The chat as its clients see it.

use chat_1_0_0::Chat;
use guest_sdk::testing::Kit;

#[test]
fn what_is_said_reaches_the_room_and_nobody_else() {
    let mut kit = Kit::<Chat>::start("welcome = hello there").unwrap();
    let (ann, bob, eve) = (kit.open(), kit.open(), kit.open());
    assert!(kit.take_text(ann).starts_with("* hello there\n* you are guest1 in lobby"));
    kit.receive(ann, "/nick ann\n/join tea\n");
    kit.receive(bob, "/nick bob\r\n/join tea\r\n");
    for connection in [ann, bob, eve] {
        kit.take_text(connection);
    }

    kit.receive(ann, "one lump\nor two?\n");
    assert_eq!(kit.take_text(bob), "ann: one lump\nann: or two?\n");
    assert_eq!(kit.take_text(ann), "ann: one lump\nann: or two?\n");
    assert_eq!(kit.take_text(eve), "");

    kit.receive(eve, "/rooms\n");
    assert_eq!(kit.take_text(eve), "* lobby (1)\n* tea (2)\n");
    kit.receive(bob, "/who\n/history\n");
    assert_eq!(kit.take_text(bob), "* ann\n* bob\nann: one lump\nann: or two?\n");
}

#[test]
fn a_room_that_nobody_is_in_is_gone_and_so_are_its_users() {
    let mut kit = Kit::<Chat>::start("").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    kit.receive(ann, "/join tea\n/nick ann\nhalf a li");
    kit.receive(bob, "/nick ann\n");
    assert!(kit.take_text(bob).ends_with("error ann is taken\n"));
    kit.close(ann);
    kit.receive(bob, "/nick ann\n/rooms\n");
    assert!(kit.take_text(bob).ends_with("* lobby (1)\n"));
    assert_eq!((kit.state().users.len(), kit.state().lines.incomplete()), (1, 0));
}

#[test]
fn history_names_and_lines_have_limits() {
    let mut kit = Kit::<Chat>::start("").unwrap();
    let ann = kit.open();
    for n in 0..80 {
        kit.receive(ann, format!("message {n}\n"));
    }
    kit.take_text(ann);
    kit.receive(ann, "/history\n");
    let history = kit.take_text(ann);
    assert_eq!(history.lines().count(), 50);
    assert!(history.ends_with("message 79\n"));

    kit.receive(ann, format!("/nick {}\n/frobnicate\n", "x".repeat(25)));
    assert!(kit.take_text(ann).lines().all(|line| line.starts_with("error ")));
    kit.receive(ann, vec![b'x'; 5000]);
    assert_eq!(kit.take_text(ann), "error line longer than 4096 bytes\n");
    assert!(!kit.is_open(ann));
}
