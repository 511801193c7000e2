//! Hosts refuse, fail, fall silent and come back.

use host_core::rollout::{EventKind, Input, Obligation, Order, State, StateName, Verdict, policy::Unreachable};

use crate::world::{Fault, SECOND, World, host, request, revision};

/// A rollout over three hosts whose first two waves have switched.
fn two_waves_in() -> World {
    let mut request = request();
    request.policy.wave_delay = SECOND;
    let mut world = World::begun(3, request);
    world.settle();
    world.pass(SECOND);
    world.settle();
    assert_eq!(world.rollout.state(), &State::Resting { next: 2, until: world.now.after(SECOND) });
    assert_eq!(world.states(), ["healthy", "healthy", "prepared"]);
    world
}

#[test]
fn a_failure_in_the_last_wave_undoes_the_first() {
    let mut world = two_waves_in();
    world.host_mut("c").fault = Some(Fault::GoesBack);
    world.run();
    let State::RolledBack { why } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert_eq!(why, "c: the smoke check failed");
    assert_eq!(world.states(), ["rolled-back"; 3]);
    for host in world.hosts.values() {
        assert_eq!(host.running.as_ref().map(|running| &running.version), Some(&revision(0).version));
    }
    assert_eq!(world.assignment.target, None);
    assert_eq!(world.assignment.stable, Some(revision(0)));
    assert!(world.events.iter().any(|(kind, _)| *kind == EventKind::Rollback));
    assert_eq!(world.rollout.verdict(), Verdict::RolledBack);
}

#[test]
fn a_host_that_can_not_prepare_ends_it_before_anything_changed() {
    let mut world = World::new(3, request());
    world.host_mut("b").fault = Some(Fault::Refuses);
    world.tell(Input::Begin);
    world.run();
    assert_eq!(world.rollout.state(), &State::Failed { why: "b: chance".to_owned() });
    assert!(world.hosts.values().all(|host| !host.ever_switched));
    assert!(world.rollout.obligations().is_empty());
}

#[test]
fn a_host_that_can_not_go_back_is_stuck_and_the_others_go_on() {
    let mut world = two_waves_in();
    world.host_mut("a").fault = Some(Fault::Sticks);
    world.host_mut("c").fault = Some(Fault::Refuses);
    world.run();
    assert_eq!(world.states(), ["stuck", "rolled-back", "failed"]);
    assert_eq!(world.rollout.state().name(), StateName::RollbackIncomplete);
    assert_eq!(world.rollout.obligation(&host("a")), Some(Obligation::Resolve));
}

#[test]
fn a_host_that_falls_silent_rolls_the_others_back_and_is_put_back_when_it_returns() {
    let mut world = two_waves_in();
    world.pass(SECOND);
    assert!(world.host_acts(&host("c")));
    world.disconnect(&host("c"));
    let cut = world.now;
    world.run();
    assert_eq!(world.now.since(cut), 300 * SECOND);
    assert_eq!(world.states(), ["rolled-back", "rolled-back", "unknown"]);
    assert_eq!(world.rollout.state().name(), StateName::RollbackIncomplete);
    assert_eq!(world.rollout.obligation(&host("c")), Some(Obligation::RollBack));
    assert!(world.host("c").predecessor.is_some(), "the coordinator's silence reverts nothing");
    world.connect(&host("c"));
    world.settle();
    assert_eq!(world.rollout.state().name(), StateName::RolledBack);
    assert_eq!(world.states(), ["rolled-back"; 3]);
    assert!(world.rollout.obligations().is_empty());
}

#[test]
fn a_host_that_is_skipped_is_committed_when_it_returns() {
    let mut request = request();
    request.policy.unreachable = Unreachable::Skip;
    let mut world = World::begun(3, request);
    while !world.host("b").ever_switched {
        let names: Vec<_> = world.hosts.keys().cloned().collect();
        assert!(names.iter().any(|name| world.host_is_heard(name) || world.host_acts(name)));
    }
    world.disconnect(&host("b"));
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.states(), ["committed", "unknown", "committed"]);
    assert_eq!(world.rollout.verdict(), Verdict::Partial);
    assert_eq!(world.rollout.obligation(&host("b")), Some(Obligation::Commit));
    world.connect(&host("b"));
    world.settle();
    assert_eq!(world.states(), ["committed"; 3]);
    assert_eq!(world.rollout.verdict(), Verdict::Done);
}

#[test]
fn a_host_that_fails_by_itself_wins_over_what_it_was_told() {
    let mut world = two_waves_in();
    assert!(world.fails_by_itself(&host("a")));
    world.run();
    let State::RolledBack { why } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert_eq!(why, "a: it trapped on its probation");
    assert!(!world.host("c").ever_switched);
    assert!(world.order(Order::Rollback).is_some(), "it is over");
}
