//! Which session runs next: a queue of those with something to do, a gate that a swap closes, and rounds over all of them.
//!
//! Guest threads come here for work. While the gate is open they take turns of sessions in the order in which those got
//! something to do; in what time is left they go on rounds (migrating ahead, greeting, asking for health), one session at a time
//! and half of the time at most. While the gate is closed no session runs, and the threads are the swap's crew.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{round::Round, session::Session};

/// Turns between two visits of a round when sessions always have something to do: a round then goes on slowly, but goes on.
const TURNS_PER_VISIT: u32 = 8;

/// A thread whose turn has taken this long is busy with a straggler: others shall not wait for it.
pub(super) const STRAGGLES_AFTER: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Queue {
    core: Mutex<Core>,
    work: Condvar,
    /// Told when no session runs and the gate is closed, or when nothing is left to do.
    quiet: Notify,
    /// Told when a session waits and no thread is free.
    pub(super) watch: Notify,
}

struct Core {
    ready: VecDeque<Arc<Session>>,
    rounds: VecDeque<Arc<Round>>,
    crew: Option<Arc<Round>>,
    open: bool,
    ending: bool,
    /// Threads in a turn or on a visit, and since when.
    busy: Vec<Instant>,
    idle: usize,
    threads: usize,
    /// Turns and visits that were begun: whether anything moves.
    begun: u64,
    turns_since_visit: u32,
    visiting: bool,
    next_visit: Instant,
    watched: bool,
}

/// How far things are.
#[derive(Clone, Copy)]
pub(super) struct Progress {
    /// Turns and visits that were begun.
    pub(super) begun: u64,
    /// Sessions that wait for a thread.
    pub(super) waiting: usize,
}

/// What a guest thread does next.
pub(super) enum Task {
    /// A session's turn.
    Serve(Arc<Session>),
    /// A round's next session, while the others run.
    Visit(Arc<Round>, Arc<Session>),
    /// All that is left of a round, while nobody runs.
    Crew(Arc<Round>),
}

/// A task that was begun.
pub(super) struct Begun {
    pub(super) task: Task,
    since: Instant,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            core: Mutex::new(Core {
                ready: VecDeque::new(),
                rounds: VecDeque::new(),
                crew: None,
                open: true,
                ending: false,
                busy: Vec::new(),
                idle: 0,
                threads: 0,
                begun: 0,
                turns_since_visit: 0,
                visiting: false,
                next_visit: Instant::now(),
                watched: false,
            }),
            work: Condvar::new(),
            quiet: Notify::new(),
            watch: Notify::new(),
        }
    }

    /// A session has something to do.
    pub(super) fn push(&self, session: Arc<Session>) {
        let mut core = self.core();
        core.ready.push_back(session);
        if !core.open {
            return;
        }
        if core.idle > 0 {
            drop(core);
            self.work.notify_one();
        } else if !std::mem::replace(&mut core.watched, true) {
            drop(core);
            self.watch.notify_one();
        }
    }

    /// Waits for something to do, `patience` at most. None when there is nothing, or never will be again.
    pub(super) fn next(&self, patience: Option<Duration>) -> Option<Begun> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut core = self.core();
        loop {
            if let Some(task) = core.take() {
                let since = Instant::now();
                if !matches!(task, Task::Crew(_)) {
                    core.busy.push(since);
                    core.begun += 1;
                }
                // Who was woken for those that are left may have been this thread, and this may take long.
                if core.idle == 0 && !core.ready.is_empty() && !std::mem::replace(&mut core.watched, true) {
                    self.watch.notify_one();
                }
                return Some(Begun { task, since });
            }
            let now = Instant::now();
            if core.ending || until.is_some_and(|until| until <= now) {
                core.threads -= 1;
                return None;
            }
            let visit = (core.open && !core.visiting && !core.rounds.is_empty()).then_some(core.next_visit);
            let wake = [visit, until].into_iter().flatten().min();
            core.idle += 1;
            core = match wake {
                Some(wake) => {
                    let patience = wake.saturating_duration_since(now);
                    self.work.wait_timeout(core, patience).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.work.wait(core).unwrap_or_else(PoisonError::into_inner),
            };
            core.idle -= 1;
        }
    }

    /// A task that was begun is done.
    pub(super) fn done(&self, begun: Begun) {
        let Begun { task, since } = begun;
        let mut core = self.core();
        match task {
            Task::Crew(round) => {
                // Whoever comes last takes it away; others have found it empty.
                if core.crew.as_ref().is_some_and(|crew| Arc::ptr_eq(crew, &round)) {
                    core.crew = None;
                }
                return;
            }
            Task::Serve(_) => {}
            Task::Visit(..) => {
                core.visiting = false;
                // As much rest as work: half of one thread's time is what a round may take.
                let now = Instant::now();
                core.next_visit = now + (now - since);
            }
        }
        if let Some(at) = core.busy.iter().position(|began| *began == since) {
            core.busy.swap_remove(at);
        }
        if core.busy.is_empty() && (!core.open || core.ready.is_empty()) {
            self.quiet.notify_waiters();
        }
    }

    /// No session begins a turn from now on.
    pub(super) fn close(&self) {
        self.core().open = false;
    }

    /// Sessions go on.
    pub(super) fn open(&self) {
        self.core().open = true;
        self.work.notify_all();
    }

    /// Waits until no session runs; the gate is closed.
    pub(super) async fn stopped(&self) {
        self.wait(|core| core.busy.is_empty()).await;
    }

    /// Waits until no session has anything to do.
    pub(super) async fn drained(&self) {
        self.wait(|core| core.busy.is_empty() && core.ready.is_empty()).await;
    }

    async fn wait(&self, holds: impl Fn(&Core) -> bool) {
        loop {
            let quiet = self.quiet.notified();
            if holds(&self.core()) {
                return;
            }
            quiet.await;
        }
    }

    /// Turns and visits that go on.
    pub(super) fn busy(&self) -> usize {
        self.core().busy.len()
    }

    /// Whether a turn or visit goes on that has taken too long for others to wait for.
    pub(super) fn straggles(&self) -> bool {
        self.core().busy.iter().any(|since| since.elapsed() > STRAGGLES_AFTER)
    }

    /// Adds a round to those that go on while sessions run.
    pub(super) fn go_round(&self, round: Arc<Round>) {
        self.core().rounds.push_back(round);
        self.work.notify_one();
    }

    /// Has all threads work on a round while nobody runs.
    pub(super) fn put_to_work(&self, round: Arc<Round>) {
        self.core().crew = Some(round);
        self.work.notify_all();
    }

    /// Counts a thread that is about to come for work; false if there are as many as there may be.
    pub(super) fn add_thread(&self, limit: usize) -> bool {
        let mut core = self.core();
        let allowed = core.threads < limit && !core.ending;
        core.threads += usize::from(allowed);
        allowed
    }

    /// One that was counted did not come.
    pub(super) fn lose_thread(&self) {
        self.core().threads -= 1;
    }

    /// How far things are. Who sees the same twice sees that nothing moves.
    pub(super) fn progress(&self) -> Progress {
        let core = self.core();
        Progress { begun: core.begun, waiting: if core.open { core.ready.len() } else { 0 } }
    }

    /// Nothing waits: look no more until it does again.
    pub(super) fn unwatch(&self) -> bool {
        let mut core = self.core();
        let over = !core.open || core.ready.is_empty();
        core.watched = !over;
        over
    }

    /// Threads go home.
    pub(super) fn end(&self) {
        let mut core = self.core();
        core.ending = true;
        core.ready.clear();
        core.rounds.clear();
        drop(core);
        self.work.notify_all();
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // Whole between any two statements.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn take(&mut self) -> Option<Task> {
        if self.ending {
            return None;
        }
        if let Some(crew) = self.crew.clone().filter(|crew| !crew.is_given_out()) {
            return Some(Task::Crew(crew));
        }
        if !self.open {
            return None;
        }
        if self.turns_since_visit < TURNS_PER_VISIT
            && let Some(session) = self.ready.pop_front()
        {
            self.turns_since_visit += 1;
            return Some(Task::Serve(session));
        }
        if let Some(task) = self.visit() {
            self.turns_since_visit = 0;
            return Some(task);
        }
        self.ready.pop_front().map(Task::Serve)
    }

    fn visit(&mut self) -> Option<Task> {
        if self.rounds.is_empty() || self.visiting || Instant::now() < self.next_visit {
            return None;
        }
        while let Some(round) = self.rounds.front() {
            if let Some(session) = round.take() {
                self.visiting = true;
                return Some(Task::Visit(round.clone(), session));
            }
            self.rounds.pop_front();
        }
        None
    }
}
