//! The counter over all its versions, step by step and two steps at once.

use std::time::Duration;

use counter_1_0_0::Counter as One;
use counter_1_1_0::Counter as Two;
use counter_2_0_0::{Counter as Three, v1, v2};
use guest_sdk::State as _;
use guest_sdk::testing::Kit;

#[test]
fn the_copied_states_are_those_of_the_old_versions() {
    assert_eq!(v1::Counter::format(), One::format());
    assert_eq!(v2::Counter::format(), Two::format());
    assert_eq!(Three::upgrades_from(), [Two::format(), One::format()]);
    assert_eq!(Three::downgrades_to(), [Two::format(), One::format()]);
}

#[test]
fn two_steps_at_once_lose_nothing_in_either_direction() {
    let mut kit = Kit::<One>::start("rows = 10").unwrap();
    let ann = kit.open();
    kit.receive(ann, "incr\nremind 1000\nin");
    let before = kit.state().store().unwrap();

    let kit = kit.upgrade::<Three>().unwrap();
    let kit = kit.downgrade::<One>().unwrap();
    assert_eq!(kit.state().store().unwrap(), before, "up and down gives the same bytes");

    let mut kit = kit.upgrade::<Three>().unwrap();
    kit.receive(ann, "cr\n");
    assert_eq!(kit.take_text(ann), "1.0.0 1\n2.0.0 2 1\n");
    kit.advance(Duration::from_secs(2));
    assert_eq!(kit.take_text(ann), "reminded late 0\n", "the timer outlived three instances");

    let mut kit = kit.downgrade::<One>().unwrap();
    kit.receive(ann, "incr\n");
    assert_eq!(kit.take_text(ann), "1.0.0 3\n");
}

#[test]
fn one_step_at_a_time_keeps_mine() {
    let mut kit = Kit::<Two>::start("").unwrap();
    let (ann, bob) = (kit.open(), kit.open());
    kit.receive(ann, "incr\nincr\n");
    let mut kit = kit.upgrade::<Three>().unwrap();
    kit.take_text(ann);
    kit.receive(ann, "incr\n");
    kit.receive(bob, "incr\n");
    let cleo = kit.open();
    assert_eq!(kit.take_text(ann), "2.0.0 3 3\n");
    assert_eq!(kit.take_text(bob), "2.0.0 4 1\n");
    assert_eq!(kit.state().open[&ann].opened, None);
    assert_eq!(kit.state().open[&cleo].opened, Some(kit.now()));

    let mut kit = kit.downgrade::<Two>().unwrap();
    kit.receive(ann, "incr\n");
    kit.close(bob);
    assert_eq!(kit.take_text(ann), "1.1.0 5 4\n");
    assert_eq!(kit.health().details[1].1, "2");
}
