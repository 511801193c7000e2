//! What happened: the WIT's events with ids as newtypes.

use std::time::Duration;

use crate::{CallId, ConnectionId, RequestId, TimerId, Timestamp};

/// A header's name, in lower case, and its value.
pub type Header = (String, Vec<u8>);

/// How the instance that now runs came to be.
///
/// ```
/// use guest_sdk::Start;
/// let start = Start::Swapped { from: "1.0.0".to_owned() };
/// assert!(matches!(start, Start::Swapped { from } if from == "1.0.0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The workload never ran before.
    Fresh,
    /// A swap from this version.
    Swapped {
        /// The version that ran before.
        from: String,
    },
    /// The instance before it failed, or the host started again.
    Restarted(Loss),
    /// A rollback from this version.
    RolledBack {
        /// The version that ran before.
        from: String,
    },
}

/// What a restart cost. Zero means nothing was lost.
///
/// ```
/// assert_eq!(guest_sdk::Loss::default().events, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Batches handled since the checkpoint whose effects on the state are gone.
    pub batches: u64,
    /// Events in those batches.
    pub events: u64,
}

/// Why a connection ended.
///
/// ```
/// assert_ne!(guest_sdk::CloseReason::Peer, guest_sdk::CloseReason::HostRestarted);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed it.
    Peer,
    /// The network failed.
    Error,
    /// The client did not take its answers and the limit was reached.
    TooSlow,
    /// The workload asked for it.
    Requested,
    /// The operator drained it.
    Drained,
    /// The host started again; the connection is from before.
    HostRestarted,
    /// The host set the event aside that made the instance fail, and this connection with it.
    SetAside,
    /// A limit of the host was reached.
    Limit,
}

/// The head of an HTTP request.
///
/// ```
/// let head = guest_sdk::HttpHead {
///     method: "GET".to_owned(),
///     scheme: "http".to_owned(),
///     authority: "example.com".to_owned(),
///     target: "/?page=2".to_owned(),
///     headers: vec![("accept".to_owned(), b"text/plain".to_vec())],
/// };
/// assert_eq!(head.target, "/?page=2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHead {
    /// The method, in upper case.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// The headers, in the order they came.
    pub headers: Vec<Header>,
}

/// The head of an HTTP response.
///
/// ```
/// let head = guest_sdk::ResponseHead { status: 200, headers: Vec::new() };
/// assert_eq!(head.status, 200);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

/// The kind of a WebSocket message.
///
/// ```
/// assert_ne!(guest_sdk::MessageKind::Text, guest_sdk::MessageKind::Binary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// One part of the answer to a fetch.
///
/// ```
/// use guest_sdk::FetchPart;
/// let part = FetchPart::Body(b"hello".to_vec());
/// assert!(matches!(part, FetchPart::Body(data) if data == b"hello"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchPart {
    /// Status and headers; the body follows.
    Head(ResponseHead),
    /// Some of the body.
    Body(Vec<u8>),
    /// The body is complete.
    End,
    /// It failed, at whatever point. Nothing follows.
    Failed(String),
}

/// What happened. A workload matches those it cares for and ends with `_ => {}`: later protocols bring more.
///
/// ```
/// use guest_sdk::{ConnectionId, Event};
///
/// fn bytes(event: &Event) -> usize {
///     match event {
///         Event::Received { data, .. } => data.len(),
///         _ => 0,
///     }
/// }
/// assert_eq!(bytes(&Event::Received { connection: ConnectionId::new(1), data: vec![1, 2, 3] }), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first event of every instance. Its effects are allowed: here a workload arms its timers.
    Started(Start),
    /// A connection was opened.
    Opened {
        /// The connection.
        connection: ConnectionId,
        /// The listener that accepted it, as it was configured (`tcp://127.0.0.1:7000`).
        listener: String,
        /// The client's address.
        peer: String,
        /// The client protocol negotiated before the workload saw it, if any (ALPN, WebSocket subprotocol).
        protocol: Option<String>,
        /// The request that opened a WebSocket.
        handshake: Option<HttpHead>,
    },
    /// Bytes came in. Where one chunk ends and the next begins means nothing; see [`framing`](crate::framing).
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A connection ended. Nothing more comes from it and nothing more can be sent.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A timer fired. It fires once.
    Fired {
        /// The timer.
        timer: TimerId,
        /// When it should have fired.
        due: Timestamp,
        /// How much later it was: a swap or a restart came between.
        late: Duration,
    },
    /// Somebody calls the workload and waits for [`Effects::reply`](crate::Effects::reply) or [`Effects::fail`](crate::Effects::fail).
    Called {
        /// The call.
        call: CallId,
        /// What is asked for.
        method: String,
        /// With what.
        payload: Vec<u8>,
    },
    /// An HTTP request came in.
    HttpRequest {
        /// The request.
        request: RequestId,
        /// The listener that accepted it.
        listener: String,
        /// The client's address.
        peer: String,
        /// Method, target, headers.
        head: HttpHead,
        /// The body, or its beginning.
        body: Vec<u8>,
        /// The body is complete; otherwise [`Event::HttpBody`] follows.
        complete: bool,
    },
    /// More of a request's body.
    HttpBody {
        /// The request.
        request: RequestId,
        /// The next part.
        data: Vec<u8>,
        /// The body is complete.
        complete: bool,
    },
    /// A request's client is gone; answers to it are dropped.
    HttpGone {
        /// The request.
        request: RequestId,
        /// Why.
        reason: CloseReason,
    },
    /// A whole WebSocket message.
    Message {
        /// The connection.
        connection: ConnectionId,
        /// Text or binary.
        kind: MessageKind,
        /// The message.
        data: Vec<u8>,
    },
    /// A fetch made progress.
    Fetched {
        /// The name the workload gave it.
        request: RequestId,
        /// What came.
        part: FetchPart,
    },
    /// A connect ended.
    Connected {
        /// The name the workload gave it.
        request: RequestId,
        /// The connection, which from now on is like one that a client opened; or why there is none.
        outcome: Result<ConnectionId, String>,
    },
}
