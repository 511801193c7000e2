//! Migrating ahead: a candidate for every session, made while the old release serves, so that the pause has little to do.
//!
//! A candidate is as good as the batch it was made after. A session that handles another one puts itself on the list of those
//! to be migrated again; the last of them are, in the pause, when nobody can handle anything any more.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use host_core::{
    history::InstanceCount,
    id::{ConnectionId, SwapId},
    plan::{SwapPlan, WayBack},
    release::StateFormat,
    sessions::another_round,
    swap::CallFault,
};
use rustc_hash::FxBuildHasher;

use super::{House, session::Session};
use crate::{
    engine::Purpose,
    instance::{GuestState, blocking::BlockingInstance},
    workload::Body,
};

type List = HashMap<ConnectionId, Arc<Session>, FxBuildHasher>;

/// A swap's migrations.
pub(super) struct Ahead {
    pub(super) swap: SwapId,
    /// The version whose instances are migrated, as `code-change` is told.
    from_version: String,
    /// What the candidates are made of.
    pub(super) body: Body,
    /// The format of the snapshots.
    format: StateFormat,
    /// Keep what was handed over: the new release can't write the old format.
    keep: bool,
    /// Sessions to be migrated (again). Each swap has its own: what an earlier one knew of a session is nothing to this one.
    list: Mutex<List>,
    pub(super) figures: Figures,
}

/// What was migrated.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) ahead: AtomicU64,
    pub(super) in_pause: AtomicU64,
    /// Of the states handed over last.
    pub(super) state_bytes: AtomicU64,
    /// Of the candidate that took most.
    pub(super) peak_memory_bytes: AtomicU64,
}

/// A candidate.
pub(super) struct Standby {
    pub(super) ahead: Arc<Ahead>,
    /// None until it is made, in the pause.
    pub(super) instance: Option<BlockingInstance>,
    /// The batches the session had handled when its state was taken.
    after: u64,
    /// The state, taken and not given to the candidate yet; or kept.
    state: Option<GuestState>,
    state_bytes: u64,
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.ahead.figures.state_bytes.fetch_sub(self.state_bytes, Ordering::Relaxed);
    }
}

impl Standby {
    /// The candidate takes its session over: the instance, and the state if it was kept.
    pub(super) fn take_over(mut self) -> (Option<BlockingInstance>, Option<GuestState>) {
        (self.instance.take(), self.state.take().filter(|_| self.ahead.keep))
    }
}

impl Ahead {
    pub(super) fn new(swap: SwapId, from_version: String, body: Body, format: StateFormat, keep: bool) -> Arc<Self> {
        let (list, figures) = (Mutex::default(), Figures::default());
        Arc::new(Self { swap, from_version, body, format, keep, list, figures })
    }

    /// The format in which states are handed over.
    pub(super) fn format(&self) -> StateFormat {
        self.format
    }

    /// The session is to be migrated (again).
    pub(super) fn list(&self, session: &Arc<Session>) {
        self.listed().entry(session.id()).or_insert_with(|| session.clone());
    }

    /// Takes the list.
    pub(super) fn take_list(&self) -> Vec<Arc<Session>> {
        std::mem::take(&mut *self.listed()).into_values().collect()
    }

    pub(super) fn listed_len(&self) -> usize {
        self.listed().len()
    }

    /// Migrates one while the others are served. One that is busy is listed instead: it changes as we look.
    ///
    /// # Errors
    /// Its `snapshot` or the candidate's `code-change` failed: no session will be swapped. A session whose instance was lost is
    /// closed.
    pub(super) fn migrate(self: &Arc<Self>, session: &Arc<Session>, until: Instant) -> Result<(), CallFault> {
        if !session.try_turn() {
            if !session.is_over() {
                self.list(session);
            }
            return Ok(());
        }
        let taken = self.take_state(session, until);
        session.end_turn();
        let Some((state, after)) = taken.map_err(|fault| prefixed("snapshot failed", fault))? else { return Ok(()) };
        // Its turn is over: a candidate that takes long makes no client wait.
        let mut standby = self.standby_of(session);
        (standby.state, standby.after) = (Some(state), after);
        let given = self.give_state(&session.house, &mut standby, until);
        given.map_err(|fault| prefixed("code-change failed", name(session, fault)))?;
        self.figures.ahead.fetch_add(1, Ordering::Relaxed);
        *session.standby() = Some(standby);
        // In this order: one that ends meanwhile drops what it finds, and is seen to be over if it found nothing.
        if session.is_over() {
            *session.standby() = None;
        }
        // Between the two it may have handled a batch, and found no candidate to outdate.
        if session.batches() != after {
            self.list(session);
        }
        Ok(())
    }

    /// In the pause, first part: the state of one.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    pub(super) fn snapshot(self: &Arc<Self>, session: &Arc<Session>, until: Instant) -> Result<(), CallFault> {
        // One whose connection ended drops its candidate and hears of the end from the instance it knows.
        if session.only_closes() {
            *session.standby() = None;
            return Ok(());
        }
        let Some((state, after)) = self.take_state(session, until)? else { return Ok(()) };
        let mut standby = self.standby_of(session);
        (standby.state, standby.after) = (Some(state), after);
        *session.standby() = Some(standby);
        Ok(())
    }

    /// In the pause, second part: the candidate of one takes its state.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    pub(super) fn code_change(self: &Arc<Self>, session: &Arc<Session>, until: Instant) -> Result<(), CallFault> {
        let mut place = session.standby();
        let Some(standby) = place.as_mut().filter(|standby| standby.ahead.swap == self.swap) else { return Ok(()) };
        let given = self.give_state(&session.house, standby, until);
        if given.is_err() {
            *place = None;
        }
        drop(place);
        self.figures.in_pause.fetch_add(1, Ordering::Relaxed);
        given.map_err(|fault| name(session, fault))
    }

    /// The state of a session's instance, and after how many batches it is; none where there is nothing to migrate.
    fn take_state(
        self: &Arc<Self>,
        session: &Arc<Session>,
        until: Instant,
    ) -> Result<Option<(GuestState, u64)>, CallFault> {
        let mut seat = session.seat();
        if seat.instance.is_some() && !session.caught_up(&mut seat) {
            return Ok(None);
        }
        let after = session.batches();
        let clean =
            |standby: &Standby| standby.ahead.swap == self.swap && standby.after == after && standby.instance.is_some();
        if session.standby().as_ref().is_some_and(clean) {
            return Ok(None);
        }
        // One without an instance begins with the new release.
        let Some(instance) = &mut seat.instance else { return Ok(None) };
        instance.advance(session.house.clock.unix());
        match instance.snapshot(self.format.schema, Some(until)) {
            Ok(state) => Ok(Some((state, after))),
            Err(error) => {
                let fault = name(session, CallFault::from(error.clone()));
                if error.is_lost() {
                    session.die(&mut seat, &error.to_string());
                }
                Err(fault)
            }
        }
    }

    /// The candidate there is of this swap, or one to be made.
    fn standby_of(self: &Arc<Self>, session: &Session) -> Standby {
        let before = session.standby().take().filter(|standby| standby.ahead.swap == self.swap);
        before.unwrap_or_else(|| Standby { ahead: self.clone(), instance: None, after: 0, state: None, state_bytes: 0 })
    }

    /// Gives the candidate the state that was taken, and makes it first if there is none.
    fn give_state(&self, house: &House, standby: &mut Standby, until: Instant) -> Result<(), CallFault> {
        let Some(state) = standby.state.take() else { return Ok(()) };
        let instance = match &mut standby.instance {
            Some(instance) => instance,
            None => standby.instance.insert(
                house
                    .maker
                    .initialised(&self.body, Purpose::Replacement)
                    .map_err(|unborn| CallFault::Error(unborn.to_string()))?,
            ),
        };
        instance.advance(house.clock.unix());
        instance.code_change(&state, &self.from_version, Some(until)).map_err(CallFault::from)?;
        let peak = instance.memory_bytes().1 as u64;
        self.figures.peak_memory_bytes.fetch_max(peak, Ordering::Relaxed);
        let bytes = state.data().len() as u64;
        self.figures.state_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.figures.state_bytes.fetch_sub(std::mem::replace(&mut standby.state_bytes, bytes), Ordering::Relaxed);
        standby.state = Some(state).filter(|_| self.keep);
        Ok(())
    }

    fn listed(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whose fault it is.
fn name(session: &Session, fault: CallFault) -> CallFault {
    prefixed(&session.name(), fault)
}

fn prefixed(prefix: &str, fault: CallFault) -> CallFault {
    match fault {
        CallFault::Error(why) => CallFault::Error(format!("{prefix}: {why}")),
        CallFault::Lost(why) => CallFault::Lost(format!("{prefix}: {why}")),
    }
}

/// The candidates of a swap. Dropped before the switch, they are thrown away.
pub(crate) struct Candidates {
    house: Arc<House>,
    pub(super) ahead: Arc<Ahead>,
    switched: bool,
}

impl Candidates {
    /// They take over: from now on they are their sessions' own affair.
    pub(super) fn switched(&mut self) {
        self.switched = true;
        self.house.set_ahead(None);
    }

    /// What was migrated so far.
    pub(crate) fn count(&self) -> InstanceCount {
        let Figures { ahead, in_pause, .. } = &self.ahead.figures;
        InstanceCount {
            total: self.house.tally.instances(),
            ahead: ahead.load(Ordering::Relaxed),
            in_pause: in_pause.load(Ordering::Relaxed),
            closed: 0,
        }
    }

    /// States handed over, together; and the memory of the candidate that took most.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let Figures { state_bytes, peak_memory_bytes, .. } = &self.ahead.figures;
        (state_bytes.load(Ordering::Relaxed), peak_memory_bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Candidates {
    fn drop(&mut self) {
        if self.switched {
            return;
        }
        self.house.set_ahead(None);
        let (house, swap) = (self.house.clone(), self.ahead.swap);
        let clear = move || {
            for session in house.sessions() {
                let mut standby = session.standby();
                if standby.as_ref().is_some_and(|standby| standby.ahead.swap == swap) {
                    *standby = None;
                }
            }
        };
        // Off the task that drops it: ten thousand are a few milliseconds' work.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(clear)),
            Err(_) => clear(),
        }
    }
}

impl House {
    /// Makes a candidate for every session while they serve, and again for those that changed, as long as that gains
    /// something.
    ///
    /// # Errors
    /// The release does not start, or one session can't be migrated: then none will be.
    pub(crate) async fn migrate_ahead(
        self: &Arc<Self>,
        swap: SwapId,
        body: &Body,
        plan: &SwapPlan,
        limit: Duration,
    ) -> Result<Candidates, String> {
        let version = plan.from.to_string();
        let keep = plan.way_back == WayBack::Unchanged;
        let ahead = Ahead::new(swap, version, body.clone(), plan.state.snapshot_format(), keep);
        // From here on whoever is born lists itself.
        self.set_ahead(Some(&ahead));
        let candidates = Candidates { house: self.clone(), ahead: ahead.clone(), switched: false };
        self.probe(body).await?;
        let mut sessions = self.sessions();
        for round in 1.. {
            let migrated = sessions.len();
            let migrating = ahead.clone();
            let visit = move |session: &Arc<Session>| migrating.migrate(session, Instant::now() + limit);
            let over = self.go_round(sessions, Box::new(visit)).over().await;
            over.map_err(|(CallFault::Error(why) | CallFault::Lost(why))| why)?;
            if !another_round(round, migrated, ahead.listed_len()) {
                break;
            }
            sessions = ahead.take_list();
        }
        Ok(candidates)
    }

    /// Whether the release starts at all: said also where there is no session yet.
    pub(crate) async fn probe(self: &Arc<Self>, body: &Body) -> Result<(), String> {
        let (maker, body) = (self.maker.clone(), body.clone());
        let probed =
            tokio::task::spawn_blocking(move || maker.initialised(&body, Purpose::Replacement).map(drop)).await;
        probed.map_err(|_| "the host is stopping".to_owned())?.map_err(|unborn| unborn.to_string())
    }
}
