//! Health and the smoke check, of many instances: asked of some of them, evenly spread, while all of them serve.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use host_core::{
    history::{Check, ConnectionCount},
    status::{HealthReport, HealthStatus, RunState},
};
use tokio::time::timeout;

use super::{director::Director, session::Session};
use crate::{
    instance::GuestHealth,
    workload::checks::{Pace, latency, ms},
};

/// Sessions asked for their health: enough to find what one in a hundred has, few enough to ask in a millisecond.
const ASKED_LIMIT: usize = 256;

/// How long they may take together. A session that is busy is passed by, so only their own word is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of sessions that are not well, how many are named.
const NAMED_LIMIT: usize = 5;

/// What held at the switch.
pub(super) struct Baseline {
    pub(super) connections: u64,
    pub(super) dropped: u64,
    pub(super) pace: Pace,
}

/// What the sessions said.
#[derive(Debug, Default)]
struct Said {
    answered: usize,
    busy: usize,
    degraded: usize,
    failed: usize,
    named: Vec<(String, String)>,
}

impl Said {
    fn note(&mut self, session: &Session, health: Result<GuestHealth, String>) {
        let words = |health: &GuestHealth| {
            health.details.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        self.answered += usize::from(health.is_ok());
        let trouble = match health {
            Ok(health) if health.status == HealthStatus::Ok => return,
            Ok(health) if health.status == HealthStatus::Degraded => {
                self.degraded += 1;
                format!("degraded {}", words(&health))
            }
            Ok(health) => {
                self.failed += 1;
                format!("failed {}", words(&health))
            }
            Err(why) => {
                self.failed += 1;
                why
            }
        };
        if self.named.len() < NAMED_LIMIT {
            self.named.push((session.name(), trouble));
        }
    }

    /// One session that is not well is its own affair; all of them are the release's.
    fn status(&self) -> HealthStatus {
        if self.failed > 0 && self.failed >= self.answered.max(1) {
            HealthStatus::Failed
        } else if self.failed + self.degraded > 0 {
            HealthStatus::Degraded
        } else {
            HealthStatus::Ok
        }
    }
}

impl Director {
    pub(super) async fn health(&mut self) -> HealthReport {
        let (said, asked) = self.ask().await;
        let mut details = vec![
            ("sessions".to_owned(), self.house.len().to_string()),
            ("answered".to_owned(), format!("{} of {asked} asked, {} busy", said.answered, said.busy)),
        ];
        let mut status = said.status();
        details.extend(said.named);
        let live = self.house.shared.live();
        if let RunState::Failed { why } = &live.run_state {
            status = HealthStatus::Failed;
            details.push(("host".to_owned(), why.clone()));
        }
        if !live.warnings.is_empty() {
            status = status.max(HealthStatus::Degraded);
        }
        details.extend(live.warnings.iter().map(|(about, warning)| ((*about).to_owned(), warning.clone())));
        drop(live);
        HealthReport { workload: self.house.name.clone(), status, details }
    }

    /// The five parts, and the connections.
    pub(super) async fn checks(&mut self, baseline: Option<&Baseline>) -> (Vec<Check>, ConnectionCount) {
        let began = Instant::now();
        let (said, asked) = self.ask().await;
        let answered = began.elapsed();
        let open = self.house.len() as u64;
        let before = baseline.map_or(open, |baseline| baseline.connections);
        let dropped = baseline.map_or(0, |baseline| self.house.tally.dropped() - baseline.dropped);
        let named: Vec<_> = said.named.iter().map(|(name, trouble)| format!("{name}: {trouble}")).collect();
        let checks = vec![
            Check {
                name: "health".to_owned(),
                passed: said.status() != HealthStatus::Failed,
                seen: format!("{} {}", said.status().as_str(), named.join("; ")).trim_end().to_owned(),
            },
            Check {
                name: "instances".to_owned(),
                // Those that are busy work; one that is lost closes its own connection.
                passed: said.answered + said.busy > 0 || asked == 0,
                seen: format!(
                    "{} of {asked} asked answered in {}, {} busy; there are {}",
                    said.answered,
                    ms(answered),
                    said.busy,
                    self.house.tally.instances()
                ),
            },
            Check { name: "tables".to_owned(), passed: true, seen: "the workload has none".to_owned() },
            Check {
                name: "connections".to_owned(),
                passed: dropped == 0,
                seen: format!("{before} at the switch, {dropped} dropped since, {open} open"),
            },
            latency(
                baseline.map(|baseline| &baseline.pace),
                &self.house.pace.lock().unwrap_or_else(PoisonError::into_inner),
            ),
        ];
        (checks, ConnectionCount { before, kept: before.saturating_sub(dropped) })
    }

    /// Asks some sessions for their health. How many were asked.
    async fn ask(&self) -> (Said, usize) {
        let sessions = self.house.sessions();
        let step = sessions.len().div_ceil(ASKED_LIMIT).max(1);
        let asked: Vec<_> = sessions.into_iter().step_by(step).collect();
        let count = asked.len();
        let said = Arc::new(Mutex::new(Said::default()));
        let saying = said.clone();
        let visit = move |session: &Arc<Session>| {
            let health = session.health();
            let mut said = saying.lock().unwrap_or_else(PoisonError::into_inner);
            match health {
                Some(health) => said.note(session, health),
                None => said.busy += 1,
            }
            Ok(())
        };
        let round = self.house.go_round_first(asked, Box::new(visit));
        if timeout(PATIENCE, round.over()).await.is_err() {
            round.cancel("it took too long");
        }
        let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        (said, count)
    }
}

impl Session {
    /// How its instance says it is; none when it is busy, or has no instance.
    fn health(self: &Arc<Self>) -> Option<Result<GuestHealth, String>> {
        if !self.try_turn() {
            return None;
        }
        let health = self.ask();
        self.end_turn();
        health
    }

    fn ask(self: &Arc<Self>) -> Option<Result<GuestHealth, String>> {
        let mut seat = self.seat();
        if seat.instance.is_none() || !self.caught_up(&mut seat) {
            return None;
        }
        let instance = seat.instance.as_mut()?;
        instance.advance(self.house.clock.unix());
        let health = instance.health();
        if let Err(error) = &health {
            let why = error.to_string();
            self.die(&mut seat, &why);
        }
        Some(health.map_err(|error| error.to_string()))
    }
}
