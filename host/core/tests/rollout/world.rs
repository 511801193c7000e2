//! Hosts as a rollout meets them: each takes commands in order, writes down what it did, and can be cut off or killed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use host_core::{
    fleet::{
        Assignment, AssignmentChange, Busy, FleetHost, FleetRevision, FleetView, HostInventory, Recent, Running,
        Selector, WorkloadInventory,
    },
    id::{CommandId, Digest, Epoch, Generation, HostId, QuestionId, RevisionId, RolloutId},
    label::Labels,
    plan::WayBack,
    release::Topology,
    rollout::{
        AuditRow, Effect, EventKind, HealthAnswer, Input, Order, Rollout,
        command::{Action, Command, Measured, Outcome},
        policy::{HealthCheck, RolloutPolicy},
        request::RolloutRequest,
    },
    status::{HealthStatus, RunState},
    time::UnixNanos,
};

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

pub(crate) fn running(minor: u64, generation: u64) -> Running {
    let FleetRevision { id, version, digest, .. } = revision(minor);
    Running { version, digest, generation: Generation(generation), revision: Some(id) }
}

/// What a host does next instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It refuses the command; nothing changes.
    Refuses,
    /// It switches, and its own check fails: it goes back.
    GoesBack,
    /// It can go neither way.
    Sticks,
}

/// What travels to a host.
#[derive(Clone, Debug)]
enum Letter {
    Command(Command),
    Inventory(QuestionId),
    Health(QuestionId),
}

/// A host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) running: Option<Running>,
    /// The held predecessor; the inner none where nothing was there.
    pub(crate) predecessor: Option<Option<Running>>,
    pub(crate) generation: u64,
    pub(crate) up: bool,
    pub(crate) detached: bool,
    pub(crate) health: Option<HealthStatus>,
    pub(crate) fault: Option<Fault>,
    pub(crate) commands: Vec<Action>,
    pub(crate) ever_switched: bool,
    pub(crate) prepared: bool,
    highest: (Epoch, CommandId),
    recent: Vec<Recent>,
    inbox: VecDeque<Letter>,
    outbox: VecDeque<Input>,
}

impl Host {
    fn new(running: Option<Running>) -> Self {
        Self {
            generation: running.as_ref().map_or(0, |running| running.generation.0),
            running,
            predecessor: None,
            up: true,
            detached: false,
            health: Some(HealthStatus::Ok),
            fault: None,
            commands: Vec::new(),
            ever_switched: false,
            prepared: false,
            highest: (Epoch(0), CommandId(0)),
            recent: Vec::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    pub(crate) fn inventory(&self) -> HostInventory {
        let busy = self.inbox.iter().find_map(|letter| match letter {
            Letter::Command(command) => Some(Busy::Command(command.id)),
            _ => None,
        });
        let workload = WorkloadInventory {
            running: self.running.clone(),
            run_state: self.running.as_ref().map(|_| RunState::Running),
            held: self.predecessor.is_some(),
            busy,
            detached: self.detached,
            recent: self.recent.clone(),
        };
        HostInventory { workloads: [(revision(0).workload, workload)].into() }
    }

    fn raise(&mut self) -> Generation {
        self.generation += 1;
        Generation(self.generation)
    }

    /// Acts on a command, as a host must: dated ones are refused, recorded ones answered as before.
    fn act(&mut self, command: &Command) -> Outcome {
        if let Some(recent) = self.recent.iter().find(|recent| recent.command == command.id) {
            return recent.outcome.clone();
        }
        if (command.epoch, command.id) < self.highest {
            return Outcome::Refused { why: "a later command was seen".to_owned() };
        }
        self.highest = (command.epoch, command.id);
        self.commands.push(command.action.clone());
        let outcome = self.perform(command);
        self.recent.push(Recent { command: command.id, epoch: command.epoch, outcome: outcome.clone() });
        outcome
    }

    fn perform(&mut self, command: &Command) -> Outcome {
        let fits = match (&command.expected, &self.running) {
            (Some(expected), Some(running)) => {
                expected.digest == running.digest && expected.generation == running.generation
            }
            (expected, running) => expected.is_none() && running.is_none(),
        };
        if let Action::RollBack { to, .. } = &command.action {
            return self.roll_back(to.as_ref(), fits);
        }
        if !fits || self.detached {
            return Outcome::Refused { why: "something else runs here".to_owned() };
        }
        let fault = self.fault.take();
        match (&command.action, fault) {
            (_, Some(Fault::Refuses)) => Outcome::Refused { why: "chance".to_owned() },
            (Action::Prepare { .. }, _) => {
                self.prepared = true;
                Outcome::Prepared { way_back: Some(WayBack::Downgrade), notes: Vec::new() }
            }
            (Action::Switch { .. }, Some(Fault::GoesBack)) => {
                self.ever_switched = true;
                self.raise();
                let generation = self.running.is_some().then(|| self.raise());
                if let (Some(running), Some(generation)) = (&mut self.running, generation) {
                    running.generation = generation;
                }
                Outcome::RolledBack { generation, why: "the smoke check failed".to_owned() }
            }
            (Action::Switch { revision, .. }, fault) => {
                self.ever_switched = true;
                let generation = self.raise();
                let new = Running {
                    version: revision.version.clone(),
                    digest: revision.digest,
                    generation,
                    revision: Some(revision.id),
                };
                self.predecessor = Some(self.running.replace(new));
                match fault {
                    Some(Fault::Sticks) => Outcome::Stuck { why: "no way led back".to_owned() },
                    _ => Outcome::Switched { generation, measured: Measured::default() },
                }
            }
            (Action::Commit, _) => {
                self.predecessor = None;
                Outcome::Committed { generation: Generation(self.generation) }
            }
            (Action::RollBack { .. }, _) => unreachable!("handled above"),
        }
    }

    fn roll_back(&mut self, to: Option<&Running>, fits: bool) -> Outcome {
        let there = match (&self.running, to) {
            (Some(running), Some(to)) => running.same_as(to),
            (running, to) => running.is_none() && to.is_none(),
        };
        if there {
            let generation = self.running.as_ref().map(|running| running.generation);
            return Outcome::RolledBack { generation, why: "it runs already".to_owned() };
        }
        if !fits || self.detached {
            return Outcome::Refused { why: "something else runs here".to_owned() };
        }
        if self.fault.take().is_some() || self.predecessor.is_none() {
            return Outcome::Stuck { why: "no way led back".to_owned() };
        }
        self.go_back();
        let generation = self.running.as_ref().map(|running| running.generation);
        Outcome::RolledBack { generation, why: "as it was told".to_owned() }
    }

    /// The predecessor serves again.
    fn go_back(&mut self) {
        let generation = self.raise();
        if let Some(before) = self.predecessor.take() {
            self.running = before.map(|before| Running { generation, ..before });
        }
    }
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
    pub(crate) rejected: Vec<String>,
    pub(crate) epoch: Epoch,
    pub(crate) discovering: bool,
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
            rollout: Rollout::new(RolloutId(7), request.checked().expect("sound"), Epoch(1), now),
            hosts,
            assignment,
            now,
            timer: None,
            events: Vec::new(),
            audit: Vec::new(),
            rejected: Vec::new(),
            epoch: Epoch(1),
            discovering: false,
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

    fn send(&mut self, name: &HostId, command: Command) {
        let owed = self.rollout.obligation(name).is_some();
        assert!(!self.rollout.is_over() || owed, "{command:?} after the end, to {name} that is owed nothing");
        assert_eq!(command.epoch, self.epoch);
        assert!(self.decided || !matches!(command.action, Action::Commit), "{name} commits before it is decided");
        if matches!(command.action, Action::Switch { .. }) {
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
        self.deliver(name, Letter::Command(command));
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
        let json = serde_json::to_string(rollout).expect("it can be written");
        let back: Rollout = serde_json::from_str(&json).expect("it can be read");
        assert_eq!(&back, rollout, "what was written reads back");
        if let Some(at) = rollout.wakes_at() {
            assert!(at > self.now || self.discovering, "it wakes at once, for ever: {:?}", rollout.state());
            assert_eq!(self.timer, Some(at), "the timer is set to when it wakes");
        }
        let limit = rollout.plan().map_or(0, |plan| plan.waves.iter().map(Vec::len).max().unwrap_or(0));
        let under_way = rollout.hosts().values().filter(|record| record.state.as_str() == "sent").count();
        assert!(under_way <= limit, "{under_way} hosts switch at once, and a wave has {limit}");
        if rollout.state().waits_for_a_person() {
            assert!(!rollout.why(self.now).advice.is_empty(), "it waits for a person and does not say for what");
        }
        for (name, record) in rollout.hosts() {
            let host = self.named(name);
            assert!(record.generation.0 <= host.generation, "{name}: the machine knows a generation that never was");
        }
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
            host.up = false;
            host.inbox.clear();
            host.outbox.clear();
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
        for host in self.hosts.values_mut() {
            host.up = false;
            host.inbox.clear();
            host.outbox.clear();
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

    /// Every letter is answered and every answer heard.
    pub(crate) fn settle(&mut self) {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        while names.iter().any(|name| self.host_acts(name) || self.host_is_heard(name)) {}
    }

    /// Goes on, timers included, until it is over or waits for a person or a host.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            self.settle();
            let Some(at) = self.rollout.wakes_at().filter(|_| !self.rollout.is_over()) else { return };
            self.now = self.now.max(at);
            self.tell(Input::Tick);
        }
        panic!("it does not end: {}", self.rollout.why(self.now));
    }

    pub(crate) fn states(&self) -> Vec<String> {
        self.rollout.hosts().values().map(|record| record.state.as_str().to_owned()).collect()
    }
}
