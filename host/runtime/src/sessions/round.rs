//! A round: the same done to each of many sessions, by whichever guest threads have time.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use host_core::swap::CallFault;
use tokio::sync::Notify;

use super::session::Session;

/// What is done to each. It is called on a guest thread.
pub(super) type Visit<S = Session> = Box<dyn Fn(&Arc<S>) -> Result<(), CallFault> + Send + Sync>;

/// See the module. The first fault ends it: the sessions that are left are passed by.
pub(super) struct Round<S = Session> {
    sessions: Vec<Arc<S>>,
    visit: Visit<S>,
    next: AtomicUsize,
    left: AtomicUsize,
    /// Nobody will visit those that are left.
    given_up: AtomicBool,
    fault: Mutex<Option<CallFault>>,
    over: Notify,
}

impl<S> Round<S> {
    pub(super) fn new(sessions: Vec<Arc<S>>, visit: Visit<S>) -> Arc<Self> {
        let (left, given_up) = (AtomicUsize::new(sessions.len()), AtomicBool::new(false));
        let (next, fault, over) = (AtomicUsize::new(0), Mutex::default(), Notify::new());
        Arc::new(Self { sessions, visit, next, left, given_up, fault, over })
    }

    /// The next session; none when each was given to somebody.
    pub(super) fn take(&self) -> Option<Arc<S>> {
        self.sessions.get(self.next.fetch_add(1, Ordering::Relaxed)).cloned()
    }

    /// Whether each was given to somebody.
    pub(super) fn is_given_out(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.sessions.len()
    }

    /// Visits one that was taken.
    pub(super) fn visit(&self, session: &Arc<S>) {
        if self.fault().is_none()
            && let Err(fault) = (self.visit)(session)
        {
            self.fault().get_or_insert(fault);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.over.notify_waiters();
        }
    }

    /// Visits all that are left.
    pub(super) fn finish(&self) {
        while let Some(session) = self.take() {
            self.visit(&session);
        }
    }

    /// Gives the rest up.
    pub(super) fn cancel(&self, why: &str) {
        self.fault().get_or_insert_with(|| CallFault::Error(why.to_owned()));
    }

    /// The same, and nobody waits for the rest.
    pub(super) fn give_up(&self, why: &str) {
        self.cancel(why);
        self.given_up.store(true, Ordering::Release);
        self.over.notify_waiters();
    }

    /// Waits until each was visited or passed by. The fault that ended it, if one did. Cancel safe.
    pub(super) async fn over(&self) -> Result<(), CallFault> {
        loop {
            let over = self.over.notified();
            if self.left.load(Ordering::Acquire) == 0 || self.given_up.load(Ordering::Acquire) {
                return self.fault().clone().map_or(Ok(()), Err);
            }
            over.await;
        }
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Option<CallFault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
