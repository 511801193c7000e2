//! The machine over random orders of everything that can happen. proptest prints the failing case; `PROPTEST_CASES` asks for
//! more.

use std::{collections::VecDeque, time::Duration};

use host_core::{
    id::HostId,
    rollout::{
        Input, Order, Resolution,
        policy::{HealthCheck, OnFailure, Strategy, Unreachable},
        request::RolloutRequest,
    },
    status::HealthStatus,
};
use proptest::prelude::*;

use crate::model::Fault;
use crate::world::{SECOND, World, request};

/// What the random world decides, one byte at a time.
struct Dice(VecDeque<u8>);

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        self.0.pop_front().unwrap_or(0) % sides
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let which = self.roll(u8::try_from(choices.len()).expect("few"));
        *choices.get(usize::from(which)).expect("one of them")
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

fn random_request(dice: &mut Dice) -> RolloutRequest {
    let mut request = request();
    let policy = &mut request.policy;
    policy.wave = dice.one_of(&["1", "2", "50%"]).parse().expect("a size");
    policy.strategy = match dice.roll(4) {
        0 => Strategy::Canary { size: "1".parse().expect("a size"), monitor: 20 * SECOND },
        1 => Strategy::AllAtOnce,
        _ => Strategy::Rolling,
    };
    policy.soak = Duration::from_secs(u64::from(dice.roll(2)) * 5);
    policy.wave_delay = Duration::from_secs(u64::from(dice.roll(2)) * 7);
    policy.host_timeout = 30 * SECOND;
    policy.progress_deadline = 100 * SECOND;
    policy.unreachable = dice.one_of(&[Unreachable::Rollback, Unreachable::Skip, Unreachable::Pause]);
    policy.on_failure = dice.one_of(&[OnFailure::RollBack, OnFailure::RollBack, OnFailure::Hold]);
    policy.failure_budget = u32::from(dice.roll(3) / 2);
    policy.prepare_at_once = 1 + u32::from(dice.roll(3));
    if dice.roll(5) == 0 {
        policy.health.check = HealthCheck::Off;
    }
    request
}

fn random_order(dice: &mut Dice, name: &HostId) -> Order {
    match dice.roll(10) {
        0 => Order::Pause,
        1..=3 => Order::Resume,
        4 => Order::Promote,
        5 => Order::Cancel { keep: false },
        6 => Order::Cancel { keep: true },
        7 => Order::Rollback,
        8 => Order::Retry,
        _ => {
            let outcome = dice.one_of(&[Resolution::Committed, Resolution::RolledBack, Resolution::Gone]);
            Order::Resolve { host: name.clone(), outcome }
        }
    }
}

/// Something happens that nobody asked for.
fn surprise(world: &mut World, dice: &mut Dice, name: &HostId) {
    match dice.roll(15) {
        0 => world.disconnect(name),
        1 | 2 => world.connect(name),
        3 => world.restart(),
        4 => {
            let order = random_order(dice, name);
            world.order(order);
        }
        5 if dice.roll(2) == 0 => {
            let fault = dice.one_of(&[Fault::Refuses, Fault::GoesBack, Fault::Sticks]);
            world.hosts.get_mut(name).expect("a host").fault = Some(fault);
        }
        6 => {
            let health = [None, Some(HealthStatus::Failed), Some(HealthStatus::Degraded), Some(HealthStatus::Ok)];
            world.hosts.get_mut(name).expect("a host").health = dice.one_of(&health);
        }
        7 => {
            world.fails_by_itself(name);
        }
        8 => world.forget(name),
        9 => world.speaks_up(name),
        11 => world.arrives_late(name),
        12 => world.connect_again(name),
        10 if dice.roll(4) == 0 => world.is_detached(name),
        _ => world.echo(name, usize::from(dice.roll(8))),
    }
}

fn run(rolls: Vec<u8>) {
    let mut dice = Dice(rolls.into());
    let hosts = 2 + usize::from(dice.roll(4));
    let request = random_request(&mut dice);
    let mut world = World::new(hosts, request);
    world.writes = false;
    world.tell(Input::Begin);
    let names: Vec<_> = world.hosts.keys().cloned().collect();
    let mut generations = vec![0; hosts];
    while !dice.is_over() {
        let name = dice.one_of(&names.iter().collect::<Vec<_>>()).clone();
        // Mostly things go on: what is interesting lies behind the first waves.
        match dice.roll(64) {
            0..=25 => {
                world.host_acts(&name);
            }
            26..=51 => {
                world.host_is_heard(&name);
            }
            52..=59 => match (dice.roll(10), world.rollout.wakes_at()) {
                (0..=8, Some(at)) if world.is_idle() => {
                    world.now = world.now.max(at);
                    world.tell(Input::Tick);
                }
                (9, _) if dice.roll(4) == 0 => world.pass(31 * SECOND),
                _ => world.pass(SECOND),
            },
            _ => surprise(&mut world, &mut dice, &name),
        }
        for (known, record) in generations.iter_mut().zip(world.rollout.hosts().values()) {
            assert!(record.generation.0 >= *known, "a generation fell");
            *known = record.generation.0;
        }
    }
    world.calm();
    // After its end it asks for nothing.
    for name in &names {
        let told = world.audit.len();
        world.forget(name);
        world.pass(1_000 * SECOND);
        world.settle();
        assert_eq!(told, world.audit.len(), "something was done after the end");
    }
    world.check_fences();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_failure_ends_and_every_host_is_where_the_rollout_says(
        rolls in prop::collection::vec(any::<u8>(), 0..1_000)
    ) {
        run(rolls);
    }
}
