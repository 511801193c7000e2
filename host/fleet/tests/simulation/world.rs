//! The world: coordinators, hosts, and the network between them, on virtual time, one event after the other.

use std::{collections::BTreeMap, time::Duration};

use host_core::{
    id::{CommandId, Digest, Epoch, HostId, RolloutId, WorkloadName},
    rollout::{
        HealthAnswer,
        command::{Action, Command, Outcome},
        request::Source,
    },
    status::HealthStatus,
    time::UnixNanos,
};
use host_fleet::{
    agent::Known,
    coordinator::{Coordinator, Input, SessionId, Step},
    join::MemberRecord,
    operator::Ask,
    protocol::{Down, Task, Up},
    store::{ReleaseRecord, Store as _},
};
use semver::Version;

use crate::{
    chance::Chance,
    checks::Checks,
    host::{Host, Release, Work},
    store::Memory,
};

/// What is broken on purpose, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    Nothing,
    /// A step's words leave before it is written.
    SendsBeforePersisting,
    /// The store takes the commits of an older coordinator.
    StoreDoesNotFence,
    /// Hosts act on commands of an older epoch.
    HostsIgnoreEpochs,
    /// Hosts act on a command that comes twice.
    HostsRepeat,
    /// A host that did not answer before its session ended counts as failed.
    UnknownIsFailed,
    /// A held probation ends after a while by itself, with the new release.
    ProbationEnds,
}

#[derive(Debug)]
pub(crate) enum Event {
    Down {
        session: SessionId,
        word: Down,
    },
    Up {
        session: SessionId,
        word: Up,
    },
    /// The host notices that its session is over.
    HostLoses {
        session: SessionId,
    },
    /// The coordinator notices.
    CoordinatorLoses {
        session: SessionId,
    },
    Dial {
        host: usize,
    },
    Done {
        host: usize,
        life: u32,
    },
    Look {
        host: usize,
        life: u32,
    },
    /// A command comes once more, or late, past all sessions.
    Again {
        host: usize,
        command: Box<Command>,
    },
    /// The host dies in the middle of what it does.
    Kill {
        host: usize,
        life: u32,
    },
    Reboot {
        host: usize,
    },
    Heal {
        host: usize,
    },
    Start,
    Resume {
        process: usize,
    },
    /// A coordinator that was superseded learns it at last, also when it has nothing to write.
    LeaseEnds {
        process: usize,
    },
    ProbationEnds {
        host: usize,
        life: u32,
        generation: u64,
    },
}

struct Session {
    host: usize,
    process: usize,
    /// Nothing goes through any more.
    cut: bool,
    down_at: UnixNanos,
    up_at: UnixNanos,
    /// Told, and not answered as far as the coordinator has heard.
    open: Option<(CommandId, Epoch)>,
}

struct Process {
    coordinator: Coordinator,
    epoch: Epoch,
    alive: bool,
    paused: bool,
    backlog: Vec<Input>,
    /// Committed, and the process was paused before it was sent.
    unsent: Vec<(SessionId, Down)>,
}

pub(crate) struct World {
    pub(crate) now: UnixNanos,
    pub(crate) chance: Chance,
    pub(crate) store: Memory,
    pub(crate) hosts: Vec<Host>,
    pub(crate) checks: Checks,
    pub(crate) troubles: bool,
    /// Which troubles came, and how often.
    pub(crate) met: BTreeMap<&'static str, u32>,
    sabotage: Sabotage,
    processes: Vec<Process>,
    sessions: BTreeMap<SessionId, Session>,
    queue: BTreeMap<(UnixNanos, u64), Event>,
    planned: u64,
}

pub(crate) fn workload() -> WorkloadName {
    "chat".parse().expect("a name")
}

pub(crate) fn release(minor: u8) -> ReleaseRecord {
    let digest = Digest::new([minor; 32]);
    let (version, published) = (Version::new(1, u64::from(minor), 0), UnixNanos(0));
    ReleaseRecord { workload: workload(), version, digest, size_bytes: Some(1), from: None, published }
}

fn member(host: &HostId) -> MemberRecord {
    let key = Digest::new([7; 32]).to_string();
    serde_json::from_value(serde_json::json!({
        "kind": "host", "name": host, "key": key, "labels": [], "token": "0011223344556677", "at": 0
    }))
    .expect("a member")
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut chance = Chance::new(seed);
        let count = 3 + chance.below(3);
        let names = ["a", "b", "c", "d", "e"].iter().take(usize::try_from(count).expect("small"));
        let hosts: Vec<_> = names.map(|name| Host::new(name.parse().expect("a name"), workload())).collect();
        let mut store = Memory::default();
        store.fences = sabotage != Sabotage::StoreDoesNotFence;
        store.members = hosts.iter().map(|host| member(&host.name)).collect();
        let mut world = Self {
            now: UnixNanos(1_000_000_000_000),
            chance,
            store,
            hosts,
            checks: Checks::default(),
            troubles: false,
            met: BTreeMap::new(),
            sabotage,
            processes: Vec::new(),
            sessions: BTreeMap::new(),
            queue: BTreeMap::new(),
            planned: 0,
        };
        world.start();
        for host in 0..world.hosts.len() {
            world.plan(Duration::ZERO, Event::Dial { host });
        }
        world
    }

    pub(crate) fn plan(&mut self, after: Duration, event: Event) {
        self.plan_at(self.now.after(after), event);
    }

    fn plan_at(&mut self, at: UnixNanos, event: Event) {
        self.planned += 1;
        self.queue.insert((at, self.planned), event);
    }

    fn meet(&mut self, trouble: &'static str) {
        *self.met.entry(trouble).or_default() += 1;
    }

    fn host(&mut self, host: usize) -> &mut Host {
        self.hosts.get_mut(host).expect("a host")
    }

    fn process(&mut self, process: usize) -> &mut Process {
        self.processes.get_mut(process).expect("a process")
    }

    /// Lets time pass until then.
    pub(crate) fn run_until(&mut self, end: UnixNanos) {
        let mut at_once = 0;
        loop {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let awake = self.processes.iter().filter(|process| process.alive && !process.paused);
            let wakes = awake.filter_map(|process| process.coordinator.wakes_at()).min();
            let Some(next) = event.into_iter().chain(wakes).min().filter(|at| *at <= end) else { break };
            at_once = if next > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 10_000, "something goes round in circles");
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                let (_, event) = self.queue.pop_first().expect("one is there");
                self.happen(event);
            }
            for process in 0..self.processes.len() {
                let now = self.now;
                if self.process(process).coordinator.wakes_at().is_some_and(|at| at <= now) {
                    self.give(process, Input::Tick);
                }
            }
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(self.now.after(time));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Down { session, word } => self.arrive_down(session, word),
            Event::Up { session, word } => self.arrive_up(session, word),
            Event::HostLoses { session } => self.host_loses(session),
            Event::CoordinatorLoses { session } => {
                let Some(known) = self.sessions.remove(&session) else { return };
                if let (Sabotage::UnknownIsFailed, Some((command, epoch))) = (self.sabotage, known.open) {
                    let outcome = Outcome::Refused { why: "it did not answer".to_owned() };
                    self.give(known.process, Input::Heard { session, up: Up::Outcome { command, epoch, outcome } });
                }
                self.give(known.process, Input::Closed { session });
            }
            Event::Dial { host } => self.dial(host),
            Event::Done { host, life } => self.done(host, life),
            Event::Look { host, life } => self.look(host, life),
            Event::Again { host, command } => {
                if self.host(host).up {
                    self.meet("a command that comes again");
                    self.command(host, command);
                }
            }
            Event::Kill { host, life } => {
                if self.host(host).life == life && self.host(host).doing.is_some() {
                    self.kill(host);
                }
            }
            Event::Reboot { host } => self.reboot(host),
            Event::Heal { host } => self.host(host).cut_off = false,
            Event::Start => self.start(),
            Event::Resume { process } => self.resume(process),
            Event::LeaseEnds { process } => self.crash(process),
            Event::ProbationEnds { host, life, generation } => {
                let known = self.host(host);
                if known.life == life && known.generation == generation && known.predecessor.is_some() {
                    known.predecessor = None;
                    self.check_host(host);
                }
            }
        }
    }

    // Coordinators.

    pub(crate) fn start(&mut self) {
        let now = self.now;
        let epoch = self.store.begin(now).expect("in memory");
        let loaded = self.store.load().expect("in memory");
        let (coordinator, first) = Coordinator::begin(epoch, loaded, now).expect("as it was written");
        let process =
            Process { coordinator, epoch, alive: true, paused: false, backlog: Vec::new(), unsent: Vec::new() };
        self.processes.push(process);
        self.perform(self.processes.len() - 1, first);
    }

    /// Asks the newest coordinator, as an operator.
    pub(crate) fn ask(&mut self, ask: Ask) {
        let newest = self.processes.len() - 1;
        self.give(newest, Input::Asked { by: "anna".to_owned(), ask });
    }

    pub(crate) fn publish(&mut self, release: ReleaseRecord) {
        let newest = self.processes.len() - 1;
        self.give(newest, Input::Published { by: "anna".to_owned(), release });
    }

    fn give(&mut self, process: usize, input: Input) {
        let now = self.now;
        let known = self.process(process);
        if !known.alive {
            return;
        }
        if known.paused {
            if !matches!(input, Input::Tick) {
                known.backlog.push(input);
            }
            return;
        }
        let step = known.coordinator.handle(input, now);
        self.perform(process, step);
    }

    /// Persist, then send: with all that can go wrong in between.
    fn perform(&mut self, process: usize, step: Step) {
        let epoch = self.process(process).epoch;
        let Step { changes, sends, ends, .. } = step;
        if self.sabotage == Sabotage::SendsBeforePersisting {
            self.send(process, sends.clone());
        }
        let troubled = self.troubles && !changes.is_empty();
        if troubled && self.chance.in_thousand(4) {
            self.meet("a coordinator that dies before it writes");
            return self.crash(process);
        }
        if !changes.is_empty() {
            let (begun, told) = (changes.clone(), sends.clone());
            if self.store.commit(epoch, self.now, changes).is_err() {
                self.meet("a commit that is fenced");
                return self.crash(process);
            }
            self.checks.committed(&self.store, epoch, &begun, &told);
        }
        // It committed, and died of it; or was told that it had not: both end it before anything is sent.
        if troubled && self.chance.in_thousand(8) {
            self.meet("a coordinator that dies when it has written");
            return self.crash(process);
        }
        if troubled && self.chance.in_thousand(3) {
            self.meet("a coordinator that stands still when it has written");
            self.process(process).unsent = sends;
            return self.pause(process);
        }
        if self.sabotage != Sabotage::SendsBeforePersisting {
            self.send(process, sends);
        }
        for session in ends {
            self.cut(session);
        }
    }

    fn send(&mut self, process: usize, sends: Vec<(SessionId, Down)>) {
        for (session, word) in sends {
            if let Down::Command { command } = &word {
                self.checks.leaves(&self.store, command);
            }
            let delay = self.delay();
            let now = self.now;
            let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.cut && known.process == process)
            else {
                continue;
            };
            known.down_at = known.down_at.max(now.after(delay));
            let (at, host) = (known.down_at, known.host);
            if let Down::Command { command } = &word {
                known.open = Some((command.id, command.epoch));
                if self.troubles && self.chance.in_thousand(150) {
                    let late = self.chance.millis(0, 40_000);
                    self.plan(late, Event::Again { host, command: command.clone() });
                    // Its session dies under it: what comes late is all that comes.
                    if self.chance.in_thousand(250) {
                        self.meet("a command that comes only past its session");
                        self.cut(session);
                        continue;
                    }
                }
            }
            self.plan_at(at, Event::Down { session, word });
        }
    }

    /// On its way: mostly quick, now and then not.
    fn delay(&mut self) -> Duration {
        let slow = self.troubles && self.chance.in_thousand(50);
        if slow { self.chance.millis(100, 8_000) } else { self.chance.millis(1, 20) }
    }

    pub(crate) fn crash(&mut self, process: usize) {
        if !std::mem::replace(&mut self.process(process).alive, false) {
            return;
        }
        let of_it: Vec<_> =
            self.sessions.iter().filter(|(_, known)| known.process == process).map(|(id, _)| *id).collect();
        for session in of_it {
            self.cut(session);
        }
        if process + 1 == self.processes.len() {
            let after = self.chance.millis(100, 20_000);
            self.plan(after, Event::Start);
        }
    }

    /// The process stands still; another takes over, and it comes back later.
    fn pause(&mut self, process: usize) {
        self.process(process).paused = true;
        let newest = process + 1 == self.processes.len();
        let (over, back) = (self.chance.millis(500, 10_000), self.chance.millis(100, 30_000));
        if newest {
            self.plan(over, Event::Start);
        }
        self.plan(back, Event::Resume { process });
        // Hosts give up their silent sessions sooner or later.
        let of_it: Vec<_> =
            self.sessions.iter().filter(|(_, known)| known.process == process).map(|(id, _)| *id).collect();
        for session in of_it {
            let notices = self.chance.millis(100, 20_000);
            self.plan(notices, Event::HostLoses { session });
        }
    }

    fn resume(&mut self, process: usize) {
        if !std::mem::replace(&mut self.process(process).paused, false) {
            return;
        }
        let unsent = std::mem::take(&mut self.process(process).unsent);
        self.send(process, unsent);
        for input in std::mem::take(&mut self.process(process).backlog) {
            self.give(process, input);
        }
        if process + 1 < self.processes.len() {
            let ends = self.chance.millis(100, 60_000);
            self.plan(ends, Event::LeaseEnds { process });
        }
    }

    /// The newest coordinator dies or stands still.
    pub(crate) fn strike_coordinator(&mut self) {
        let newest = self.processes.len() - 1;
        if !self.process(newest).alive || self.process(newest).paused {
            return;
        }
        if self.chance.in_thousand(500) { self.crash(newest) } else { self.pause(newest) }
    }

    // The network.

    fn dial(&mut self, host: usize) {
        let known = self.host(host);
        if !known.up || known.session.is_some() {
            return;
        }
        let there: Vec<_> = (0..self.processes.len())
            .filter(|process| self.processes.get(*process).is_some_and(|process| process.alive && !process.paused))
            .collect();
        if self.host(host).cut_off || there.is_empty() {
            return self.plan(Duration::from_secs(1), Event::Dial { host });
        }
        let process = self.chance.of(&there);
        let id = SessionId(self.planned + 1);
        let (now, open) = (self.now, None);
        self.sessions.insert(id, Session { host, process, cut: false, down_at: now, up_at: now, open });
        let known = self.host(host);
        known.session = Some(id);
        known.confessed = known.left();
        let (boot, inventory, left) = (known.life, known.inventory(), known.confessed.clone().into_iter().collect());
        let hello = Up::Hello { host_version: "1.0.0".to_owned(), boot, inventory, left };
        self.say(host, hello);
        let life = self.host(host).life;
        self.plan(Duration::from_millis(20), Event::Look { host, life });
    }

    fn say(&mut self, host: usize, word: Up) {
        if let Up::Outcome { command, outcome, .. } = &word {
            let name = self.host(host).name.clone();
            self.checks.answers(&name, *command, outcome);
        }
        let delay = self.delay();
        let now = self.now;
        let Some(session) = self.host(host).session else { return };
        let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.cut) else { return };
        known.up_at = known.up_at.max(now.after(delay));
        let at = known.up_at;
        self.plan_at(at, Event::Up { session, word });
    }

    pub(crate) fn cut(&mut self, session: SessionId) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        if std::mem::replace(&mut known.cut, true) {
            return;
        }
        let (host, coordinator) = (self.chance.millis(1, 5_000), self.chance.millis(1, 10_000));
        self.plan(host, Event::HostLoses { session });
        self.plan(coordinator, Event::CoordinatorLoses { session });
    }

    fn host_loses(&mut self, session: SessionId) {
        let Some(host) = self.hosts.iter().position(|host| host.session == Some(session)) else { return };
        let known = self.host(host);
        known.session = None;
        known.waiting.clear();
        self.cut(session);
        let again = self.chance.millis(100, 5_000);
        self.plan(again, Event::Dial { host });
    }

    fn arrive_up(&mut self, session: SessionId, word: Up) {
        let Some(known) = self.sessions.get_mut(&session).filter(|known| !known.cut) else { return };
        if matches!(&word, Up::Outcome { command, .. } if known.open.is_some_and(|open| open.0 == *command)) {
            known.open = None;
        }
        let (host, process) = (known.host, known.process);
        let input = match word {
            hello @ Up::Hello { .. } => Input::Opened { session, host: self.host(host).name.clone(), hello },
            up => Input::Heard { session, up },
        };
        self.give(process, input);
    }

    fn arrive_down(&mut self, session: SessionId, word: Down) {
        let Some(known) = self.sessions.get(&session).filter(|known| !known.cut) else { return };
        let host = known.host;
        if self.host(host).session != Some(session) {
            return;
        }
        match word {
            Down::Welcome { epoch, .. } => {
                let newest = self.host(host).journal.welcome(epoch).expect("a journal");
                if !newest && self.sabotage != Sabotage::HostsIgnoreEpochs {
                    self.host_loses(session);
                } else {
                    let known = self.host(host);
                    if let Some(failure) = known.confessed.take() {
                        known.told(&failure);
                    }
                    let name = known.name.clone();
                    self.checks.welcomed(&name, epoch);
                }
            }
            Down::Command { command } => self.command(host, command),
            Down::Upkeep { upkeep } => self.queue_work(host, Work::Upkeep(upkeep)),
            Down::AskInventory { question } => {
                let inventory = self.host(host).inventory();
                self.say(host, Up::Inventory { question, inventory });
            }
            Down::AskHealth { rollout, ask, .. } => self.health(host, rollout, ask),
            Down::Farewell { .. } => self.host_loses(session),
        }
    }

    fn health(&mut self, host: usize, rollout: RolloutId, ask: host_core::id::QuestionId) {
        let odd = self.troubles && self.chance.in_thousand(60);
        let unknown = odd && self.chance.in_thousand(500);
        let known = self.host(host);
        let answer = match &known.running {
            Some(release) if !unknown => {
                let ill = odd || (known.ill && *release == of(2));
                let status = if ill { HealthStatus::Failed } else { HealthStatus::Ok };
                let (generation, digest) = (known.generation(), release.digest);
                HealthAnswer::Known { status, generation, digest, details: Vec::new() }
            }
            _ => HealthAnswer::Unknown { why: "nobody knows".to_owned() },
        };
        self.say(host, Up::Health { rollout, ask, answer });
    }

    // Hosts.

    fn command(&mut self, host: usize, command: Box<Command>) {
        let known = self.host(host);
        let mut found = known.journal.known(command.id, command.epoch, &command.workload).expect("a journal");
        let again = matches!(found, Known::Done(_) | Known::Begun);
        let stale_epoch = matches!(&found, Known::Stale { why } if why.contains("epoch"));
        if (again && self.sabotage == Sabotage::HostsRepeat)
            || (stale_epoch && self.sabotage == Sabotage::HostsIgnoreEpochs)
        {
            found = Known::New;
        }
        let outcome = match found {
            Known::New => return self.queue_work(host, Work::Command(command)),
            Known::Begun => return,
            Known::Done(outcome) => outcome,
            Known::Stale { why } => Outcome::Refused { why },
        };
        self.say(host, Up::Outcome { command: command.id, epoch: command.epoch, outcome });
    }

    fn queue_work(&mut self, host: usize, work: Work) {
        let now = self.now;
        // One that waits already is not in the journal yet; the host's lane begins it once.
        let known = self.host(host);
        known.waiting.push_back((work, now));
        self.next(host);
    }

    fn next(&mut self, host: usize) {
        let repeats = self.sabotage == Sabotage::HostsRepeat;
        let known = self.host(host);
        if known.doing.is_some() {
            return;
        }
        let Some((work, arrived)) = known.waiting.pop_front() else { return };
        if let Work::Command(command) = &work {
            let begun = known.journal.begin(command);
            if begun.is_err() && !repeats {
                // The same was written down meanwhile: it is not acted on again.
                return self.next(host);
            }
            let name = self.host(host).name.clone();
            self.checks.begins(&name, command);
        }
        let most = u64::try_from(Host::takes(&work).as_millis()).expect("short");
        let mut takes = self.chance.millis(10, most);
        if self.troubles && self.chance.in_thousand(30) {
            takes += self.chance.millis(1_000, 60_000);
        }
        if let Work::Command(command) = &work
            && self.now.since(arrived) > command.time_to_live
        {
            takes = Duration::ZERO;
        }
        let known = self.host(host);
        known.doing = Some(work);
        let life = known.life;
        self.plan(takes, Event::Done { host, life });
        if self.troubles && self.chance.in_thousand(30) {
            self.plan(takes / 2, Event::Kill { host, life });
        }
    }

    fn done(&mut self, host: usize, life: u32) {
        let fails = self.troubles && self.chance.in_thousand(15);
        if self.host(host).life != life {
            return;
        }
        let Some(work) = self.host(host).doing.take() else { return };
        let word = match work {
            Work::Command(command) => {
                let outcome = self.host(host).perform(&command, false, fails);
                self.host(host).end(&command, &outcome);
                self.after_command(host, &outcome);
                Up::Outcome { command: command.id, epoch: command.epoch, outcome }
            }
            Work::Upkeep(upkeep) => {
                let failed = if fails { Some("chance".to_owned()) } else { self.host(host).keep_up(&upkeep).err() };
                Up::Upkept { id: upkeep.id, workload: upkeep.workload, failed }
            }
        };
        self.check_host(host);
        self.next(host);
        let inventory = self.host(host).inventory();
        self.say(host, Up::Inventory { question: None, inventory });
        self.say(host, word);
    }

    fn after_command(&mut self, host: usize, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Switched { .. }) {
            return;
        }
        let (life, generation) = (self.host(host).life, self.host(host).generation);
        if self.sabotage == Sabotage::ProbationEnds {
            self.plan(Duration::from_secs(8), Event::ProbationEnds { host, life, generation });
        }
        if self.troubles && self.chance.in_thousand(20) {
            self.meet("a probation that fails");
            self.host(host).go_back();
            self.plan(Duration::from_millis(20), Event::Look { host, life });
        }
    }

    fn look(&mut self, host: usize, life: u32) {
        let known = self.host(host);
        if known.life != life || known.session.is_none() {
            return;
        }
        if let Some(failure) = known.left() {
            known.told(&failure);
            let inventory = known.inventory();
            self.say(host, Up::LocalFailure(failure));
            self.say(host, Up::Inventory { question: None, inventory });
        }
    }

    pub(crate) fn kill(&mut self, host: usize) {
        if !std::mem::replace(&mut self.host(host).up, false) {
            return;
        }
        let known = self.host(host);
        known.life += 1;
        known.waiting.clear();
        let (session, doing) = (known.session.take(), known.doing.take());
        if let Some(session) = session {
            self.cut(session);
        }
        match &doing {
            Some(Work::Command(command)) if matches!(command.action, Action::Switch { .. }) => {
                self.meet("a host that dies in a switch");
            }
            Some(Work::Command(_)) => self.meet("a host that dies in another command"),
            _ if self.host(host).predecessor.is_some() => self.meet("a host that dies in a held probation"),
            _ => {}
        }
        // Whatever it was in the middle of had happened, or not, or is undone by the recovery.
        let fate = self.chance.below(3);
        let known = self.host(host);
        match doing {
            Some(Work::Command(command)) => {
                if let Action::Switch { revision, .. } = &command.action
                    && fate > 0
                    && known.predecessor.is_none()
                    && known.fits(&command)
                {
                    known.switch_to(Release { version: revision.version.clone(), digest: revision.digest });
                    if fate > 1 {
                        known.go_back();
                    }
                }
            }
            Some(Work::Upkeep(upkeep)) => {
                if let Task::Deploy { revision, .. } = &upkeep.task
                    && fate > 0
                    && known.predecessor.is_none()
                {
                    known.generation += 1;
                    known.running = Some(Release { version: revision.version.clone(), digest: revision.digest });
                }
            }
            None if fate == 0 && self.chance.in_thousand(200) => self.host(host).go_back(),
            None => {}
        }
        self.check_host(host);
        let back = self.chance.millis(100, 60_000);
        self.plan(back, Event::Reboot { host });
    }

    fn reboot(&mut self, host: usize) {
        let known = self.host(host);
        known.up = true;
        for command in known.journal.unfinished().expect("a journal") {
            let known = self.host(host);
            let outcome = known.fate(&command);
            known.end(&command, &outcome);
            assert!(matches!(known.journal.known(command.id, command.epoch, &command.workload), Ok(Known::Done(_))));
            let name = known.name.clone();
            self.checks.answers(&name, command.id, &outcome);
        }
        self.check_host(host);
        self.plan(Duration::from_millis(100), Event::Dial { host });
    }

    /// Cuts a host off for a while.
    pub(crate) fn cut_off(&mut self, host: usize) {
        self.host(host).cut_off = true;
        if let Some(session) = self.host(host).session {
            self.cut(session);
        }
        let heals = self.chance.millis(100, 60_000);
        self.plan(heals, Event::Heal { host });
    }

    fn check_host(&mut self, host: usize) {
        let Self { hosts, checks, store, .. } = self;
        checks.host(store, hosts.get(host).expect("a host"));
    }

    /// All that is wanted of a deploy.
    pub(crate) const fn source() -> Source {
        Source::Store
    }
}

fn of(minor: u8) -> Release {
    let release = release(minor);
    Release { version: release.version, digest: release.digest }
}
