//! Which session runs next: a queue of those with something to do, a gate that a swap closes, and rounds over all of them.
//!
//! Guest threads come here for work. While the gate is open they take turns of sessions in the order in which those got
//! something to do; in what time is left they go on rounds (migrating ahead, greeting, asking for health), one session at a time
//! and half of the time at most. While the gate is closed no session runs, and the threads are the swap's crew. A workload that
//! is stopped is parked: its sessions handle nothing, but another release can be made ready for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{round::Round, session::Session};

/// Turns between two visits of a round when sessions always have something to do: a round then goes on slowly, but goes on.
const TURNS_PER_VISIT: u32 = 8;

/// Why a round comes to nothing when the threads go home.
const ENDING: &str = "the workload is being stopped";

/// A thread whose turn has taken this long is busy with a straggler: others shall not wait for it.
pub(super) const STRAGGLES_AFTER: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Queue<S = Session> {
    core: Mutex<Core<S>>,
    work: Condvar,
    /// Told when no session runs and the gate is closed, or when nothing is left to do.
    quiet: Notify,
    /// Told when a session waits and no thread is free.
    pub(super) watch: Notify,
}

/// Who is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Sessions and rounds.
    Open,
    /// Nobody but a swap's crew.
    Closed,
    /// Rounds only.
    Parked,
}

struct Core<S> {
    ready: VecDeque<Arc<S>>,
    rounds: VecDeque<Arc<Round<S>>>,
    crew: Option<Arc<Round<S>>>,
    gate: Gate,
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
pub(super) enum Task<S = Session> {
    /// A session's turn.
    Serve(Arc<S>),
    /// A round's next session, while the others run.
    Visit(Arc<Round<S>>, Arc<S>),
    /// All that is left of a round, while nobody runs.
    Crew(Arc<Round<S>>),
}

/// A task that was begun.
pub(super) struct Begun<S = Session> {
    pub(super) task: Task<S>,
    since: Instant,
}

impl<S> Queue<S> {
    pub(super) fn new() -> Self {
        Self {
            core: Mutex::new(Core {
                ready: VecDeque::new(),
                rounds: VecDeque::new(),
                crew: None,
                gate: Gate::Open,
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
    pub(super) fn push(&self, session: Arc<S>) {
        let mut core = self.core();
        // Nobody will come for it any more; kept here it would keep all of them.
        if core.ending {
            return;
        }
        core.ready.push_back(session);
        if core.gate != Gate::Open {
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
    pub(super) fn next(&self, patience: Option<Duration>) -> Option<Begun<S>> {
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
            let visits = core.gate != Gate::Closed && !core.visiting && !core.rounds.is_empty();
            let visit = visits.then_some(core.next_visit);
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
    pub(super) fn done(&self, begun: Begun<S>) {
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
        if core.busy.is_empty() && (core.gate != Gate::Open || core.ready.is_empty()) {
            self.quiet.notify_waiters();
        }
    }

    /// No session begins a turn from now on.
    pub(super) fn close(&self) {
        self.core().gate = Gate::Closed;
    }

    /// Sessions go on.
    pub(super) fn open(&self) {
        let mut core = self.core();
        core.gate = Gate::Open;
        // Those that came while it was closed were not looked after: all threads may be with stragglers.
        let unseen = !core.ready.is_empty() && !std::mem::replace(&mut core.watched, true);
        drop(core);
        self.work.notify_all();
        if unseen {
            self.watch.notify_one();
        }
    }

    /// Sessions handle nothing until another release is in place.
    pub(super) fn park(&self) {
        self.core().gate = Gate::Parked;
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

    async fn wait(&self, holds: impl Fn(&Core<S>) -> bool) {
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
    pub(super) fn go_round(&self, round: Arc<Round<S>>) {
        self.add_round(round, VecDeque::push_back);
    }

    /// The same, before those that have begun: somebody waits for its answer, and it is short.
    pub(super) fn go_round_first(&self, round: Arc<Round<S>>) {
        self.add_round(round, VecDeque::push_front);
    }

    fn add_round(&self, round: Arc<Round<S>>, add: impl FnOnce(&mut VecDeque<Arc<Round<S>>>, Arc<Round<S>>)) {
        let mut core = self.core();
        if core.ending {
            drop(core);
            return round.give_up(ENDING);
        }
        add(&mut core.rounds, round);
        drop(core);
        self.work.notify_one();
    }

    /// Has all threads work on a round while nobody runs.
    pub(super) fn put_to_work(&self, round: Arc<Round<S>>) {
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
        Progress { begun: core.begun, waiting: if core.gate == Gate::Open { core.ready.len() } else { 0 } }
    }

    /// Nothing waits: look no more until it does again.
    pub(super) fn unwatch(&self) -> bool {
        let mut core = self.core();
        let over = core.gate != Gate::Open || core.ready.is_empty();
        core.watched = !over;
        over
    }

    /// Threads go home. Whoever waits for a round is told so.
    pub(super) fn end(&self) {
        let mut core = self.core();
        core.ending = true;
        let (ready, rounds) = (std::mem::take(&mut core.ready), std::mem::take(&mut core.rounds));
        drop(core);
        // The last of a session may go with it, and comes back here.
        drop(ready);
        rounds.iter().for_each(|round| round.give_up(ENDING));
        self.work.notify_all();
    }

    fn core(&self) -> MutexGuard<'_, Core<S>> {
        // Whole between any two statements.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Core<S> {
    fn take(&mut self) -> Option<Task<S>> {
        if self.ending {
            return None;
        }
        if let Some(crew) = self.crew.clone().filter(|crew| !crew.is_given_out()) {
            return Some(Task::Crew(crew));
        }
        match self.gate {
            Gate::Open => {}
            Gate::Closed => return None,
            Gate::Parked => return self.visit(),
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

    fn visit(&mut self) -> Option<Task<S>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn round(sessions: &[u32]) -> Arc<Round<u32>> {
        Round::new(sessions.iter().copied().map(Arc::new).collect(), Box::new(|_| Ok(())))
    }

    /// What a thread does next, if there is something.
    fn next(queue: &Queue<u32>) -> Option<Begun<u32>> {
        queue.core().threads += 1;
        queue.next(Some(Duration::ZERO))
    }

    fn visited(queue: &Queue<u32>) -> Option<u32> {
        // No rest between two visits: how long is not what is looked at here.
        queue.core().next_visit = Instant::now();
        let begun = next(queue)?;
        let Task::Visit(_, session) = &begun.task else { return None };
        let session = **session;
        queue.done(begun);
        Some(session)
    }

    #[test]
    fn who_asks_for_health_does_not_wait_for_a_long_round() {
        let queue = Queue::new();
        queue.go_round(round(&[1, 2, 3]));
        assert_eq!(visited(&queue), Some(1));
        queue.go_round_first(round(&[10]));
        assert_eq!(
            [visited(&queue), visited(&queue), visited(&queue), visited(&queue)],
            [Some(10), Some(2), Some(3), None]
        );
    }

    #[tokio::test]
    async fn those_that_came_while_the_gate_was_closed_are_looked_after_when_all_threads_are_busy() {
        let queue = Queue::new();
        queue.push(Arc::new(1));
        let straggler = next(&queue).expect("its turn");
        queue.close();
        queue.push(Arc::new(2));
        assert!(next(&queue).is_none(), "the gate is closed");
        queue.open();
        tokio::time::timeout(Duration::from_secs(60), queue.watch.notified()).await.expect("somebody looks");
        assert_eq!(queue.progress().waiting, 1);
        queue.done(straggler);
    }

    #[test]
    fn a_parked_workload_can_be_made_ready_for_another_release_and_handles_nothing() {
        let queue = Queue::new();
        queue.push(Arc::new(1));
        queue.park();
        queue.go_round(round(&[1]));
        assert_eq!([visited(&queue), visited(&queue)], [Some(1), None]);
        queue.open();
        assert!(matches!(next(&queue), Some(Begun { task: Task::Serve(_), .. })));
    }

    #[tokio::test]
    async fn at_the_end_nobody_waits_for_a_round_and_nothing_is_kept() {
        let (queue, before, after) = (Queue::new(), round(&[1]), round(&[2]));
        queue.go_round(before.clone());
        queue.end();
        queue.go_round(after.clone());
        for round in [before, after] {
            let over = tokio::time::timeout(Duration::from_secs(60), round.over()).await.expect("it is over");
            assert!(over.is_err());
        }
        let session = Arc::new(1);
        queue.push(session.clone());
        assert_eq!(Arc::strong_count(&session), 1);
    }
}
