//! What is told of the time that a rollout took.

use std::collections::{BTreeMap, BTreeSet};

use host_core::{
    rollout::{CommandEnd, Order, Part, PartKind, StateName, Verdict, command::ActionKind, policy::Unreachable},
    trace::SpanId,
};

use crate::world::{SECOND, World, host, request, trace};

fn states(world: &World) -> Vec<(StateName, Option<usize>)> {
    let state = |part: &Part| match part.what {
        PartKind::State { state, wave } => Some((state, wave)),
        _ => None,
    };
    world.parts.iter().filter_map(state).collect()
}

fn ends(world: &World, name: &str) -> Vec<(ActionKind, CommandEnd)> {
    let end = |part: &Part| match &part.what {
        PartKind::Command { host: of, action, end, .. } if *of == host(name) => Some((*action, *end)),
        _ => None,
    };
    world.parts.iter().filter_map(end).collect()
}

/// Each span's parent; the whole is the last.
fn parents(world: &World) -> BTreeMap<SpanId, Option<SpanId>> {
    let spans: Vec<_> = world.parts.iter().map(|part| part.span.expect("it is traced")).collect();
    assert!(spans.iter().all(|span| span.context.trace == trace().trace), "one trace");
    let parents: BTreeMap<_, _> = spans.iter().map(|span| (span.context.span, span.parent)).collect();
    assert_eq!(parents.len(), spans.len(), "each part has a span of its own");
    parents
}

#[test]
fn a_rollouts_parts_are_one_tree_also_when_the_coordinator_dies_in_each_state() {
    let mut world = World::begun(2, request());
    let mut seen = BTreeSet::new();
    while !world.rollout.is_over() {
        if seen.insert(world.rollout.state().name()) {
            world.restart();
            for name in world.hosts.keys().cloned().collect::<Vec<_>>() {
                world.connect(&name);
            }
        }
        world.step();
    }
    use StateName::{Committing, Discovering, Preparing, Switching, Verifying};
    let waves = [(Switching, Some(1)), (Verifying, Some(1)), (Switching, Some(2)), (Verifying, Some(2))];
    assert_eq!(states(&world), [&[(Discovering, None), (Preparing, None)][..], &waves, &[(Committing, None)]].concat());

    let parents = parents(&world);
    assert_eq!(parents.get(&trace().span), Some(&None), "the whole is the root");
    for part in &world.parts {
        let parent = part.span.and_then(|span| span.parent);
        match &part.what {
            PartKind::Rollout { verdict, .. } => assert_eq!((parent, *verdict), (None, Verdict::Done)),
            PartKind::State { .. } => assert_eq!(parent, Some(trace().span)),
            PartKind::Command { action, .. } => {
                let of = world.parts.iter().find(|other| other.span.map(|span| span.context.span) == parent);
                let PartKind::State { state, .. } = of.expect("its state").what else { panic!("{of:?}") };
                let fits = match action {
                    // What was lost with a connection is prepared again in its wave.
                    ActionKind::Prepare => [Preparing, Switching].contains(&state),
                    ActionKind::Switch => state == Switching,
                    ActionKind::Commit | ActionKind::RollBack => state == Committing,
                };
                assert!(fits, "{part:?} in {state}");
            }
        }
    }
}

#[test]
fn a_command_that_is_not_answered_in_time_ends_as_unknown_and_its_late_answer_is_not_told_again() {
    let mut request = request();
    request.policy.unreachable = Unreachable::Skip;
    let mut world = World::begun(2, request);
    while world.rollout.state().name() != StateName::Switching {
        world.step();
    }
    world.pass(301 * SECOND);
    assert_eq!(
        ends(&world, "a"),
        [(ActionKind::Prepare, CommandEnd::Prepared), (ActionKind::Switch, CommandEnd::Unknown)]
    );
    world.run();
    world.settle();
    let switches = ends(&world, "a").iter().filter(|(action, _)| *action == ActionKind::Switch).count();
    assert_eq!(switches, 1);
}

#[test]
fn a_pause_is_a_part_and_what_goes_on_after_it_another() {
    let mut world = World::begun(1, request());
    assert_eq!(world.order(Order::Pause), None);
    world.pass(SECOND);
    assert_eq!(world.order(Order::Resume), None);
    world.run();
    let first: Vec<_> = states(&world).into_iter().take(4).map(|(state, _)| state).collect();
    assert_eq!(first, [StateName::Discovering, StateName::Preparing, StateName::Paused, StateName::Preparing]);
    let paused = world.parts.iter().find(|part| matches!(part.what, PartKind::State { state: StateName::Paused, .. }));
    assert_eq!(paused.map(|part| part.ended.since(part.began)), Some(SECOND));
}

#[test]
fn a_rollout_stored_before_there_were_traces_goes_on_without_one() {
    let mut world = World::begun(2, request());
    let mut stored = serde_json::to_value(&world.rollout).expect("it can be written");
    stored.as_object_mut().expect("an object").remove("measure").expect("what is measured");
    for record in stored["hosts"].as_object_mut().expect("hosts").values_mut() {
        if let Some(open) = record["open"].as_object_mut() {
            for field in ["span", "parent", "told"] {
                open.remove(field).expect(field);
            }
        }
    }
    world.rollout = serde_json::from_value(stored).expect("it can be read");
    while world.parts.iter().all(|part| !matches!(part.what, PartKind::Command { .. })) {
        assert!(world.host_acts(&host("a")) || world.host_is_heard(&host("a")));
    }
    assert!(world.parts.iter().rev().take(1).all(|part| part.span.is_none()), "{:?}", world.parts);
}
