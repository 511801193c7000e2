//! The director of a workload with an instance for each connection: `run` is `select`, then `apply`.
//!
//! It decides for all sessions together what one actor decides for its instance: swaps, probation, health, the end. It is on no
//! message's way; while it waits for a disk the sessions go on.

use std::{ops::ControlFlow, pin::pin, sync::Arc, time::Duration};

use host_core::{id::Generation, release::Revision, status::RunState, swap::Input, time::Moment};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    house::{Death, House},
    offer::Offer,
    queue::STRAGGLES_AFTER,
    swap::Move,
    threads::Staff,
};
use crate::{
    ledger::{Desired, Entry, LastSwap, Ledger},
    net::listener::{Listener, Reception},
    workload::{Body, Control, answer},
};

/// How long a stop waits for sessions to handle what has come in: as long as one `handle` may take.
const STOP_WAITS: Duration = Duration::from_secs(30);

/// Failures told one by one within a second; of the others, how many there were.
const TOLD_PER_SECOND: u32 = 10;

/// See the module.
pub(crate) struct Director {
    pub(super) house: Arc<House>,
    pub(super) ledger: Ledger,
    pub(super) reception: Reception,
    control: mpsc::Receiver<Control>,
    offers: mpsc::Receiver<Offer>,
    deaths: mpsc::Receiver<Death>,

    pub(super) body: Body,
    pub(super) generation: Generation,
    pub(super) predecessor: Option<Revision>,
    pub(super) listeners: Vec<Listener>,
    pub(super) active: Option<Move>,
    /// A swap could not be undone: sessions handle nothing until somebody does something.
    pub(super) parked: bool,
    told: Told,
    // Last: the threads go home when all else is gone.
    _staff: Staff,
}

/// What a director begins with.
pub(super) struct Beginning {
    pub(super) house: Arc<House>,
    pub(super) ledger: Ledger,
    pub(super) reception: Reception,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) offers: mpsc::Receiver<Offer>,
    pub(super) deaths: mpsc::Receiver<Death>,
    pub(super) body: Body,
    pub(super) generation: Generation,
    pub(super) predecessor: Option<Revision>,
    pub(super) listeners: Vec<Listener>,
    pub(super) active: Option<Move>,
    pub(super) staff: Staff,
}

/// How many failures were told within this second.
#[derive(Default)]
struct Told {
    second: Option<Moment>,
    count: u32,
    passed_over: u64,
}

enum Action {
    Control(Control),
    Offer(Offer),
    Death(Death),
    Wake,
    End,
}

/// Why some questions have no answer here.
const NO_ONE_STATE: &str =
    "its state is in its sessions, which keep no journal: there is no one state to copy or to replay";

impl Director {
    pub(super) fn new(beginning: Beginning) -> Self {
        let Beginning {
            house,
            ledger,
            reception,
            control,
            offers,
            deaths,
            body,
            generation,
            predecessor,
            listeners,
            active,
            staff,
        } = beginning;
        Self {
            house,
            ledger,
            reception,
            control,
            offers,
            deaths,
            body,
            generation,
            predecessor,
            listeners,
            active,
            parked: false,
            told: Told::default(),
            _staff: staff,
        }
    }

    /// Runs until it is stopped or the host is gone.
    pub(super) async fn run(mut self) {
        let mut sleep = pin!(sleep_until(Instant::now()));
        loop {
            let wake = self.active.as_ref().and_then(|active| active.swap.wakes_at());
            if let Some(at) = wake {
                sleep.as_mut().reset(self.house.clock.instant_of(at).into());
            }
            let action = tokio::select! {
                biased;
                control = self.control.recv() => control.map_or(Action::End, Action::Control),
                Some(offer) = self.offers.recv() => Action::Offer(offer),
                Some(death) = self.deaths.recv() => Action::Death(death),
                () = &mut sleep, if wake.is_some() => Action::Wake,
            };
            if self.apply(action).await.is_break() {
                return;
            }
        }
    }

    async fn apply(&mut self, action: Action) -> ControlFlow<()> {
        match action {
            Action::Control(control) => return self.control(control).await,
            Action::Offer(offer) => self.take_offer(offer).await,
            Action::Death(death) => self.death(death).await,
            Action::Wake => self.tick().await,
            Action::End => {
                self.house.sessions().iter().for_each(|session| session.stop());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    async fn control(&mut self, control: Control) -> ControlFlow<()> {
        match control {
            // Offers to sessions come by a way of their own.
            Control::Swap(offer) => drop(offer),
            Control::Brace { mut braced } => {
                tokio::select! {
                    () = self.steady() => answer(braced, ()),
                    () = braced.closed() => {}
                }
            }
            Control::RollBack { why, allow_loss, taken, done } => {
                let wanted = Input::RollBackWanted { why, allow_loss };
                self.roll_back(wanted, taken, done).await;
            }
            Control::Commit { done } => self.commit(done).await,
            Control::Copy { copy, .. } => answer(copy, Err(NO_ONE_STATE.to_owned())),
            Control::Witness { witness } => answer(witness, Err(NO_ONE_STATE.to_owned())),
            Control::Watch { watching, .. } => answer(watching, Err(NO_ONE_STATE.to_owned())),
            Control::Health { report } => {
                let health = self.health().await;
                answer(report, health);
            }
            Control::Verify { checks } => {
                let (seen, _) = self.checks(None).await;
                answer(checks, seen);
            }
            Control::Connections { ids } => {
                let mut open: Vec<_> = self.house.sessions().iter().map(|session| session.id().0).collect();
                open.sort_unstable();
                answer(ids, open);
            }
            Control::Drain { ids } => {
                let drained = |session: &&Arc<super::session::Session>| ids.binary_search(&session.id().0).is_ok();
                self.house.sessions().iter().filter(drained).for_each(|session| session.connection.drain());
            }
            Control::Revive { revived } => {
                let result = self.revive();
                answer(revived, result);
            }
            Control::Stop { stopped } => {
                let result = self.stop().await;
                answer(stopped, result);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Waits until no turn goes on that others would have to wait for: a straggler shall not stop everybody when the gate
    /// closes.
    async fn steady(&self) {
        while self.house.queue.straggles() {
            sleep(STRAGGLES_AFTER / 4).await;
        }
    }

    /// An instance failed, and its connection with it. On probation, too many of them undo the swap.
    async fn death(&mut self, death: Death) {
        self.tell_death(&death);
        let (failures, limit) = (self.house.tally.failures_since_switch(), self.house.config.restart_limit);
        if self.active.as_ref().is_some_and(Move::is_serving) && host_core::sessions::too_many_failures(failures, limit)
        {
            let Death { session, why, .. } = death;
            self.fail(format!("{failures} sessions failed since the switch, the last of them {session}: {why}")).await;
        }
    }

    fn tell_death(&mut self, Death { session, why, .. }: &Death) {
        let now = self.house.clock.moment();
        if self.told.second.is_none_or(|second| now.since(second) >= Duration::from_secs(1)) {
            let passed_over = std::mem::take(&mut self.told.passed_over);
            if passed_over > 0 {
                tracing::warn!(workload = %self.house.name, "{passed_over} more sessions failed in the same second");
            }
            self.told = Told { second: Some(now), ..Told::default() };
        }
        if self.told.count == TOLD_PER_SECOND {
            self.told.passed_over += 1;
            return;
        }
        self.told.count += 1;
        let message = format!("{session} failed and is closed, the others go on: {why}");
        tracing::warn!(workload = %self.house.name, "{message}");
        self.tell("session.failed", &message);
    }

    /// Sessions handle what has come in, then their connections end after their last answers. Nothing of them is kept.
    async fn stop(&mut self) -> Result<(), String> {
        // A probation goes on when the workload does: its record is on disk.
        self.active = None;
        self.listeners.clear();
        self.house.waiting.close_input();
        let drained = match self.parked {
            true => Err("its sessions were parked: what they had sent is dropped".to_owned()),
            false => tokio::time::timeout(STOP_WAITS, self.house.queue.drained())
                .await
                .map_err(|_| format!("a session was still busy after {STOP_WAITS:?}; it was not waited for")),
        };
        self.house.queue.close();
        self.house.sessions().iter().for_each(|session| session.stop());
        drained
    }

    /// A person wants it to go on although the swap that it was stopped for could not be undone.
    fn revive(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.parked) {
            return Err("it runs already".to_owned());
        }
        self.house.shared.live().run_state = RunState::Running;
        self.house.queue.open();
        Ok(())
    }

    /// The gate opens again after nothing has changed.
    pub(super) fn reopen(&self) {
        if self.parked { self.house.queue.park() } else { self.house.queue.open() }
    }

    pub(super) fn tell(&self, event: &str, message: &str) {
        let swap = self.active.as_ref().map(|active| active.swap.id());
        self.house.events.tell(event, Some(&self.house.name), swap, message.to_owned());
    }

    pub(super) fn now(&self) -> Moment {
        self.house.clock.moment()
    }

    /// How the workload stands, as the ledger keeps it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            name: self.house.name.clone(),
            desired: Desired::Running,
            generation: self.generation,
            revision: self.body.revision.clone(),
            predecessor: self.predecessor.clone(),
            probation: None,
            last_swap: self.active.as_ref().map(|active| LastSwap::of(&active.swap)),
            clean: false,
        }
    }

    pub(super) fn show_place(&self) {
        self.house.metrics.set_generation(self.generation);
        let mut live = self.house.shared.live();
        live.revision = self.body.revision.clone();
        live.generation = self.generation;
        live.predecessor = self.predecessor.clone();
        live.warnings.clear();
        live.run_state = RunState::Running;
    }
}
