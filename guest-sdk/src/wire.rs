//! Between the SDK's types and those generated from the WIT. Payloads move; nothing is copied.
//!
//! No part of the API: what it converts to changes with the contract.

#![allow(missing_docs, reason = "hidden; each function converts the type in its name")]

use std::time::Duration;

use crate::bindings::hotswap::workload::types as wit;
use crate::{
    CallId, CloseMode, CloseReason, ConnectionId, Description, Effect, Event, FetchPart, Health, HealthStatus,
    HttpHead, Loss, MessageKind, RequestId, ResponseHead, Start, StateFormat, StoredState, TimerId, Timestamp,
};

impl From<wit::State> for StoredState {
    fn from(state: wit::State) -> Self {
        Self { format: StateFormat { schema: state.schema, fingerprint: state.fingerprint }, data: state.data }
    }
}

pub fn state(state: StoredState) -> wit::State {
    wit::State { schema: state.format.schema, fingerprint: state.format.fingerprint, data: state.data }
}

pub fn description(description: Description) -> wit::Description {
    let format = |format: StateFormat| wit::StateFormat { schema: format.schema, fingerprint: format.fingerprint };
    wit::Description {
        writes: format(description.writes),
        upgrades_from: description.upgrades_from.into_iter().map(format).collect(),
        downgrades_to: description.downgrades_to.into_iter().map(format).collect(),
        protocols: description.protocols,
    }
}

pub fn health(health: Health) -> wit::Health {
    let status = match health.status {
        HealthStatus::Ok => wit::HealthStatus::Ok,
        HealthStatus::Degraded => wit::HealthStatus::Degraded,
        HealthStatus::Failed => wit::HealthStatus::Failed,
    };
    wit::Health { status, details: health.details }
}

pub fn event(event: wit::Event) -> Event {
    match event {
        wit::Event::Received(e) => Event::Received { connection: ConnectionId::new(e.connection), data: e.data },
        wit::Event::Opened(e) => Event::Opened {
            connection: ConnectionId::new(e.connection),
            listener: e.listener,
            peer: e.peer,
            protocol: e.protocol,
            handshake: e.handshake.map(head),
        },
        wit::Event::Closed(e) => {
            Event::Closed { connection: ConnectionId::new(e.connection), reason: close_reason(e.reason) }
        }
        wit::Event::Fired(e) => Event::Fired {
            timer: TimerId::new(e.timer),
            due: Timestamp::from_nanos(e.due),
            late: Duration::from_nanos(e.late_ns),
        },
        wit::Event::Called(e) => Event::Called { call: CallId::new(e.call), method: e.method, payload: e.payload },
        wit::Event::Started(e) => Event::Started(match e {
            wit::Start::Fresh => Start::Fresh,
            wit::Start::Swapped(from) => Start::Swapped { from },
            wit::Start::Restarted(loss) => Start::Restarted(Loss { batches: loss.batches, events: loss.events }),
            wit::Start::RolledBack(from) => Start::RolledBack { from },
        }),
        wit::Event::HttpRequest(e) => Event::HttpRequest {
            request: RequestId::new(e.request),
            listener: e.listener,
            peer: e.peer,
            head: head(e.head),
            body: e.body,
            complete: e.complete,
        },
        wit::Event::HttpBody(e) => {
            Event::HttpBody { request: RequestId::new(e.request), data: e.data, complete: e.complete }
        }
        wit::Event::HttpGone(e) => {
            Event::HttpGone { request: RequestId::new(e.request), reason: close_reason(e.reason) }
        }
        wit::Event::Message(e) => Event::Message {
            connection: ConnectionId::new(e.connection),
            kind: match e.kind {
                wit::MessageKind::Text => MessageKind::Text,
                wit::MessageKind::Binary => MessageKind::Binary,
            },
            data: e.data,
        },
        wit::Event::Fetched(e) => Event::Fetched {
            request: RequestId::new(e.request),
            part: match e.part {
                wit::FetchPart::Head(head) => {
                    FetchPart::Head(ResponseHead { status: head.status, headers: head.headers })
                }
                wit::FetchPart::Body(data) => FetchPart::Body(data),
                wit::FetchPart::End => FetchPart::End,
                wit::FetchPart::Failed(why) => FetchPart::Failed(why),
            },
        },
        wit::Event::Connected(e) => {
            Event::Connected { request: RequestId::new(e.request), outcome: e.outcome.map(ConnectionId::new) }
        }
    }
}

fn head(head: wit::HttpHead) -> HttpHead {
    HttpHead {
        method: head.method,
        scheme: head.scheme,
        authority: head.authority,
        target: head.target,
        headers: head.headers,
    }
}

fn close_reason(reason: wit::CloseReason) -> CloseReason {
    match reason {
        wit::CloseReason::Peer => CloseReason::Peer,
        wit::CloseReason::Error => CloseReason::Error,
        wit::CloseReason::TooSlow => CloseReason::TooSlow,
        wit::CloseReason::Requested => CloseReason::Requested,
        wit::CloseReason::Drained => CloseReason::Drained,
        wit::CloseReason::HostRestarted => CloseReason::HostRestarted,
        wit::CloseReason::SetAside => CloseReason::SetAside,
        wit::CloseReason::Limit => CloseReason::Limit,
    }
}

pub fn effect(effect: Effect) -> wit::Effect {
    match effect {
        Effect::Send { to, data } => wit::Effect::Send(wit::Send { to: connections(to), data }),
        Effect::Close { connection, mode } => wit::Effect::Close(wit::Close {
            connection: connection.get(),
            mode: match mode {
                CloseMode::Flush => wit::CloseMode::Flush,
                CloseMode::Abort => wit::CloseMode::Abort,
            },
        }),
        Effect::SetTimer { timer, at } => {
            wit::Effect::SetTimer(wit::SetTimer { timer: timer.get(), at: at.as_nanos() })
        }
        Effect::CancelTimer { timer } => wit::Effect::CancelTimer(timer.get()),
        Effect::Reply { call, outcome } => wit::Effect::Reply(wit::Reply { call: call.get(), outcome }),
        Effect::Respond { request, response } => wit::Effect::Respond(wit::Respond {
            request: request.get(),
            head: wit::ResponseHead { status: response.head.status, headers: response.head.headers },
            body: response.body,
            complete: response.complete,
        }),
        Effect::RespondBody { request, data, complete } => {
            wit::Effect::RespondBody(wit::RespondBody { request: request.get(), data, complete })
        }
        Effect::SendMessage { to, kind, data } => wit::Effect::SendMessage(wit::SendMessage {
            to: connections(to),
            kind: match kind {
                MessageKind::Text => wit::MessageKind::Text,
                MessageKind::Binary => wit::MessageKind::Binary,
            },
            data,
        }),
        Effect::Fetch { request, fetch } => wit::Effect::Fetch(wit::Fetch {
            request: request.get(),
            method: fetch.method,
            url: fetch.url,
            headers: fetch.headers,
            body: fetch.body,
            timeout_ms: millis(fetch.timeout),
        }),
        Effect::Connect { request, address, timeout } => {
            wit::Effect::Connect(wit::Connect { request: request.get(), address, timeout_ms: millis(timeout) })
        }
    }
}

/// The same allocation: the two lists have the same layout and the collection happens in place.
fn connections(to: Vec<ConnectionId>) -> Vec<u64> {
    to.into_iter().map(ConnectionId::get).collect()
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
