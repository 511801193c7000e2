//! A fleet of model hosts and the coordinator's machine, with what must hold at every step.

use std::{collections::BTreeMap, time::Duration};

use host_core::{
    fleet::{Assignment, AssignmentChange, FleetHost, FleetRevision, FleetView, Recent, Running, Selector},
    id::{Digest, Epoch, Generation, HostId, RevisionId, RolloutId},
    label::Labels,
    release::Topology,
    rollout::{
        AuditRow, Effect, EventKind, HealthAnswer, Input, Obligation, Order, Part, PartKind, Rollout, State, StateName,
        command::{Action, Command},
        policy::{HealthCheck, RolloutPolicy},
        request::RolloutRequest,
    },
    status::HealthStatus,
    time::UnixNanos,
    trace::TraceContext,
};

use crate::model::{Host, Letter};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn host(name: &str) -> HostId {
    name.parse().expect("a name")
}

pub(crate) fn revision(minor: u64) -> FleetRevision {
    FleetRevision {
        id: RevisionId(minor + 1),
        workload: "chat".parse().expect("a name"),
        version: semver::Version::new(1, minor, 0),
        digest: Digest::new([u8::try_from(minor).expect("small"); 32]),
        listeners: vec!["tcp://127.0.0.1:0".parse().expect("a listener")],
        config: String::new(),
        topology: Topology::Single,
    }
}

/// The rollout's own span.
pub(crate) fn trace() -> TraceContext {
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("a context")
}

pub(crate) fn running(minor: u64, generation: u64) -> Running {
    let FleetRevision { id, version, digest, .. } = revision(minor);
    Running { version, digest, generation: Generation(generation), revision: Some(id) }
}

/// A fleet, and the coordinator's machine as it would be on disk.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) rollout: Rollout,
    pub(crate) hosts: BTreeMap<HostId, Host>,
    pub(crate) assignment: Assignment,
    pub(crate) now: UnixNanos,
    pub(crate) timer: Option<UnixNanos>,
    pub(crate) events: Vec<(EventKind, String)>,
    pub(crate) audit: Vec<AuditRow>,
    /// What is over, as it was told.
    pub(crate) parts: Vec<Part>,
    pub(crate) rejected: Vec<String>,
    pub(crate) epoch: Epoch,
    pub(crate) discovering: bool,
    /// Write and read the machine at each step.
    pub(crate) writes: bool,
    /// The target is what hosts shall run.
    pub(crate) decided: bool,
}

/// A request without a soak, so that time plays no part where a test does not want it to.
pub(crate) fn request() -> RolloutRequest {
    let mut request = RolloutRequest::new(revision(1), "anna");
    request.policy =
        RolloutPolicy { soak: Duration::ZERO, wave: "1".parse().expect("a size"), ..RolloutPolicy::default() };
    request.policy.health.retries = 1;
    request
}

impl World {
    /// So many hosts that run 1.0.0.
    pub(crate) fn new(hosts: usize, request: RolloutRequest) -> Self {
        let mut assignment = Assignment::new(revision(0).workload, Selector::All);
        assignment.stable = Some(revision(0));
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let hosts = names.iter().take(hosts).map(|name| (host(name), Host::new(Some(running(0, 3))))).collect();
        let now = UnixNanos(1_000_000_000_000);
        Self {
            rollout: Rollout::new(RolloutId(7), request.checked().expect("sound"), Epoch(1), now).traced(Some(trace())),
            hosts,
            assignment,
            now,
            timer: None,
            events: Vec::new(),
            audit: Vec::new(),
            parts: Vec::new(),
            rejected: Vec::new(),
            epoch: Epoch(1),
            discovering: false,
            writes: true,
            decided: false,
        }
    }

    /// As [`Self::new`], begun.
    pub(crate) fn begun(hosts: usize, request: RolloutRequest) -> Self {
        let mut world = Self::new(hosts, request);
        world.tell(Input::Begin);
        world
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        self.named(&host(name))
    }

    pub(crate) fn named(&self, name: &HostId) -> &Host {
        self.hosts.get(name).expect("a host")
    }

    pub(crate) fn host_mut(&mut self, name: &str) -> &mut Host {
        self.hosts.get_mut(&host(name)).expect("a host")
    }

    pub(crate) fn view(&self) -> FleetView {
        let hosts = self.hosts.iter().map(|(name, host)| {
            let inventory = Some(host.inventory().of(&revision(0).workload));
            let fleet_host = FleetHost { labels: Labels::default(), connected: host.up, inventory, obliged_to: None };
            (name.clone(), fleet_host)
        });
        FleetView { assignment: self.assignment.clone(), hosts: hosts.collect(), other: None }
    }

    /// Tells the machine something and performs what it asks for.
    pub(crate) fn tell(&mut self, input: Input) {
        let effects = self.rollout.handle(input, self.now);
        for effect in effects {
            self.perform(effect);
        }
        if self.discovering {
            self.discovering = false;
            let view = Box::new(self.view());
            self.tell(Input::Discovered { view });
        }
        self.check_always();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Discover => self.discovering = true,
            Effect::Send { host, command } => self.send(&host, *command),
            Effect::AskHealth { host, ask, check } => {
                assert_ne!(check, HealthCheck::Off, "nobody's word is asked for");
                self.deliver(&host, Letter::Health(ask));
            }
            Effect::AskInventory { host, ask } => self.deliver(&host, Letter::Inventory(ask)),
            Effect::SetTimer { at } => self.timer = Some(at),
            Effect::Emit { event } => self.events.push((event.kind, event.message)),
            Effect::Audit { row } => self.audit.push(row),
            Effect::Ended { part } => self.ended(part),
            Effect::Assignment { change } => {
                if matches!(change, AssignmentChange::Committed { .. } | AssignmentChange::Pinned { .. }) {
                    let unsure = |state: &str| matches!(state, "sent" | "switched");
                    assert!(!self.states().iter().any(|state| unsure(state)), "decided before all are verified");
                    self.decided = true;
                }
                self.assignment.apply(change);
            }
            Effect::Rejected { why } => self.rejected.push(why),
        }
    }

    /// States follow each other without a gap, each command ends once, and so does the whole.
    fn ended(&mut self, part: Part) {
        let same = |other: &&Part| match (&part.what, &other.what) {
            (PartKind::Rollout { .. }, PartKind::Rollout { .. }) => true,
            (PartKind::Command { command, .. }, PartKind::Command { command: other, .. }) => command == other,
            _ => false,
        };
        assert_eq!(self.parts.iter().find(same), None, "it ended before: {part:?}");
        let is_state = |part: &&Part| matches!(part.what, PartKind::State { .. });
        if let (true, Some(before)) = (is_state(&&part), self.parts.iter().rev().find(is_state)) {
            assert_eq!(part.began, before.ended, "{part:?} follows {before:?}");
        }
        assert!(part.began <= part.ended && part.ended <= self.now, "{part:?}");
        self.parts.push(part);
    }

    fn send(&mut self, name: &HostId, command: Command) {
        let span = command.trace.expect("the rollout is traced").span;
        assert_eq!(self.rollout.hosts().get(name).and_then(|record| record.open?.span), Some(span));
        let owed = self.rollout.obligation(name).is_some();
        assert!(!self.rollout.is_over() || owed, "{command:?} after the end, to {name} that is owed nothing");
        assert_eq!(command.epoch, self.epoch);
        assert!(self.decided || !matches!(command.action, Action::Commit), "{name} commits before it is decided");
        if matches!(command.action, Action::Switch { .. }) {
            let records = self.rollout.hosts();
            let wave = records.get(name).map(|record| record.wave);
            let mut under_way = records.values().filter(|record| record.state.as_str() == "sent");
            assert!(under_way.all(|record| Some(record.wave) == wave), "two waves switch at once");
            for (other, record) in self.rollout.hosts() {
                let left_out =
                    record.failure.is_some() || record.resolved.is_some() || record.state.as_str() == "unknown";
                let drifted = matches!(record.state.as_str(), "drifted" | "failed");
                assert!(
                    self.named(other).prepared || left_out || drifted,
                    "{name} switches before {other} has prepared"
                );
            }
        }
        self.deliver(name, Letter::Command(Box::new(command)));
    }

    fn deliver(&mut self, name: &HostId, letter: Letter) {
        let host = self.hosts.get_mut(name).expect("a host");
        assert!(host.up, "{letter:?} to {name}, which is not connected");
        if matches!(letter, Letter::Command(_)) {
            let unanswered = host.inbox.iter().any(|letter| matches!(letter, Letter::Command(_)))
                || host.outbox.iter().any(|input| matches!(input, Input::Outcome { .. }));
            assert!(!unanswered, "{name} gets a second command: {letter:?}");
        }
        host.inbox.push_back(letter);
    }

    /// What holds after each step.
    fn check_always(&self) {
        let rollout = &self.rollout;
        if self.writes {
            let json = serde_json::to_string(rollout).expect("it can be written");
            let back: Rollout = serde_json::from_str(&json).expect("it can be read");
            assert_eq!(&back, rollout, "what was written reads back");
        }
        if let Some(at) = rollout.wakes_at() {
            assert!(at > self.now || self.discovering, "it wakes at once, for ever: {:?}", rollout.state());
            assert_eq!(self.timer, Some(at), "the timer is set to when it wakes");
        }
        if rollout.state().waits_for_a_person() {
            assert!(!rollout.why(self.now).advice.is_empty(), "it waits for a person and does not say for what");
        }
        for (name, record) in rollout.hosts() {
            let host = self.named(name);
            assert!(record.generation.0 <= host.generation, "{name}: the machine knows a generation that never was");
        }
    }

    /// A command of an earlier connection arrives after all. The host says what it runs when that has changed it.
    pub(crate) fn arrives_late(&mut self, name: &HostId) {
        let host = self.hosts.get_mut(name).expect("a host");
        let busy = host.inbox.iter().any(|letter| matches!(letter, Letter::Command(_)));
        let Some(command) = host.late.pop().filter(|_| !busy) else { return };
        let before = host.generation;
        host.act(&command);
        if host.generation != before {
            self.speaks_up(name);
        }
    }

    /// A host comes back after it forgot what became of its last command.
    pub(crate) fn forget(&mut self, name: &HostId) {
        self.disconnect(name);
        self.hosts.get_mut(name).expect("a host").recent.pop();
        self.connect(name);
    }

    /// A connected host says what it runs though nobody asked.
    pub(crate) fn speaks_up(&mut self, name: &HostId) {
        let host = self.hosts.get_mut(name).expect("a host");
        if host.up {
            let inventory = host.inventory();
            host.outbox.push_back(Input::Inventory { host: name.clone(), ask: None, inventory });
        }
    }

    /// A person takes a host out of the fleet's hands and puts something else there.
    pub(crate) fn is_detached(&mut self, name: &HostId) {
        let host = self.hosts.get_mut(name).expect("a host");
        let generation = host.raise();
        (host.detached, host.predecessor) = (true, None);
        host.running = Some(running(9, generation.0));
        self.speaks_up(name);
    }

    /// An answer comes a second time, or one to a command that was never given.
    pub(crate) fn echo(&mut self, name: &HostId, which: usize) {
        let host = self.named(name);
        let Some(recent) = host.recent.get(which % host.recent.len().max(1)).cloned() else { return };
        let open = self.rollout.hosts().get(name).and_then(|record| record.open);
        if open.is_none_or(|open| open.command != recent.command) {
            let before = self.rollout.clone();
            let Recent { command, epoch, outcome } = recent;
            self.tell(Input::Outcome { host: name.clone(), command, epoch, outcome: outcome.clone() });
            let old = Epoch(epoch.0.saturating_sub(1));
            if let Some(open) = open {
                self.tell(Input::Outcome { host: name.clone(), command: open.command, epoch: old, outcome });
            }
            assert_eq!(before.hosts(), self.rollout.hosts(), "an old answer changes nothing");
        }
    }

    /// Everything that is wrong outside is set right, and the rollout goes to its end.
    pub(crate) fn calm(&mut self) {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        for name in &names {
            let host = self.hosts.get_mut(name).expect("a host");
            (host.health, host.fault) = (Some(HealthStatus::Ok), None);
            self.connect(name);
        }
        for _ in 0..20 {
            self.run();
            match self.rollout.state() {
                state if state.is_over() => return self.check_end(),
                State::Paused { .. } => assert_eq!(self.order(Order::Resume), None),
                State::Held { .. } => assert_eq!(self.order(Order::Rollback), None),
                state => panic!("it stands still: {state:?}\n{}", self.rollout.why(self.now)),
            }
        }
        panic!("it does not end: {}", self.rollout.why(self.now));
    }

    /// A command that arrives after the end finds its host out of its reach, unless it does what shall be done anyway.
    pub(crate) fn check_fences(&mut self) {
        let kept = matches!(self.rollout.state(), State::Complete | State::Cancelled { kept: true });
        for name in self.hosts.keys().cloned().collect::<Vec<_>>() {
            let resolved = self.rollout.hosts().get(&name).is_some_and(|record| record.resolved.is_some());
            let before = self.named(&name).generation;
            for _ in 0..self.named(&name).late.len() {
                self.arrives_late(&name);
            }
            let fenced = before == self.named(&name).generation;
            assert!(fenced || kept || resolved, "a late command changed {name} in {:?}", self.rollout.state());
            self.hosts.get_mut(&name).expect("a host").outbox.clear();
        }
    }

    /// What holds when it is over and every host was heard.
    fn check_end(&self) {
        let old = revision(0).digest;
        for (name, record) in self.rollout.hosts() {
            let host = self.named(name);
            let digest = host.running.as_ref().map(|running| running.digest);
            let state = &record.state;
            let owed = self.rollout.obligation(name);
            if record.resolved.is_some() {
                continue;
            }
            match state.as_str() {
                "stuck" => assert!(
                    matches!(owed, Some(Obligation::Resolve)) || self.rollout.state().name() == StateName::Rehearsed,
                    "{name} is stuck and nobody says so: {:?}",
                    self.rollout.state()
                ),
                _ => assert_eq!(owed, None, "{name} is still owed something, {record:?} in {:?}", self.rollout.state()),
            }
            match state.as_str() {
                "committed" => {
                    assert!(self.decided);
                    if !host.detached {
                        assert_eq!((digest, host.predecessor.is_some()), (Some(revision(1).digest), false), "{name}");
                    }
                }
                "rolled-back" | "failed" | "pending" | "prepared" => {
                    assert_eq!((digest, host.predecessor.is_some()), (Some(old), false), "{name} is {state:?}");
                }
                "drifted" => assert!(host.detached, "{name} is {state:?}"),
                "stuck" => {}
                other => panic!("{name} ends as {other}, {record:?} in {:?}", self.rollout.state()),
            }
        }
        let states = self.states();
        match self.rollout.state() {
            State::Complete | State::Cancelled { kept: true } => assert!(self.decided),
            State::RollbackIncomplete { .. } => {
                assert!(states.iter().any(|state| state == "stuck"), "{states:?}");
            }
            _ => assert!(!self.decided && !states.iter().any(|state| state == "stuck"), "{states:?}"),
        }
        assert_eq!(self.assignment.target, None, "the target is dropped or stable");
    }

    /// A host takes the next letter and answers it.
    pub(crate) fn host_acts(&mut self, name: &HostId) -> bool {
        let host = self.hosts.get_mut(name).expect("a host");
        let Some(letter) = host.inbox.pop_front() else { return false };
        let answer = match letter {
            Letter::Command(command) => {
                let outcome = host.act(&command);
                Input::Outcome { host: name.clone(), command: command.id, epoch: command.epoch, outcome }
            }
            Letter::Inventory(ask) => {
                Input::Inventory { host: name.clone(), ask: Some(ask), inventory: host.inventory() }
            }
            Letter::Health(ask) => {
                let answer = match (host.health, &host.running) {
                    (Some(status), Some(running)) => HealthAnswer::Known {
                        status,
                        generation: running.generation,
                        digest: running.digest,
                        details: vec![("uptime".to_owned(), "3s".to_owned())],
                    },
                    _ => HealthAnswer::Unknown { why: "the guest is busy".to_owned() },
                };
                Input::Health { host: name.clone(), ask, answer }
            }
        };
        host.outbox.push_back(answer);
        true
    }

    /// The coordinator takes the next answer of a host.
    pub(crate) fn host_is_heard(&mut self, name: &HostId) -> bool {
        let Some(input) = self.hosts.get_mut(name).and_then(|host| host.outbox.pop_front()) else { return false };
        self.tell(input);
        true
    }

    pub(crate) fn disconnect(&mut self, name: &HostId) {
        let host = self.hosts.get_mut(name).expect("a host");
        if host.up {
            host.cut_off();
            self.tell(Input::Disconnected { host: name.clone() });
        }
    }

    pub(crate) fn connect(&mut self, name: &HostId) {
        let host = self.hosts.get_mut(name).expect("a host");
        if !host.up {
            host.up = true;
            let inventory = host.inventory();
            self.tell(Input::Connected { host: name.clone(), inventory });
        }
    }

    /// A host connects again before the end of its connection was noticed.
    pub(crate) fn connect_again(&mut self, name: &HostId) {
        self.hosts.get_mut(name).expect("a host").cut_off();
        self.connect(name);
    }

    /// A host's probation fails by itself, if it is on one.
    pub(crate) fn fails_by_itself(&mut self, name: &HostId) -> bool {
        let host = self.hosts.get_mut(name).expect("a host");
        if host.predecessor.is_none() {
            return false;
        }
        host.go_back();
        let input = Input::LocalFailure {
            host: name.clone(),
            generation: Generation(host.generation),
            running: host.running.clone(),
            why: "it trapped on its probation".to_owned(),
        };
        if host.up {
            host.outbox.push_back(input);
        }
        true
    }

    /// The coordinator dies and starts again with what is on disk.
    pub(crate) fn restart(&mut self) {
        self.epoch = Epoch(self.epoch.0 + 1);
        let json = serde_json::to_string(&self.rollout).expect("it can be written");
        self.rollout = serde_json::from_str(&json).expect("it can be read");
        self.timer = None;
        for host in self.hosts.values_mut() {
            host.cut_off();
        }
        let epoch = self.epoch;
        self.tell(Input::Recovered { epoch });
    }

    pub(crate) fn order(&mut self, order: Order) -> Option<String> {
        let before = self.rejected.len();
        self.tell(Input::Order { by: "ben".to_owned(), order });
        self.rejected.get(before).cloned()
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.tell(Input::Tick);
    }

    /// The next thing that happens when nothing goes wrong; false at the end.
    pub(crate) fn step(&mut self) -> bool {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        if names.iter().any(|name| self.host_acts(name) || self.host_is_heard(name)) {
            return true;
        }
        let Some(at) = self.rollout.wakes_at().filter(|_| !self.rollout.is_over()) else { return false };
        self.now = self.now.max(at);
        self.tell(Input::Tick);
        true
    }

    /// Nothing travels.
    pub(crate) fn is_idle(&self) -> bool {
        self.hosts.values().all(|host| host.inbox.is_empty() && host.outbox.is_empty())
    }

    /// Every letter is answered and every answer heard.
    pub(crate) fn settle(&mut self) {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        while names.iter().any(|name| self.host_acts(name) || self.host_is_heard(name)) {}
    }

    /// Goes on, timers included, until it is over or waits for a person or a host.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not end: {}", self.rollout.why(self.now));
    }

    pub(crate) fn states(&self) -> Vec<String> {
        self.rollout.hosts().values().map(|record| record.state.as_str().to_owned()).collect()
    }
}
