//! The chat between its versions: nobody leaves, nothing that was said is lost.

use std::time::Duration;

use chat_1_0_0::Chat as Old;
use chat_1_1_0::{Chat, v1};
use guest_sdk::State as _;
use guest_sdk::testing::Kit;

#[test]
fn the_copied_state_is_that_of_the_old_version() {
    assert_eq!(v1::Chat::format(), Old::format());
}

#[test]
fn a_conversation_goes_on_through_an_upgrade_and_a_rollback() {
    let mut kit = Kit::<Old>::start("welcome = hello").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    kit.receive(ann, "/nick ann\n/join tea\none lump\nor t");
    kit.receive(bob, "/nick bob\n/join tea\n");
    let before = kit.state().clone();

    let mut kit = kit.upgrade::<Chat>().unwrap();
    kit.take_text(bob);
    kit.receive(ann, "wo?\n");
    assert_eq!(kit.take_text(bob), "ann: or two?\n");
    kit.advance(Duration::from_secs(90));
    kit.receive(bob, "/history\n/who\n");
    assert_eq!(
        kit.take_text(bob),
        "ann: one lump (before the swap)\nann: or two? (90 s ago)\n* ann (seen 90 s ago)\n* bob (seen 0 s ago)\n"
    );
    let newcomer = kit.open();
    assert!(kit.take_text(newcomer).starts_with("* hello\n"), "the config stays");
    kit.close(newcomer);

    let mut kit = kit.downgrade::<Old>().unwrap();
    kit.receive(bob, "/history\n");
    assert_eq!(kit.take_text(bob), "ann: one lump\nann: or two?\n");
    assert_eq!(kit.state().users, before.users);
}

#[test]
fn up_and_down_again_gives_the_same_bytes() {
    let mut kit = Kit::<Old>::start("").unwrap();
    for n in 0..20 {
        let user = kit.open();
        kit.receive(user, format!("/nick user{n}\n/join room{}\nhello\nhalf", n % 3));
    }
    let before = kit.state().store().unwrap();
    let kit = kit.upgrade::<Chat>().unwrap().downgrade::<Old>().unwrap();
    assert_eq!(kit.state().store().unwrap(), before);
}
