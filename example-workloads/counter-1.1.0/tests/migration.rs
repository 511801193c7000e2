//! The counter between 1.0.0 and 1.1.0.

use counter_1_0_0::Counter as Old;
use counter_1_1_0::{Counter, v1};
use guest_sdk::State as _;
use guest_sdk::testing::Kit;

#[test]
fn the_copied_state_is_that_of_the_old_version() {
    assert_eq!(v1::Counter::format(), Old::format());
}

#[test]
fn mine_counts_from_the_swap_on_for_connections_that_were_open() {
    let mut kit = Kit::<Old>::start("rows = 10").unwrap();
    let ann = kit.open();
    kit.receive(ann, "incr\nincr\ninc");

    let mut kit = kit.upgrade::<Counter>().unwrap();
    let bob = kit.open();
    kit.receive(ann, "r\n");
    kit.receive(bob, "incr\n");
    kit.receive(ann, "incr\n");
    assert_eq!(kit.take_text(ann), "1.0.0 1\n1.0.0 2\n1.1.0 3 1\n1.1.0 5 2\n");
    assert_eq!(kit.take_text(bob), "1.1.0 4 1\n");
    kit.close(bob);
    assert_eq!(kit.state().mine.len(), 1);
    assert_eq!(kit.call("rows", "").unwrap(), b"10");

    let mut kit = kit.downgrade::<Old>().unwrap();
    kit.receive(ann, "incr\n");
    assert_eq!(kit.take_text(ann), "1.0.0 6\n");

    let mut kit = kit.upgrade::<Counter>().unwrap();
    kit.receive(ann, "incr\n");
    assert_eq!(kit.take_text(ann), "1.1.0 7 1\n");
}
