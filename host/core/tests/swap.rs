//! The swap machine over every order of failure that a random world can think of.
//!
//! The world performs the machine's effects on a model: which side serves, who is paused, what is parked. It answers each
//! effect that wants an answer with a random result, and throws in failures, rollbacks by hand and the passing of time
//! wherever they may come. proptest prints the failing case; `PROPTEST_CASES` asks for more.

use std::{collections::VecDeque, time::Duration};

use host_core::{
    id::SwapId,
    plan::{Direction, StatePath, SwapPlan, WayBack},
    policy::SwapPolicy,
    release::StateFormat,
    swap::{CallFault, Effect, Input, NoWay, Outcome, Phase, PhaseName, RollbackWay, Side, Swap},
    time::Moment,
};
use proptest::prelude::*;

/// What the random world decides, one byte at a time.
struct Dice(VecDeque<u8>);

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        self.0.pop_front().unwrap_or(0) % sides
    }

    fn ok(&mut self) -> Result<(), String> {
        if self.roll(4) == 0 { Err("chance".to_owned()) } else { Ok(()) }
    }

    fn call(&mut self) -> Result<(), CallFault> {
        match self.roll(6) {
            0 => Err(CallFault::Error("chance".to_owned())),
            1 => Err(CallFault::Lost("chance".to_owned())),
            _ => Ok(()),
        }
    }
}

/// The workload as the effects leave it.
#[derive(Debug)]
struct World {
    /// The side whose instance is in place; none when it is lost or stopped.
    in_place: Option<Side>,
    paused: bool,
    candidate: bool,
    /// Clients' events: what came while paused is parked until somebody resumes or the workload is stopped.
    parked: u32,
    handled: u32,
    sent: u32,
    stopped: bool,
    /// The smoke check was run.
    verified: bool,
    finished: Option<Outcome>,
}

impl World {
    fn event(&mut self) {
        self.sent += 1;
        if self.paused || self.in_place.is_none() { self.parked += 1 } else { self.handled += 1 }
    }

    fn resume(&mut self, side: Side) {
        assert_eq!(self.in_place, Some(side), "resumed a side that is not in place");
        self.paused = false;
        self.handled += std::mem::take(&mut self.parked);
    }
}

const fn plan(path: StatePath, way_back: WayBack) -> SwapPlan {
    SwapPlan {
        from: semver::Version::new(1, 0, 0),
        direction: Direction::Upgrade,
        state: path,
        way_back,
        changes: Vec::new(),
    }
}

fn format(schema: u32) -> StateFormat {
    StateFormat { schema, fingerprint: 7 }
}

fn random_plan(dice: &mut Dice) -> SwapPlan {
    let (from, to) = (format(1), format(2));
    let path = match dice.roll(4) {
        0 => StatePath::Same { format: from },
        1 => StatePath::Upgrade { from, to },
        2 => StatePath::Downgrade { from: to, to: from },
        _ => StatePath::Checkpoint { from, to },
    };
    let way_back = match dice.roll(7) {
        0 | 1 => WayBack::Downgrade,
        2 | 3 => WayBack::Replay,
        4 | 5 => WayBack::Unchanged,
        _ => WayBack::None,
    };
    plan(path, way_back)
}

/// Performs one effect and gives its answer, if it has one.
fn perform(world: &mut World, effect: Effect, dice: &mut Dice, now: &mut Moment) -> Option<Input> {
    world.event();
    assert!(world.finished.is_none(), "{effect:?} after the end");
    match effect {
        Effect::Quiesce { deadline } => Some(if dice.roll(5) == 0 {
            *now = deadline;
            Input::Tick
        } else {
            world.paused = true;
            Input::Quiesced
        }),
        Effect::Snapshot { .. } => {
            assert!(world.paused && world.in_place == Some(Side::Old));
            *now = now.after(Duration::from_millis(u64::from(dice.roll(8))));
            let result = dice.call();
            if matches!(result, Err(CallFault::Lost(_))) {
                world.in_place = None;
            }
            Some(Input::Snapshot(result))
        }
        Effect::LoadCheckpoint => Some(Input::Snapshot(dice.ok().map_err(CallFault::Error))),
        Effect::CodeChange { .. } => {
            assert!(world.paused && world.candidate, "code-change without a candidate, or while serving");
            *now = now.after(Duration::from_millis(u64::from(dice.roll(8))));
            Some(Input::CodeChanged(dice.call()))
        }
        Effect::Switch => {
            assert!(world.paused && world.candidate);
            (world.in_place, world.candidate) = (Some(Side::New), false);
            Some(Input::Switched)
        }
        Effect::Resume(side) => {
            world.resume(side);
            None
        }
        Effect::Record(side) => {
            assert_eq!(world.in_place, Some(side));
            Some(Input::Recorded(dice.ok()))
        }
        Effect::Verify => {
            world.verified = true;
            Some(Input::Verified(dice.ok()))
        }
        Effect::Hold | Effect::Stay(_) => None,
        Effect::Rebuild => {
            assert_eq!(world.in_place, None);
            let result = dice.ok();
            world.in_place = result.is_ok().then_some(Side::Old);
            Some(Input::Rebuilt(result))
        }
        Effect::RollBack(_) => {
            world.paused = true;
            let result = match dice.roll(6) {
                0 => Err(NoWay::Blocked("chance".to_owned())),
                // Of a rollback that nobody asked for it counts as any other failure.
                1 => Err(NoWay::Costs("chance".to_owned())),
                _ => Ok(()),
            };
            if result.is_ok() {
                world.in_place = Some(Side::Old);
            }
            Some(Input::RolledBack(result))
        }
        Effect::DropCandidate => {
            world.candidate = false;
            None
        }
        Effect::Release => None,
        Effect::Stop => {
            (world.in_place, world.stopped) = (None, true);
            None
        }
        Effect::Finish(outcome) => {
            world.finished = Some(outcome);
            None
        }
    }
}

/// Something that nobody asked for.
fn surprise(dice: &mut Dice, now: &mut Moment) -> Input {
    *now = now.after(Duration::from_secs(u64::from(dice.roll(4))));
    match dice.roll(6) {
        0 => Input::Failed("chance".to_owned()),
        1 => Input::RollBackWanted { why: "a person".to_owned(), allow_loss: dice.roll(2) == 0 },
        2 => Input::MakePermanent,
        3 => Input::Quiesced,
        4 => Input::Recorded(Ok(())),
        _ => Input::Tick,
    }
}

fn run(rolls: Vec<u8>) {
    let mut dice = Dice(rolls.into());
    let mut now = Moment(1_000);
    let policy = SwapPolicy {
        pause_limit: Duration::from_millis(10),
        probation: Duration::from_secs(u64::from(dice.roll(3))),
        force: dice.roll(3) == 0,
        hold: dice.roll(4) == 0,
        allow_loss: dice.roll(2) == 0,
        ..SwapPolicy::default()
    };
    let mut swap = Swap::new(SwapId(1), policy, now);
    let mut world = World {
        in_place: Some(Side::Old),
        paused: false,
        candidate: true,
        parked: 0,
        handled: 0,
        sent: 0,
        stopped: false,
        verified: false,
        finished: None,
    };
    let prepared = dice.ok();
    let prepared = prepared.map(|()| random_plan(&mut dice));
    let mut inputs = VecDeque::from([Input::Prepared(prepared)]);
    for _ in 0..200 {
        let Some(input) = inputs.pop_front() else {
            if world.finished.is_some() {
                break;
            }
            // It waits: for time, or for chance.
            now = swap.wakes_at().unwrap_or(now).max(now);
            let held = swap.phase() == &Phase::Probation { until: None };
            let next = if held { Input::MakePermanent } else { Input::Tick };
            inputs.push_back(if dice.roll(2) == 0 { surprise(&mut dice, &mut now) } else { next });
            continue;
        };
        let (phase, mut input) = (swap.phase().clone(), input);
        // A surprise between an effect and its answer is the shell's to hold back while it is paused; while a release
        // serves it may come at any time.
        if matches!(phase, Phase::Recording { .. } | Phase::Verifying { .. }) && dice.roll(8) == 0 {
            inputs.push_front(std::mem::replace(&mut input, surprise(&mut dice, &mut now)));
        }
        for effect in swap.handle(input, now) {
            inputs.extend(perform(&mut world, effect, &mut dice, &mut now));
        }
        if world.finished.is_some() {
            break;
        }
    }
    check(&swap, &mut world);
}

fn check(swap: &Swap, world: &mut World) {
    let outcome = world.finished.clone().expect("every swap ends");
    let expected = match &outcome {
        Outcome::Permanent => Some(Side::New),
        Outcome::Aborted { .. } | Outcome::RolledBack { .. } => Some(Side::Old),
        Outcome::Stopped { .. } => None,
    };
    assert_eq!(world.in_place, expected, "{outcome:?}");
    assert!(world.verified || outcome != Outcome::Permanent, "nobody has looked whether it works");
    assert_eq!(world.stopped, expected.is_none());
    assert!(!world.candidate, "a candidate is left behind");
    assert_eq!(swap.phase(), &Phase::Ended(outcome));
    assert_eq!(swap.phase_name(), None);
    if expected.is_some() {
        assert!(!world.paused, "somebody is still paused");
        assert_eq!((world.parked, world.handled), (0, world.sent), "a parked event was forgotten");
    } else {
        assert_eq!(world.parked + world.handled, world.sent);
    }
    let mut names: Vec<_> = swap.times().iter().map(|time| time.phase).collect();
    let all = names.clone();
    names.dedup();
    assert_eq!(names, all, "a phase was entered twice in a row");
    assert_eq!(names.first(), Some(&PhaseName::Prepare));
    // After its end it asks for nothing.
    let mut over = swap.clone();
    let late = [Input::Tick, Input::Quiesced, Input::Switched, Input::Failed(String::new()), Input::MakePermanent];
    for input in late {
        assert_eq!(over.handle(input, Moment(u64::MAX)), Vec::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_failure_ends_with_one_side_serving_and_nothing_forgotten(
        rolls in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        run(rolls);
    }
}

/// A machine at the start of its pause.
fn paused() -> (Swap, Vec<Effect>) {
    paused_with(WayBack::Downgrade)
}

fn paused_with(way_back: WayBack) -> (Swap, Vec<Effect>) {
    let mut swap = Swap::new(SwapId(1), SwapPolicy::default(), Moment(0));
    let path = StatePath::Upgrade { from: format(1), to: format(2) };
    swap.handle(Input::Prepared(Ok(plan(path, way_back))), Moment(10));
    let effects = swap.handle(Input::Quiesced, Moment(20));
    (swap, effects)
}

#[test]
fn the_phases_of_a_good_swap_come_in_order_and_the_pause_is_measured() {
    let (mut swap, effects) = paused();
    assert!(matches!(effects[..], [Effect::Snapshot { schema: 1, .. }]));
    assert!(matches!(swap.handle(Input::Snapshot(Ok(())), Moment(30))[..], [Effect::CodeChange { .. }]));
    assert_eq!(swap.handle(Input::CodeChanged(Ok(())), Moment(40)), [Effect::Switch]);
    assert_eq!(swap.handle(Input::Switched, Moment(45)), [Effect::Resume(Side::New), Effect::Record(Side::New)]);
    assert_eq!(swap.pause(), Some(Duration::from_nanos(25)));
    assert_eq!(swap.handle(Input::Recorded(Ok(())), Moment(50)), [Effect::Verify]);
    assert_eq!(swap.handle(Input::Verified(Ok(())), Moment(60)), []);
    let until = swap.wakes_at().expect("probation ends");
    assert_eq!(swap.handle(Input::Tick, Moment(until.0 - 1)), [], "not before its time");
    assert_eq!(swap.handle(Input::Tick, until), [Effect::Release, Effect::Finish(Outcome::Permanent)]);
    let names: Vec<_> = swap.times().iter().map(|time| time.phase.as_str()).collect();
    assert_eq!(names, ["prepare", "quiesce", "snapshot", "code-change", "switch", "record", "verify", "probation"]);
}

#[test]
fn a_failed_snapshot_resumes_and_a_trapped_one_rebuilds() {
    let (mut swap, _) = paused();
    let effects = swap.handle(Input::Snapshot(Err(CallFault::Error("full".to_owned()))), Moment(30));
    assert!(
        matches!(effects[..], [Effect::Resume(Side::Old), Effect::DropCandidate, Effect::Finish(_)]),
        "{effects:?}"
    );
    let (mut swap, _) = paused();
    let effects = swap.handle(Input::Snapshot(Err(CallFault::Lost("trap".to_owned()))), Moment(30));
    assert_eq!(effects, [Effect::DropCandidate, Effect::Rebuild]);
    let effects = swap.handle(Input::Rebuilt(Ok(())), Moment(40));
    assert!(matches!(effects[..], [Effect::Resume(Side::Old), Effect::Finish(Outcome::Aborted { .. })]), "{effects:?}");
}

#[test]
fn a_code_change_that_ends_after_the_deadline_is_not_switched_to() {
    let (mut swap, _) = paused();
    swap.handle(Input::Snapshot(Ok(())), Moment(30));
    let late = Moment(10).after(SwapPolicy::DEFAULT_PAUSE_LIMIT);
    let effects = swap.handle(Input::CodeChanged(Ok(())), late);
    assert!(
        matches!(effects[..], [Effect::Resume(Side::Old), Effect::DropCandidate, Effect::Finish(_)]),
        "{effects:?}"
    );
}

/// A machine whose new release serves.
fn serving(policy: SwapPolicy) -> Swap {
    let mut swap = Swap::new(SwapId(1), policy, Moment(0));
    let path = StatePath::Upgrade { from: format(1), to: format(2) };
    swap.handle(Input::Prepared(Ok(plan(path, WayBack::Downgrade))), Moment(10));
    for input in [Input::Quiesced, Input::Snapshot(Ok(())), Input::CodeChanged(Ok(())), Input::Switched] {
        swap.handle(input, Moment(20));
    }
    swap
}

#[test]
fn a_rollback_tries_the_ways_from_the_exact_one_to_the_lossy_one() {
    let mut swap = serving(SwapPolicy { allow_loss: true, ..SwapPolicy::default() });
    let effects = swap.handle(Input::Failed("trap".to_owned()), Moment(46));
    assert_eq!(effects, [Effect::RollBack(RollbackWay::Downgrade)]);
    let effects = swap.handle(Input::RolledBack(Err("lost".into())), Moment(47));
    assert_eq!(effects, [Effect::RollBack(RollbackWay::Replay)]);
    let effects = swap.handle(Input::RolledBack(Err("overflow".into())), Moment(48));
    assert_eq!(effects, [Effect::RollBack(RollbackWay::Checkpoint)]);
    let effects = swap.handle(Input::RolledBack(Ok(())), Moment(49));
    assert_eq!(effects, [Effect::Resume(Side::Old), Effect::Record(Side::Old)]);
    let effects = swap.handle(Input::Recorded(Err("disk".to_owned())), Moment(50));
    let [Effect::Release, Effect::Finish(Outcome::RolledBack { why, way })] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(*way, RollbackWay::Checkpoint);
    assert!(why.contains("trap") && why.contains("overflow") && why.contains("disk"), "{why}");
}

#[test]
fn events_are_lost_only_where_that_is_allowed() {
    let mut swap = serving(SwapPolicy::default());
    swap.handle(Input::Failed("trap".to_owned()), Moment(46));
    swap.handle(Input::RolledBack(Err("lost".into())), Moment(47));
    let effects = swap.handle(Input::RolledBack(Err("overflow".into())), Moment(48));
    let [Effect::Stop, Effect::Finish(Outcome::Stopped { why })] = &effects[..] else { panic!("{effects:?}") };
    assert!(why.contains("--allow-loss"), "{why}");
}

#[test]
fn a_held_probation_ends_by_a_commit_and_not_by_time() {
    let mut swap = serving(SwapPolicy { hold: true, probation: Duration::ZERO, ..SwapPolicy::default() });
    swap.handle(Input::Recorded(Ok(())), Moment(50));
    assert_eq!(swap.handle(Input::Verified(Ok(())), Moment(60)), [Effect::Hold]);
    assert_eq!(swap.wakes_at(), None);
    assert_eq!(swap.handle(Input::Tick, Moment(u64::MAX)), []);
    let effects = swap.handle(Input::MakePermanent, Moment(u64::MAX));
    assert_eq!(effects, [Effect::Release, Effect::Finish(Outcome::Permanent)]);
}

#[test]
fn a_rollback_that_is_asked_for_and_not_possible_leaves_the_new_release_on_probation() {
    let mut swap = serving(SwapPolicy { hold: true, ..SwapPolicy::default() });
    swap.handle(Input::Recorded(Ok(())), Moment(50));
    swap.handle(Input::Verified(Ok(())), Moment(60));
    let wanted = || Input::RollBackWanted { why: "a person".to_owned(), allow_loss: false };
    swap.handle(wanted(), Moment(70));
    swap.handle(Input::RolledBack(Err("no format".into())), Moment(71));
    let effects = swap.handle(Input::RolledBack(Err("no journal".into())), Moment(72));
    let [Effect::Resume(Side::New), Effect::Stay(why)] = &effects[..] else { panic!("{effects:?}") };
    assert!(why.contains("no journal") && why.contains("--allow-loss"), "{why}");
    assert_eq!(swap.phase(), &Phase::Probation { until: None });
    // With leave to lose events it is possible.
    swap.handle(Input::RollBackWanted { why: "a person".to_owned(), allow_loss: true }, Moment(80));
    swap.handle(Input::RolledBack(Err("no format".into())), Moment(81));
    let effects = swap.handle(Input::RolledBack(Err("no journal".into())), Moment(82));
    assert_eq!(effects, [Effect::RollBack(RollbackWay::Checkpoint)]);
}

#[test]
fn a_rollback_that_is_asked_for_closes_no_session_without_leave() {
    let mut swap = Swap::new(SwapId(1), SwapPolicy::default(), Moment(0));
    let path = StatePath::Upgrade { from: format(1), to: format(2) };
    swap.handle(Input::Prepared(Ok(plan(path, WayBack::Unchanged))), Moment(10));
    for input in [Input::Quiesced, Input::Snapshot(Ok(())), Input::CodeChanged(Ok(())), Input::Switched] {
        swap.handle(input, Moment(20));
    }
    swap.handle(Input::Recorded(Ok(())), Moment(50));
    swap.handle(Input::Verified(Ok(())), Moment(60));
    let wanted = |allow_loss| Input::RollBackWanted { why: "a person".to_owned(), allow_loss };
    assert_eq!(swap.handle(wanted(false), Moment(70)), [Effect::RollBack(RollbackWay::Unchanged)]);
    assert!(!swap.may_lose());
    let effects = swap.handle(Input::RolledBack(Err(NoWay::Costs("2 sessions".to_owned()))), Moment(71));
    let [Effect::Resume(Side::New), Effect::Stay(why)] = &effects[..] else { panic!("{effects:?}") };
    assert!(why.contains("2 sessions") && why.contains("--allow-loss"), "{why}");
    assert!(matches!(swap.phase(), Phase::Probation { until: Some(_) }), "{:?}", swap.phase());
    swap.handle(wanted(true), Moment(80));
    assert!(swap.may_lose());
    // A release that fails is gone back from, whatever it costs: its sessions are lost in any case.
    let mut swap = serving(SwapPolicy::default());
    swap.handle(Input::Failed("trap".to_owned()), Moment(46));
    assert!(swap.may_lose());
}

#[test]
fn a_rollback_that_is_asked_for_before_the_verdict_waits_for_it_and_leaves_nothing_out() {
    let wanted = || Input::RollBackWanted { why: "a person".to_owned(), allow_loss: false };
    let mut swap = serving(SwapPolicy::default());
    assert_eq!(swap.handle(wanted(), Moment(46)), []);
    assert_eq!(swap.handle(Input::Recorded(Ok(())), Moment(50)), [Effect::Verify]);
    let effects = swap.handle(Input::Verified(Ok(())), Moment(60));
    assert_eq!(effects, [Effect::RollBack(RollbackWay::Downgrade)]);
    swap.handle(Input::RolledBack(Err("no format".into())), Moment(61));
    let effects = swap.handle(Input::RolledBack(Err("no journal".into())), Moment(62));
    assert!(matches!(effects[..], [Effect::Resume(Side::New), Effect::Stay(_)]), "{effects:?}");
    assert!(matches!(swap.phase(), Phase::Probation { until: Some(_) }), "{:?}", swap.phase());

    // What is wrong with the release is found as without it.
    let mut swap = serving(SwapPolicy::default());
    swap.handle(wanted(), Moment(46));
    swap.handle(Input::Recorded(Err("disk".to_owned())), Moment(50));
    assert!(matches!(swap.phase(), Phase::RollingBack { why, asked: None, .. } if why.contains("disk")));
    let mut swap = serving(SwapPolicy::default());
    swap.handle(Input::Recorded(Ok(())), Moment(50));
    swap.handle(wanted(), Moment(51));
    swap.handle(Input::Verified(Err("health".to_owned())), Moment(60));
    assert!(matches!(swap.phase(), Phase::RollingBack { why, asked: None, .. } if why.contains("health")));
}

#[test]
fn a_one_way_swap_has_no_probation_and_no_failed_check_undoes_it() {
    let (mut swap, _) = paused_with(WayBack::None);
    swap.handle(Input::Snapshot(Ok(())), Moment(30));
    swap.handle(Input::CodeChanged(Ok(())), Moment(40));
    swap.handle(Input::Switched, Moment(45));
    let by_hand = Input::RollBackWanted { why: "by hand".to_owned(), allow_loss: true };
    assert!(matches!(swap.handle(by_hand, Moment(46))[..], [Effect::Stay(_)]), "there is nowhere to go");
    assert_eq!(swap.handle(Input::Recorded(Ok(())), Moment(50)), [Effect::Verify]);
    let effects = swap.handle(Input::Verified(Err("health: failed".to_owned())), Moment(60));
    assert_eq!(effects, [Effect::Release, Effect::Finish(Outcome::Permanent)]);
}
