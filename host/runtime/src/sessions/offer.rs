//! A prepared swap on its way from its driver to the director.

use std::sync::{Arc, Mutex, PoisonError};

use host_core::{history::SwapReport, id::Generation, request::Progress, swap::Swap, time::Moment};
use tokio::sync::{mpsc, oneshot};

use super::ahead::Candidates;
use crate::{
    net::listener::Bound,
    telemetry::SwapSpan,
    workload::{Body, Ticket},
};

/// A release that stands ready to take over: a candidate for every session, and what it is made of.
pub(crate) struct Proposal {
    pub(crate) swap: Swap,
    pub(crate) report: SwapReport,
    pub(crate) span: SwapSpan,
    pub(crate) progress: mpsc::Sender<Progress>,
    pub(crate) done: oneshot::Sender<SwapReport>,
    pub(crate) ticket: Ticket,
    pub(crate) body: Body,
    /// The generation that its plan leads on from.
    pub(crate) planned_for: Generation,
    pub(crate) candidates: Candidates,
    /// Its new listeners, bound but not accepting.
    pub(crate) bound: Vec<Bound>,
}

/// A proposal on offer: the director takes it when no session runs, or its driver takes it back when the deadline comes first.
/// Whoever takes it has it.
#[derive(Clone)]
pub(crate) struct Offer {
    /// When the pause must be over.
    pub(crate) deadline: Option<Moment>,
    proposal: Arc<Mutex<Option<Proposal>>>,
}

impl Offer {
    pub(crate) fn new(proposal: Proposal) -> Self {
        Self { deadline: proposal.swap.wakes_at(), proposal: Arc::new(Mutex::new(Some(proposal))) }
    }

    /// Whether it was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.proposal.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Takes it, once.
    pub(crate) fn take(&self) -> Option<Proposal> {
        self.proposal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
