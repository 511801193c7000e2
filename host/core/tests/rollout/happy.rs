//! Nothing goes wrong.

use std::time::Duration;

use host_core::{
    fleet::{FleetRevision, Selector},
    rollout::{
        EventKind, Input, Order, State, StateName, Verdict,
        command::ActionKind,
        policy::{HealthCheck, Schedule, Strategy},
        request::Extent,
    },
    time::UnixNanos,
};

use crate::world::{SECOND, World, host, request, revision};

#[test]
fn every_host_prepares_then_wave_after_wave_switches_and_nothing_is_committed_before_the_last_is_well() {
    let mut world = World::begun(3, request());
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.states(), ["committed"; 3]);
    let kinds: Vec<_> = world.host("a").commands.iter().map(host_core::rollout::command::Action::kind).collect();
    assert_eq!(kinds, [ActionKind::Prepare, ActionKind::Switch, ActionKind::Commit]);
    let waves = world.events.iter().filter(|(kind, _)| *kind == EventKind::Wave).count();
    assert_eq!(waves, 3);
    assert_eq!(world.assignment.stable, Some(revision(1)));
    assert_eq!(world.assignment.previous, Some(revision(0)));
    let summary = world.rollout.summary();
    assert_eq!((summary.verdict, summary.counts.upgraded, summary.counts.total), (Verdict::Done, 3, 3));
    let commands = world.audit.iter().filter(|row| row.host.is_some()).count();
    assert_eq!(commands, 2 * 3 * 3, "each command and each outcome is a row");
}

#[test]
fn the_predecessor_is_held_on_every_host_until_all_are_verified() {
    let mut world = World::begun(2, request());
    while !world.host("b").ever_switched {
        assert!(
            world
                .hosts
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .iter()
                .any(|name| { world.host_acts(name) || world.host_is_heard(name) })
        );
    }
    assert!(world.host("a").predecessor.is_some() && world.host("b").predecessor.is_some());
    world.run();
    assert!(world.host("a").predecessor.is_none() && world.host("b").predecessor.is_none());
}

#[test]
fn a_first_deploy_starts_the_workload_everywhere() {
    let mut world = World::new(2, request());
    world.assignment.stable = None;
    for host in world.hosts.values_mut() {
        (host.running, host.generation) = (None, 0);
    }
    world.tell(Input::Begin);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.assignment.stable, Some(revision(1)));
    assert!(world.hosts.values().all(|host| host.running.is_some()));
}

#[test]
fn the_soak_is_as_long_as_asked_and_every_switched_host_is_asked_in_it() {
    let mut request = request();
    request.policy.soak = Duration::from_secs(5);
    let mut world = World::begun(2, request);
    world.settle();
    assert_eq!(world.rollout.state().name(), StateName::Verifying);
    let entered = world.now;
    while world.host("b").commands.len() < 2 {
        let at = world.rollout.wakes_at().expect("it waits for time");
        world.now = at;
        world.tell(Input::Tick);
        world.settle();
    }
    assert_eq!(world.now.since(entered), Duration::from_secs(5));
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.now.since(entered), Duration::from_secs(10), "and once more, for both");
}

#[test]
fn a_canary_is_watched_longer_and_a_person_may_promote_it() {
    let mut request = request();
    request.policy.strategy =
        Strategy::Canary { size: "1".parse().expect("a size"), monitor: Duration::from_secs(300) };
    request.policy.wave = "100%".parse().expect("a size");
    let mut world = World::begun(4, request.clone());
    world.settle();
    world.pass(100 * SECOND);
    world.settle();
    assert_eq!(world.states(), ["switched", "prepared", "prepared", "prepared"]);
    assert_eq!(world.order(Order::Promote), None);
    world.settle();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert!(world.order(Order::Promote).is_some(), "there is nothing left to promote");

    let mut world = World::begun(4, request);
    let begun = world.now;
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.now.since(begun), Duration::from_secs(300));
}

#[test]
fn a_wave_waits_for_its_delay() {
    let mut request = request();
    request.policy.wave_delay = 30 * SECOND;
    let mut world = World::begun(2, request);
    world.settle();
    assert_eq!(world.rollout.state().name(), StateName::Resting);
    world.pass(29 * SECOND);
    assert_eq!(world.rollout.state().name(), StateName::Resting);
    world.pass(SECOND);
    world.settle();
    assert_eq!(world.rollout.state(), &State::Complete);
}

#[test]
fn with_health_off_a_switch_that_went_through_is_enough() {
    let mut request = request();
    request.policy.health.check = HealthCheck::Off;
    request.policy.soak = 5 * SECOND;
    let mut world = World::begun(2, request);
    let begun = world.now;
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    assert_eq!(world.now.since(begun), 10 * SECOND);
}

#[test]
fn a_dry_run_rehearses_everywhere_and_switches_nowhere() {
    let mut request = request();
    request.extent = Extent::Rehearse;
    let mut world = World::begun(3, request);
    world.run();
    assert_eq!(world.rollout.state(), &State::Rehearsed);
    assert!(world.hosts.values().all(|host| host.prepared && !host.ever_switched));
    assert_eq!(world.assignment.target, None);
    assert_eq!(world.assignment.stable, Some(revision(0)));
}

#[test]
fn a_scheduled_one_begins_in_its_time_or_not_at_all() {
    let mut request = request();
    let at = UnixNanos(2_000_000_000_000);
    request.schedule = Some(Schedule { not_before: at, late_limit: 60 * SECOND });
    let mut world = World::begun(1, request.clone());
    assert_eq!(world.rollout.wakes_at(), Some(at));
    world.run();
    assert_eq!((world.rollout.state(), world.now), (&State::Complete, at));

    let mut world = World::begun(1, request.clone());
    world.now = at.after(61 * SECOND);
    world.restart();
    let State::Failed { why } = world.rollout.state() else { panic!("{:?}", world.rollout.state()) };
    assert!(why.contains("late"), "{why}");

    let mut world = World::begun(1, request);
    assert_eq!(world.order(Order::Cancel { keep: false }), None);
    assert_eq!(world.rollout.state(), &State::Cancelled { kept: false });
}

#[test]
fn chosen_hosts_are_pinned_and_the_others_keep_what_is_stable() {
    let mut request = request();
    request.hosts = Selector::Names([host("a")].into());
    let mut world = World::begun(2, request);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    let wanted = |name: &str| world.assignment.wanted(&host(name)).map(|revision: &FleetRevision| revision.id);
    assert_eq!(wanted("a"), Some(revision(1).id));
    assert_eq!(wanted("b"), Some(revision(0).id));
}

#[test]
fn no_more_hosts_prepare_at_once_than_may() {
    let mut request = request();
    request.policy.prepare_at_once = 2;
    let mut world = World::begun(5, request);
    let open = |world: &World| world.rollout.hosts().values().filter(|record| record.open.is_some()).count();
    while world.rollout.state() == &State::Preparing {
        assert!(open(&world) <= 2);
        let names: Vec<_> = world.hosts.keys().cloned().collect();
        assert!(names.iter().any(|name| world.host_is_heard(name) || world.host_acts(name)));
    }
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
}

#[test]
fn a_rehearsal_that_is_too_old_is_repeated_before_its_wave() {
    let mut request = request();
    request.policy.wave_delay = Duration::from_secs(16 * 60);
    let mut world = World::begun(2, request);
    world.run();
    assert_eq!(world.rollout.state(), &State::Complete);
    let kinds = |name: &str| world.host(name).commands.iter().map(|action| action.kind().as_str()).collect::<Vec<_>>();
    assert_eq!(kinds("a"), ["prepare", "switch", "commit"]);
    assert_eq!(kinds("b"), ["prepare", "prepare", "switch", "commit"]);
}
