//! What people order, and what they are told.

use host_core::{
    id::RolloutId,
    rollout::{EventKind, Input, Order, State, StateName, Verdict, planner::Refusal},
};

use crate::model::Fault;
use crate::world::{SECOND, World, host, request, revision};

/// A rollout over three hosts, one a wave, whose first wave has switched and is being watched for ten seconds.
fn watched() -> World {
    let mut request = request();
    request.policy.soak = 10 * SECOND;
    let mut world = World::begun(3, request);
    world.settle();
    assert_eq!(world.states(), ["switched", "prepared", "prepared"]);
    world
}

#[test]
fn a_pause_lets_finish_what_is_under_way_and_begins_nothing() {
    let mut world = World::begun(2, request());
    while world.rollout.state() == &State::Preparing {
        assert!(world.step());
    }
    assert_eq!(world.order(Order::Pause), None);
    world.settle();
    assert_eq!(world.states(), ["switched", "prepared"]);
    assert_eq!(world.rollout.wakes_at(), None);
    assert!(world.order(Order::Pause).is_some(), "it is paused");
    assert_eq!(world.order(Order::Resume), None);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
}

#[test]
fn a_cancelled_rollout_puts_back_what_was_switched_or_keeps_it_once_it_is_verified() {
    let mut undone = watched();
    assert_eq!(undone.order(Order::Cancel { keep: false }), None);
    undone.run();
    assert_eq!(undone.rollout.state(), &State::Cancelled { kept: false });
    assert_eq!(
        (undone.rollout.verdict(), undone.states()),
        (Verdict::RolledBack, ["rolled-back", "prepared", "prepared"].map(str::to_owned).to_vec())
    );
    assert_eq!(undone.assignment.target, None);

    let mut kept = watched();
    let at = kept.now;
    assert_eq!(kept.order(Order::Cancel { keep: true }), None);
    kept.run();
    assert_eq!((kept.rollout.state(), kept.now.since(at)), (&State::Cancelled { kept: true }, 10 * SECOND));
    assert_eq!(kept.states(), ["committed", "prepared", "prepared"]);
    assert_eq!(kept.assignment.stable, Some(revision(0)));
    assert_eq!(kept.assignment.wanted(&host("a")), Some(&revision(1)));
}

#[test]
fn an_order_that_can_not_be_followed_is_answered_and_audited() {
    let mut world = watched();
    for order in [Order::Resume, Order::Retry] {
        let why = world.order(order).expect("rejected");
        assert!(why.starts_with("rollout 7 is verifying: "), "{why}");
    }
    world.run();
    for order in
        [Order::Pause, Order::Resume, Order::Promote, Order::Cancel { keep: true }, Order::Rollback, Order::Retry]
    {
        assert!(world.order(order.clone()).is_some(), "{order:?} after the end");
    }
    let refused =
        world.audit.iter().filter(|row| row.result.as_ref().is_some_and(|result| result.starts_with("refused")));
    assert_eq!(refused.count(), 8);
    assert!(world.audit.iter().any(|row| row.who == "ben" && row.what == "rollback rollout 7 of chat"));
}

#[test]
fn a_refused_rollout_says_why_and_changes_nothing() {
    let mut world = World::new(2, request());
    world.host_mut("b").up = false;
    world.tell(Input::Begin);
    let State::Refused { refusal } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert!(matches!(**refusal, Refusal::Offline { .. }));
    assert_eq!(world.rollout.verdict(), Verdict::Unchanged);
    assert_eq!(world.assignment.target, None);
    assert!(world.is_idle());
}

#[test]
fn why_says_what_is_waited_for_what_comes_next_and_what_would_change_it() {
    let mut world = watched();
    world.pass(3 * SECOND);
    world.settle();
    let words = world.rollout.why(world.now).to_string();
    assert_eq!(
        words,
        "rollout 7 of chat is verifying, for 3s\n  \
         waits for a: to be well for 10s, for 3s, at most 7s more\n  \
         next: wave 2 of 3, when all have been well long enough, in 7s at the earliest\n  \
         host fleet promote 7: goes on as soon as every host is well once\n  \
         host fleet pause 7: begins nothing more until it is resumed\n  \
         host fleet cancel 7: puts switched hosts back and ends it\n  \
         host fleet cancel 7 --keep: begins no further wave, and keeps what is switched once it is verified\n"
    );
    world.disconnect(&host("a"));
    world.pass(60 * SECOND);
    let words = world.rollout.why(world.now).to_string();
    assert!(words.contains("waits for a: to come back, for 1m 0s, at most 4m 0s more"), "{words}");
    world.run();
    let words = world.rollout.why(world.now).to_string();
    assert!(words.contains("because: a did not answer within 300s (--unreachable rollback)"), "{words}");
    assert!(words.contains("next: hosts that come back get what was decided"), "{words}");
    assert!(words.contains("host fleet resolve 7 --host a --as committed|rolled-back|gone"), "{words}");
}

#[test]
fn a_summary_counts_every_host_that_was_meant_once() {
    let mut world = World::new(4, request());
    world.host_mut("a").detached = true;
    world.host_mut("d").running = Some(crate::world::running(1, 9));
    world.tell(Input::Begin);
    while world.rollout.state() == &State::Preparing {
        assert!(world.step());
    }
    world.host_mut("c").fault = Some(Fault::GoesBack);
    world.run();
    let summary = world.rollout.summary();
    assert_eq!(summary.state, StateName::RolledBack);
    let counts = summary.counts;
    assert_eq!((counts.total, counts.skipped, counts.already, counts.rolled_back), (4, 1, 1, 2));
    let hosts: Vec<_> = summary.hosts.iter().map(|host| (host.host.as_str(), host.state.as_str(), host.wave)).collect();
    assert_eq!(
        hosts,
        [("b", "rolled-back", Some(1)), ("c", "rolled-back", Some(2)), ("d", "already", None), ("a", "skipped", None)]
    );
    assert_eq!(summary.why.as_deref(), Some("c: the smoke check failed"));
    let json = serde_json::to_string(&summary).expect("it can be written");
    assert!(json.contains("\"verdict\":\"rolled-back\""), "{json}");
}

#[test]
fn the_events_of_a_rollout_tell_its_story_in_order() {
    let mut world = World::begun(1, request());
    world.run();
    let names: Vec<_> = world.events.iter().map(|(kind, words)| format!("{}: {words}", kind.as_str())).collect();
    assert_eq!(
        names,
        [
            "rollout.state: discovering",
            "rollout.started: chat 1.1.0: 1 host(s) in 1 wave(s), 0 there already, 0 left out",
            "rollout.state: preparing",
            "rollout.host: a is prepared",
            "rollout.wave: wave 1 of 1 begins",
            "rollout.host: a is sent",
            "rollout.host: a is switched",
            "rollout.state: 1 switched host(s) are watched",
            "rollout.host: a is healthy",
            "rollout.state: committing",
            "rollout.host: a is committed",
            "rollout.completed: chat 1.1.0 runs on 1 of 1 host(s)",
        ]
    );
    assert!(world.events.iter().all(|(kind, _)| *kind != EventKind::Failed));
    assert_eq!(world.rollout.id(), RolloutId(7));
}
