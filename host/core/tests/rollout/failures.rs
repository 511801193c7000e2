//! Hosts refuse, fail, fall silent and come back.

use std::time::Duration;

use host_core::{
    id::{Generation, QuestionId},
    rollout::{
        EventKind, HealthAnswer, Input, Obligation, Order, PauseReason, Resolution, State, StateName, Verdict,
        policy::{Offline, OnFailure, Required, Unreachable},
    },
    status::HealthStatus,
};

use crate::model::Fault;
use crate::world::{SECOND, World, host, request, revision};

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

#[test]
fn hosts_that_fail_within_the_budget_go_back_by_themselves_and_the_others_go_on() {
    let mut request = request();
    request.policy.failure_budget = 2;
    request.policy.health.retries = 0;
    let mut world = World::begun(4, request.clone());
    world.host_mut("b").health = Some(HealthStatus::Failed);
    while !world.host("a").prepared || !world.host("c").prepared {
        assert!(world.step());
    }
    world.host_mut("c").fault = Some(Fault::GoesBack);
    world.run();
    assert_eq!(world.states(), ["committed", "rolled-back", "rolled-back", "committed"]);
    assert_eq!((world.rollout.state(), world.rollout.verdict()), (&State::Complete, Verdict::Partial));
    assert!(world.host("b").ever_switched, "it was put back");

    request.policy.failure_budget = 1;
    let mut world = World::begun(4, request);
    for name in ["b", "c"] {
        world.host_mut(name).health = Some(HealthStatus::Failed);
    }
    world.run();
    assert_eq!(world.rollout.state().name(), StateName::RolledBack, "one more than may");
    assert!(!world.host("d").ever_switched);
}

#[test]
fn a_host_that_is_ill_is_asked_again_and_its_soak_begins_anew() {
    let mut request = request();
    request.policy.soak = 10 * SECOND;
    let mut world = World::begun(1, request.clone());
    world.settle();
    let begun = world.now;
    while world.now.since(begun) < 6 * SECOND {
        assert!(world.step());
    }
    world.host_mut("a").health = Some(HealthStatus::Degraded);
    while !world.events.iter().any(|(kind, words)| *kind == EventKind::Health && words == "a is degraded uptime=3s") {
        assert!(world.step());
    }
    world.host_mut("a").health = Some(HealthStatus::Ok);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert!(world.now.since(begun) >= 16 * SECOND, "{:?}", world.now.since(begun));
    assert!(world.events.iter().any(|(_, words)| words == "a is well again: ok uptime=3s"));

    request.policy.health.required = Required::Degraded;
    let mut world = World::begun(1, request);
    world.host_mut("a").health = Some(HealthStatus::Degraded);
    let begun = world.now;
    world.run();
    assert_eq!((world.rollout.state(), world.now.since(begun)), (&State::Complete, 10 * SECOND));
}

#[test]
fn a_host_that_stays_ill_fails_with_what_was_seen() {
    let mut world = World::begun(2, request());
    world.host_mut("a").health = Some(HealthStatus::Failed);
    world.run();
    let State::RolledBack { why } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert_eq!(why, "a: its health is failed uptime=3s");
}

#[test]
fn a_host_that_was_away_during_its_soak_begins_it_anew() {
    let mut request = request();
    request.policy.soak = 10 * SECOND;
    let mut world = World::begun(1, request);
    world.settle();
    let begun = world.now;
    while world.now.since(begun) < 6 * SECOND {
        assert!(world.step());
    }
    let mut unnoticed = world.clone();
    unnoticed.connect_again(&host("a"));
    unnoticed.run();
    assert_eq!(unnoticed.now.since(begun), 16 * SECOND, "a connection takes the place of the one before");
    world.disconnect(&host("a"));
    world.connect(&host("a"));
    world.run();
    assert_eq!(world.now.since(begun), 16 * SECOND);
}

#[test]
fn an_answer_to_an_older_question_is_none() {
    let mut request = request();
    request.policy.soak = 10 * SECOND;
    let mut world = World::begun(1, request);
    world.settle();
    let well = HealthAnswer::Known {
        status: HealthStatus::Failed,
        generation: Generation(4),
        digest: revision(1).digest,
        details: Vec::new(),
    };
    let before = world.rollout.clone();
    world.pass(3 * SECOND);
    let asked = world.rollout.clone();
    assert_ne!(before, asked);
    world.tell(Input::Health { host: host("a"), ask: QuestionId(1), answer: well });
    assert_eq!(world.rollout, asked);
}

#[test]
fn health_that_nobody_can_find_out_waits_for_a_person() {
    let mut world = World::begun(2, request());
    world.host_mut("a").health = None;
    world.run();
    let State::Paused { why: PauseReason::UnknownHealth { host, why }, .. } = world.rollout.state() else {
        panic!("{:?}", world.rollout.state())
    };
    assert_eq!((host.as_str(), why.as_str()), ("a", "the guest is busy"));
    assert!(world.host("a").predecessor.is_some());
    world.host_mut("a").health = Some(HealthStatus::Ok);
    assert_eq!(world.order(Order::Resume), None);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
}

#[test]
fn a_silent_host_may_be_waited_for_by_a_person() {
    let mut request = request();
    request.policy.unreachable = Unreachable::Pause;
    let mut world = World::begun(2, request);
    while world.rollout.state() == &State::Preparing {
        assert!(world.step());
    }
    world.disconnect(&host("a"));
    world.run();
    assert!(matches!(world.rollout.state(), State::Paused { why: PauseReason::Unreachable { .. }, .. }));
    world.pass(10_000 * SECOND);
    assert_eq!(world.order(Order::Resume), None);
    world.run();
    assert_eq!(world.rollout.state().name(), StateName::Paused, "it is still away");
    world.connect(&host("a"));
    assert_eq!(world.order(Order::Resume), None);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.states(), ["committed"; 2]);
}

#[test]
fn without_rollback_a_failure_is_held_until_a_person_tries_again_keeps_or_undoes_it() {
    let mut request = request();
    request.policy.on_failure = OnFailure::Hold;
    let held = || {
        let mut world = World::begun(2, request.clone());
        while world.rollout.state() == &State::Preparing {
            assert!(world.step());
        }
        world.host_mut("b").fault = Some(Fault::Refuses);
        world.run();
        assert_eq!(world.rollout.state(), &State::Held { why: "b: chance".to_owned() });
        assert_eq!(world.states(), ["healthy", "failed"]);
        assert!(world.host("a").predecessor.is_some());
        assert_eq!(world.rollout.wakes_at(), None);
        assert!(world.order(Order::Resume).expect("rejected").contains("retry"));
        world
    };
    let mut retried = held();
    assert_eq!(retried.order(Order::Retry), None);
    retried.run();
    assert_eq!((retried.rollout.state(), retried.rollout.verdict()), (&State::Complete, Verdict::Done));

    let mut kept = held();
    assert_eq!(kept.order(Order::Cancel { keep: true }), None);
    kept.run();
    assert_eq!(kept.rollout.state(), &State::Cancelled { kept: true });
    assert_eq!(kept.states(), ["committed", "failed"]);
    assert_eq!(kept.assignment.wanted(&host("a")), Some(&revision(1)));
    assert_eq!(kept.assignment.wanted(&host("b")), Some(&revision(0)));

    let mut undone = held();
    assert_eq!(undone.order(Order::Rollback), None);
    undone.run();
    assert_eq!(undone.rollout.state(), &State::RolledBack { why: "ben asked for it".to_owned() });
}

#[test]
fn a_rollout_in_which_nothing_moves_fails_but_not_while_it_is_paused() {
    let mut request = request();
    request.policy.host_timeout = Duration::from_secs(5_000);
    let mut world = World::begun(1, request);
    assert_eq!(world.order(Order::Pause), None);
    world.pass(10_000 * SECOND);
    assert_eq!(world.order(Order::Resume), None);
    world.pass(599 * SECOND);
    assert_eq!(world.rollout.state(), &State::Preparing);
    world.pass(SECOND);
    assert_eq!(world.rollout.state().name(), StateName::RollingBack, "what is under way is waited for");
    world.settle();
    assert_eq!(world.rollout.state(), &State::Failed { why: "nothing moved for 600s".to_owned() });
}

#[test]
fn hosts_that_are_away_at_the_beginning_are_waited_for_as_long_as_it_says() {
    let mut request = request();
    request.policy.offline = Offline::Wait;
    let mut world = World::new(2, request);
    world.host_mut("b").up = false;
    world.tell(Input::Begin);
    let State::Discovering { waiting_for } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert!(waiting_for.contains(&host("b")));
    let mut came = world.clone();
    came.pass(500 * SECOND);
    came.connect(&host("b"));
    came.run();
    assert_eq!(came.rollout.state(), &State::Complete);
    world.run();
    assert_eq!(world.rollout.state(), &State::Failed { why: "b did not come within 600s".to_owned() });
}

#[test]
fn a_host_that_a_person_takes_in_hand_during_a_rollout_is_let_be_and_the_others_go_on() {
    let mut world = two_waves_in();
    world.is_detached(&host("a"));
    world.run();
    assert_eq!(world.states(), ["drifted", "committed", "committed"]);
    assert_eq!((world.rollout.state(), world.rollout.verdict()), (&State::Complete, Verdict::Partial));
}

#[test]
fn a_persons_word_closes_what_can_not_return() {
    let mut world = two_waves_in();
    world.disconnect(&host("a"));
    assert!(world.order(Order::Resolve { host: host("b"), outcome: Resolution::Gone }).is_some(), "it is connected");
    assert_eq!(world.order(Order::Rollback), None);
    world.run();
    assert_eq!(world.rollout.state().name(), StateName::RollbackIncomplete);
    assert!(world.rollout.why(world.now).advice.iter().any(|advice| advice.command.contains("resolve 7 --host a")));
    assert_eq!(world.order(Order::Resolve { host: host("a"), outcome: Resolution::Gone }), None);
    assert_eq!(world.rollout.state().name(), StateName::RolledBack);
    assert!(world.rollout.obligations().is_empty());
    world.connect(&host("a"));
    assert!(world.is_idle(), "it is nobody's any more");
}

#[test]
fn a_host_whose_generation_fell_is_not_what_it_was() {
    let mut world = two_waves_in();
    let a = world.host_mut("a");
    a.running.as_mut().expect("runs").generation = Generation(1);
    world.disconnect(&host("a"));
    world.connect(&host("a"));
    world.settle();
    assert!(matches!(world.rollout.state(), State::RollbackIncomplete { why } if why.contains("generation 1 after 4")));
    assert_eq!(world.states(), ["stuck", "rolled-back", "prepared"]);
}
