//! What a rollout will do is decided before anything is done.

use std::collections::BTreeSet;

use host_core::{
    fleet::{Busy, FleetView, RunWanted, Selector},
    id::{Digest, HostId, RolloutId},
    label::{Label, Labels},
    rollout::{
        planner::{Coverage, Planned, PlannedHost, Refusal, RolloutPlan, Skipped, plan},
        policy::{Offline, Strategy},
        request::{Direction, RolloutRequest},
    },
    status::RunState,
};

use crate::world::{SECOND, World, host, request, revision, running};

/// Plans for so many hosts, after the view and the request were changed.
fn check(hosts: usize, change: impl FnOnce(&mut FleetView, &mut RolloutRequest)) -> Result<Planned, Refusal> {
    let mut request = request();
    let mut view = World::new(hosts, request.clone()).view();
    change(&mut view, &mut request);
    plan(&request, &view)
}

fn planned(hosts: usize, change: impl FnOnce(&mut FleetView, &mut RolloutRequest)) -> RolloutPlan {
    match check(hosts, change).expect("a plan") {
        Planned::Plan { plan } => plan,
        Planned::Wait { hosts } => panic!("it waits for {hosts:?}"),
    }
}

fn refused(hosts: usize, change: impl FnOnce(&mut FleetView, &mut RolloutRequest)) -> Refusal {
    check(hosts, change).expect_err("a refusal")
}

fn names(hosts: &[&str]) -> BTreeSet<HostId> {
    hosts.iter().map(|name| host(name)).collect()
}

fn waves(plan: &RolloutPlan) -> Vec<Vec<&str>> {
    plan.waves.iter().map(|wave| wave.iter().map(|planned| planned.host.as_str()).collect()).collect()
}

fn at<'a>(view: &'a mut FleetView, name: &str) -> &'a mut host_core::fleet::FleetHost {
    view.hosts.get_mut(&host(name)).expect("a host")
}

fn says<'a>(view: &'a mut FleetView, name: &str) -> &'a mut host_core::fleet::WorkloadInventory {
    at(view, name).inventory.as_mut().expect("it says something")
}

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

#[test]
fn waves_are_cut_as_the_strategy_says_and_none_is_empty() {
    let size = |text: &str| text.parse().expect("a size");
    let rolling = planned(6, |_, request| request.policy.wave = size("25%"));
    assert_eq!(waves(&rolling), [vec!["a", "b"], vec!["c", "d"], vec!["e", "f"]]);
    let canary = planned(6, |_, request| {
        request.policy.strategy = Strategy::Canary { size: size("1"), monitor: SECOND };
        request.policy.wave = size("50%");
    });
    assert_eq!(waves(&canary), [vec!["a"], vec!["b", "c", "d"], vec!["e", "f"]]);
    let wide_canary = planned(6, |_, request| {
        request.policy.strategy = Strategy::Canary { size: size("4"), monitor: SECOND };
    });
    assert_eq!(waves(&wide_canary), [vec!["a", "b", "c", "d"], vec!["e"], vec!["f"]]);
    let all = planned(4, |_, request| request.policy.strategy = Strategy::AllAtOnce);
    assert_eq!(waves(&all), [vec!["a", "b", "c", "d"]]);
}

#[test]
fn labels_choose_hosts_and_order_them() {
    let change = |view: &mut FleetView, request: &mut RolloutRequest| {
        for (name, text) in [("a", "region=us"), ("b", "region=eu"), ("c", "region=test"), ("d", "region=eu")] {
            at(view, name).labels = Labels::try_from(vec![label(text)]).expect("sound");
        }
        request.order = vec![label("region=test"), label("region=eu")];
    };
    assert_eq!(waves(&planned(4, change)), [vec!["c"], vec!["b"], vec!["d"], vec!["a"]]);
    let plan = planned(4, |view, request| {
        change(view, request);
        request.hosts = Selector::Labels([label("region=eu")].into());
    });
    assert_eq!(waves(&plan), [vec!["b"], vec!["d"]]);
    assert_eq!(plan.coverage, Coverage::Chosen);
}

#[test]
fn each_host_has_what_ran_before_and_what_runs_it_already_is_left_alone() {
    let plan = planned(3, |view, _| {
        says(view, "a").running = Some(running(1, 4));
        says(view, "b").running = None;
    });
    assert_eq!(plan.already, names(&["a"]));
    let before = |planned: &PlannedHost| planned.before.as_ref().map(|running| running.generation.0);
    assert_eq!(plan.hosts().map(|(_, planned)| before(planned)).collect::<Vec<_>>(), [None, Some(3)]);
    assert_eq!(
        plan.lines(),
        ["wave 1 of 2:", "  b: start 1.1.0", "wave 2 of 2:", "  c: 1.0.0 → 1.1.0", "already there: a"]
    );
}

#[test]
fn hosts_that_are_not_connected_are_named_skipped_or_waited_for() {
    let away = |offline: Offline| {
        move |view: &mut FleetView, request: &mut RolloutRequest| {
            at(view, "b").connected = false;
            request.policy.offline = offline;
        }
    };
    let refusal = refused(2, away(Offline::Refuse));
    assert_eq!(refusal, Refusal::Offline { hosts: names(&["b"]) });
    assert!(refusal.to_string().starts_with("b is not connected; bring them back, or say --offline skip"), "{refusal}");
    assert_eq!(check(2, away(Offline::Wait)), Ok(Planned::Wait { hosts: names(&["b"]) }));
    let plan = planned(2, away(Offline::Skip));
    assert_eq!(plan.skipped, [(host("b"), Skipped::Offline)].into());
    assert_eq!(waves(&plan), [vec!["a"]]);
}

#[test]
fn what_a_person_has_in_hand_or_has_stopped_is_left_out_and_shown() {
    let plan = planned(4, |view, _| {
        says(view, "a").detached = true;
        says(view, "b").run_state = Some(RunState::Stopped);
        says(view, "c").run_state = Some(RunState::Failed { why: "too often".to_owned() });
    });
    assert_eq!(waves(&plan), [vec!["d"]]);
    let words: Vec<_> = plan.skipped.values().map(Skipped::to_string).collect();
    assert_eq!(words, ["detached by hand, with 1.0.0", "not running: stopped by hand", "not running: too often"]);
    let nobody = refused(1, |view, _| says(view, "a").detached = true);
    assert!(nobody.to_string().contains("a (detached by hand, with 1.0.0)"), "{nobody}");
}

#[test]
fn one_rollout_of_a_workload_at_a_time_and_one_hand_at_a_host() {
    let workload = revision(0).workload;
    let other = refused(1, |view, _| view.other = Some(RolloutId(3)));
    assert_eq!(other, Refusal::OtherRollout { workload: workload.clone(), other: RolloutId(3) });
    let busy = refused(2, |view, _| says(view, "b").busy = Some(Busy::ByHand));
    assert_eq!(busy, Refusal::Busy { workload: workload.clone(), hosts: names(&["b"]) });
    let held = refused(2, |view, _| says(view, "a").held = true);
    assert_eq!(held, Refusal::Busy { workload: workload.clone(), hosts: names(&["a"]) });
    let obliged = refused(2, |view, _| at(view, "b").obliged_to = Some(RolloutId(3)));
    assert_eq!(obliged, Refusal::Obliged { host: host("b"), rollout: RolloutId(3) });
    let stopped = refused(1, |view, _| view.assignment.run = RunWanted::Stopped);
    assert_eq!(stopped, Refusal::Stopped { workload });
}

#[test]
fn hosts_that_are_not_meant_are_named() {
    let unknown = refused(1, |_, request| request.hosts = Selector::Names(names(&["a", "x", "y"])));
    assert_eq!(unknown, Refusal::UnknownHosts { hosts: names(&["x", "y"]) });
    let stranger = refused(2, |view, request| {
        view.assignment.selector = Selector::Names(names(&["a"]));
        request.hosts = Selector::Names(names(&["b"]));
    });
    assert_eq!(stranger.to_string(), "b is not among the hosts that chat is assigned to: a");
    let nobody = refused(2, |_, request| request.hosts = Selector::Labels([label("region=mars")].into()));
    assert!(nobody.to_string().contains("hosts with region=mars"), "{nobody}");
}

#[test]
fn a_version_keeps_its_bytes_and_a_lower_one_must_be_meant() {
    let taken = refused(2, |view, _| {
        let mut other = running(1, 5);
        other.digest = Digest::new([77; 32]);
        says(view, "b").running = Some(other);
    });
    assert!(matches!(&taken, Refusal::VersionTaken { host, .. } if host.as_str() == "b"), "{taken}");
    let lower = |direction: Direction| {
        check(2, |view, request| {
            says(view, "b").running = Some(running(2, 5));
            request.direction = direction;
        })
    };
    let refusal = lower(Direction::Upgrade).expect_err("a refusal");
    assert!(matches!(&refusal, Refusal::LowerVersion { hosts, .. } if *hosts == names(&["b"])), "{refusal}");
    assert!(lower(Direction::Downgrade).is_ok() && lower(Direction::Rollback).is_ok());
}

#[test]
fn a_start_needs_a_listener_and_a_swap_does_not() {
    let bare = |view: &mut FleetView, request: &mut RolloutRequest| {
        request.target.listeners.clear();
        says(view, "b").running = None;
    };
    let refusal = refused(2, bare);
    assert!(matches!(&refusal, Refusal::ListenerWanted { hosts, .. } if *hosts == names(&["b"])), "{refusal}");
    planned(2, |_, request| request.target.listeners.clear());
}

#[test]
fn where_every_host_is_there_only_the_assignment_may_be_left_to_change() {
    let there = |view: &mut FleetView| says(view, "a").running = Some(running(1, 5));
    let plan = planned(1, |view, _| there(view));
    assert_eq!((plan.waves.len(), plan.coverage), (0, Coverage::Whole));
    let nothing = refused(1, |view, _| {
        there(view);
        view.assignment.stable = Some(revision(1));
    });
    assert!(matches!(nothing, Refusal::NothingToDo { .. }), "{nothing}");
    let chosen = refused(1, |view, request| {
        there(view);
        request.hosts = Selector::Names(names(&["a"]));
    });
    assert!(matches!(chosen, Refusal::NothingToDo { .. }), "{chosen}");
}
