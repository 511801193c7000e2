//! Every small history: a rollout of few hosts in two waves, and at every step of it everything that can go wrong, once or
//! twice. Each history is then calmed: hosts come back, a person answers what waits for one, and the end is looked at.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use host_core::{
    id::HostId,
    rollout::{
        Order, Resolution,
        policy::{OnFailure, RolloutPolicy, Unreachable},
    },
    status::HealthStatus,
};

use crate::model::Fault;
use crate::world::{SECOND, World, request};

/// What goes wrong.
#[derive(Clone, Debug)]
enum Trouble {
    Fault(HostId, Fault),
    Away(HostId),
    Flaps(HostId),
    Forgets(HostId),
    FailsByItself(HostId),
    Health(HostId, Option<HealthStatus>),
    ByHand(HostId),
    Restart,
    RestartAndBack,
    Order(Order),
}

impl Trouble {
    /// All of it, for these hosts.
    fn all(hosts: &[HostId]) -> Vec<Self> {
        let mut all = Self::some(hosts);
        for host in hosts {
            let host = || host.clone();
            all.push(Self::Fault(host(), Fault::GoesBack));
            all.push(Self::Flaps(host()));
            all.push(Self::Health(host(), None));
            all.push(Self::ByHand(host()));
            all.push(Self::Order(Order::Resolve { host: host(), outcome: Resolution::Gone }));
        }
        all.extend([Order::Pause, Order::Promote].map(Self::Order));
        all.push(Self::RestartAndBack);
        all
    }

    /// What is worth to be tried twice.
    fn some(hosts: &[HostId]) -> Vec<Self> {
        let mut some = vec![Self::Restart, Self::Order(Order::Cancel { keep: true }), Self::Order(Order::Rollback)];
        for host in hosts {
            let host = || host.clone();
            some.push(Self::Fault(host(), Fault::Refuses));
            some.push(Self::Fault(host(), Fault::Sticks));
            some.push(Self::Away(host()));
            some.push(Self::Forgets(host()));
            some.push(Self::FailsByItself(host()));
            some.push(Self::Health(host(), Some(HealthStatus::Failed)));
        }
        some
    }

    /// Lets it happen; false where it can't now.
    fn happens(&self, world: &mut World) -> bool {
        match self {
            Self::Fault(host, fault) => {
                let host = world.hosts.get_mut(host).expect("a host");
                host.fault.replace(*fault).is_none()
            }
            Self::Away(host) => {
                let up = world.named(host).up;
                world.disconnect(host);
                up
            }
            Self::Flaps(host) => {
                let up = world.named(host).up;
                world.disconnect(host);
                world.connect(host);
                up
            }
            Self::Forgets(host) => {
                let up = world.named(host).up;
                world.forget(host);
                up
            }
            Self::FailsByItself(host) => world.fails_by_itself(host),
            Self::Health(host, health) => {
                let host = world.hosts.get_mut(host).expect("a host");
                std::mem::replace(&mut host.health, *health) != *health
            }
            Self::ByHand(host) => {
                let free = !world.named(host).detached;
                world.is_detached(host);
                free
            }
            Self::Restart => {
                world.restart();
                true
            }
            Self::RestartAndBack => {
                world.restart();
                for name in world.hosts.keys().cloned().collect::<Vec<_>>() {
                    world.connect(&name);
                }
                true
            }
            Self::Order(order) => world.order(order.clone()).is_none(),
        }
    }
}

/// The histories that were looked at.
struct Search {
    troubles: Vec<Trouble>,
    histories: usize,
}

impl Search {
    /// Every history of this world with so many troubles in it.
    fn explore(&mut self, mut world: World, left: usize, path: &[Trouble]) {
        loop {
            for trouble in self.troubles.clone().iter().filter(|_| left > 0) {
                let mut other = world.clone();
                let path = [path, std::slice::from_ref(trouble)].concat();
                if told(&path, || trouble.happens(&mut other)) {
                    self.explore(other, left - 1, &path);
                }
            }
            if !told(path, || world.step()) {
                break;
            }
        }
        told(path, || {
            world.calm();
            world.check_fences();
        });
        self.histories += 1;
    }
}

/// Does it, and says what had happened when it fails.
fn told<T>(path: &[Trouble], does: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        match why.or_else(|| panic.downcast_ref::<&str>().map(|&why| why.to_owned())) {
            Some(why) if !why.starts_with("after ") => panic!("after {path:?}: {why}"),
            _ => resume_unwind(panic),
        }
    })
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Much {
    /// One thing of all.
    Once,
    /// Two things of some.
    Twice,
    /// Two things of all.
    TwiceOfAll,
}

/// Looks at every history; gives their number.
fn search(hosts: usize, much: Much, change: impl FnOnce(&mut RolloutPolicy)) -> usize {
    let mut request = request();
    request.policy.wave = "50%".parse().expect("a size");
    request.policy.host_timeout = 30 * SECOND;
    request.policy.progress_deadline = 100 * SECOND;
    request.policy.health.retries = 0;
    request.policy.soak = Duration::ZERO;
    change(&mut request.policy);
    let mut world = World::new(hosts, request);
    world.writes = false;
    world.tell(host_core::rollout::Input::Begin);
    assert_eq!(world.rollout.plan().expect("a plan").waves.len(), 2);
    let names: Vec<_> = world.hosts.keys().cloned().collect();
    let troubles = if much == Much::Twice { Trouble::some(&names) } else { Trouble::all(&names) };
    let mut search = Search { troubles, histories: 0 };
    search.explore(world, if much == Much::Once { 1 } else { 2 }, &[]);
    search.histories
}

/// Every policy that decides about failures.
fn policies() -> impl Iterator<Item = impl FnOnce(&mut RolloutPolicy)> {
    let unreachable = [Unreachable::Rollback, Unreachable::Skip, Unreachable::Pause];
    let all = unreachable.into_iter().flat_map(|unreachable| {
        let on_failure = [OnFailure::RollBack, OnFailure::Hold];
        on_failure.into_iter().flat_map(move |on_failure| [0, 1].map(|budget| (unreachable, on_failure, budget)))
    });
    all.map(|(unreachable, on_failure, failure_budget)| {
        move |policy: &mut RolloutPolicy| {
            (policy.unreachable, policy.on_failure, policy.failure_budget) = (unreachable, on_failure, failure_budget);
        }
    })
}

#[test]
fn whatever_goes_wrong_once_at_any_step_ends_well_or_says_so() {
    for policy in policies() {
        let histories = search(3, Much::Once, policy);
        assert!(histories > 500, "{histories} histories are not every one");
    }
}

#[test]
#[ignore = "takes minutes: three million histories"]
fn whatever_of_everything_goes_wrong_twice_under_any_policy_ends_well_or_says_so() {
    for policy in policies() {
        search(2, Much::TwiceOfAll, policy);
    }
}

#[test]
fn whatever_goes_wrong_twice_at_any_steps_ends_well_or_says_so() {
    let histories = search(2, Much::Twice, |_| ());
    assert!(histories > 10_000, "{histories} histories are not every one");
}

#[test]
fn whatever_goes_wrong_twice_at_any_steps_where_unknown_hosts_are_skipped_ends_well_or_says_so() {
    search(2, Much::Twice, |policy| policy.unreachable = Unreachable::Skip);
}
