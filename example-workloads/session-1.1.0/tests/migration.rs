//! The session between 1.0.0 and 1.1.0.

use guest_sdk::State as _;
use guest_sdk::testing::Kit;
use session_1_0_0::Session as Old;
use session_1_1_0::{Session, input, v1};

#[test]
fn the_copied_state_is_that_of_the_old_version() {
    assert_eq!(v1::Session::format(), Old::format());
}

#[test]
fn a_transfer_under_way_goes_on_up_and_down_and_its_sum_is_whole() {
    let mut kit = Kit::<Old>::start("").unwrap();
    let ann = kit.open();
    kit.receive(ann, "login ann\nput 2\nabput 6\ncde");

    let mut kit = kit.upgrade::<Session>().unwrap();
    kit.receive(ann, "fghsu");
    assert_eq!(kit.state().transfers, 1);
    let mut kit = kit.downgrade::<Old>().unwrap();
    kit.receive(ann, "m\nput 4\nij");
    let mut kit = kit.upgrade::<Session>().unwrap();
    kit.receive(ann, "klsum\nlogout\n");

    let sums: Vec<_> =
        ["ab", "abcdefgh", "abcdefghijkl"].map(|text| input::add(input::SUM_START, text.as_bytes())).to_vec();
    let expected = format!(
        "1.0.0 hello ann\n1.0.0 stored 2 {0:016x}\n1.1.0 stored 6 {1:016x}\n1.0.0 8 {1:016x}\n\
         1.1.0 stored 4 {2:016x}\n1.1.0 12 {2:016x} 1 4\n1.1.0 bye ann 12\n",
        sums[0], sums[1], sums[2]
    );
    assert_eq!(kit.take_text(ann), expected);
    assert!(!kit.is_open(ann));
}

#[test]
fn the_same_is_wrong_in_both_versions() {
    let mut old = Kit::<Old>::start("").unwrap();
    let mut new = Kit::<Session>::start("").unwrap();
    let (in_old, in_new) = (old.open(), new.open());
    let wrong = "sum\nput 3\nlogout\nlogin \nlogin ann\nlogin bob\nput many\nput 2000000000\nhello\n";
    old.receive(in_old, wrong);
    new.receive(in_new, wrong);
    assert_eq!(old.take_text(in_old).replace("1.0.0", "1.1.0"), new.take_text(in_new));
}
