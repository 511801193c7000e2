//! What the host shall do, and the builder that collects it.

use std::time::Duration;

use crate::event::{Header, MessageKind, ResponseHead};
use crate::{CallId, ConnectionId, RequestId, TimerId, Timestamp};

/// How a connection is closed.
///
/// ```
/// assert_ne!(guest_sdk::CloseMode::Flush, guest_sdk::CloseMode::Abort);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// After what was sent before has left.
    Flush,
    /// At once.
    Abort,
}

/// An answer to an HTTP request.
///
/// ```
/// let response = guest_sdk::Response::new(200, "hello").header("content-type", "text/plain");
/// assert_eq!(response.head.headers.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// The body is complete; otherwise [`Effects::respond_body`] follows.
    pub complete: bool,
}

impl Response {
    /// A whole response without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { head: ResponseHead { status, headers: Vec::new() }, body: body.into(), complete: true }
    }

    /// The same with one more header. The name is in lower case.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.head.headers.push((name.into(), value.into()));
        self
    }

    /// The same, with a body that goes on.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.complete = false;
        self
    }
}

/// An HTTP exchange that the workload starts.
///
/// ```
/// use std::time::Duration;
/// let fetch = guest_sdk::Fetch::get("https://example.com/").timeout(Duration::from_secs(5));
/// assert_eq!(fetch.method, "GET");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The method, in upper case.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
    /// When the host gives up; 30 s unless set.
    pub timeout: Duration,
}

impl Fetch {
    /// A GET without headers.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    /// A POST without headers.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), body: body.into(), ..Self::get(url) }
    }

    /// The same with another time limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What the host shall do. A workload makes these through [`Effects`]; a test looks at them.
///
/// ```
/// use guest_sdk::{ConnectionId, Effect, Effects, Timestamp};
///
/// let mut out = Effects::at_time(Timestamp::from_nanos(0));
/// out.send(ConnectionId::new(1), "hello");
/// assert_eq!(
///     out.into_effects(),
///     [Effect::Send { to: vec![ConnectionId::new(1)], data: b"hello".to_vec() }],
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// One payload to many connections.
    Send {
        /// The connections.
        to: Vec<ConnectionId>,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Close a connection. A `Closed` event follows.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// At once, or after what was sent.
        mode: CloseMode,
    },
    /// Set or move a timer.
    SetTimer {
        /// The timer.
        timer: TimerId,
        /// When it is due.
        at: Timestamp,
    },
    /// Forget a timer.
    CancelTimer {
        /// The timer.
        timer: TimerId,
    },
    /// Answer a call.
    Reply {
        /// The call.
        call: CallId,
        /// The answer, or why there is none.
        outcome: Result<Vec<u8>, String>,
    },
    /// Answer an HTTP request.
    Respond {
        /// The request.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// More of a response's body.
    RespondBody {
        /// The request.
        request: RequestId,
        /// The next part.
        data: Vec<u8>,
        /// The body is complete.
        complete: bool,
    },
    /// One WebSocket message to many connections.
    SendMessage {
        /// The connections.
        to: Vec<ConnectionId>,
        /// Text or binary.
        kind: MessageKind,
        /// The message.
        data: Vec<u8>,
    },
    /// Start an HTTP exchange with somebody else.
    Fetch {
        /// The name under which `Fetched` events come.
        request: RequestId,
        /// What to fetch.
        fetch: Fetch,
    },
    /// Open a connection to somebody else.
    Connect {
        /// The name under which the `Connected` event comes.
        request: RequestId,
        /// `tcp://host:port` or `tls://host:port`.
        address: String,
        /// When the host gives up.
        timeout: Duration,
    },
}

/// Collects the effects of a batch. They happen in order and all of them, or, when the workload traps, none.
///
/// An effect on an id that the workload does not hold does nothing, and the host counts it.
///
/// Sends that follow each other to the same single connection become one: a chunk with sixteen lines, each answered by a
/// `send`, crosses the border once.
///
/// ```
/// use guest_sdk::{ConnectionId, Effects, TimerId, Timestamp};
/// use std::time::Duration;
///
/// let ann = ConnectionId::new(1);
/// let mut out = Effects::at_time(Timestamp::from_nanos(0));
/// out.send(ann, "one\n");
/// out.send(ann, "two\n");
/// out.after(TimerId::new(1), Duration::from_secs(1));
/// assert_eq!(out.effects().len(), 2);
/// ```
#[derive(Debug)]
pub struct Effects {
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Effects {
    /// No effects yet, of a batch handled at `now`. The host does this for a workload; a test may.
    pub fn at_time(now: Timestamp) -> Self {
        Self { now, effects: Vec::new() }
    }

    /// The time of this batch, the only clock a workload needs.
    ///
    /// ```
    /// # use guest_sdk::{Effects, Timestamp};
    /// assert_eq!(Effects::at_time(Timestamp::from_nanos(5)).now().as_nanos(), 5);
    /// ```
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What was collected so far.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// What was collected.
    pub fn into_effects(self) -> Vec<Effect> {
        self.effects
    }

    /// Sends bytes to a connection. A `Vec` moves; anything else is copied once.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.send(ConnectionId::new(1), "text");
    /// out.send(ConnectionId::new(1), vec![1, 2, 3]);
    /// ```
    pub fn send(&mut self, connection: ConnectionId, data: impl AsRef<[u8]> + Into<Vec<u8>>) {
        if self.goes_on(connection) {
            self.buffer(connection).extend_from_slice(data.as_ref());
            return;
        }
        self.effects.push(Effect::Send { to: vec![connection], data: data.into() });
    }

    /// What is written to the buffer is sent to the connection: for many small answers, without an allocation for each.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effect, Effects, Timestamp};
    /// use std::io::Write as _;
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// for total in 1..=3 {
    ///     let _ = writeln!(out.buffer(ConnectionId::new(1)), "{total}"); // a Vec takes everything
    /// }
    /// # assert_eq!(out.into_effects(), [Effect::Send { to: vec![ConnectionId::new(1)], data: b"1\n2\n3\n".to_vec() }]);
    /// ```
    pub fn buffer(&mut self, connection: ConnectionId) -> &mut Vec<u8> {
        if !self.goes_on(connection) {
            self.effects.push(Effect::Send { to: vec![connection], data: Vec::new() });
        }
        match self.effects.last_mut() {
            Some(Effect::Send { data, .. }) => data,
            _ => unreachable!("the last effect is the send that was just made or found"),
        }
    }

    /// Sends the same bytes to many connections. They cross the border once.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.send_all([1, 2, 3].map(ConnectionId::new), "news\n");
    /// assert_eq!(out.effects().len(), 1);
    /// ```
    pub fn send_all(&mut self, to: impl IntoIterator<Item = ConnectionId>, data: impl Into<Vec<u8>>) {
        let to: Vec<_> = to.into_iter().collect();
        if !to.is_empty() {
            self.effects.push(Effect::Send { to, data: data.into() });
        }
    }

    /// Closes a connection after what was sent has left. A `Closed` event follows.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.send(ConnectionId::new(1), "goodbye\n");
    /// out.close(ConnectionId::new(1));
    /// ```
    pub fn close(&mut self, connection: ConnectionId) {
        self.effects.push(Effect::Close { connection, mode: CloseMode::Flush });
    }

    /// Closes a connection at once; what was sent may be lost. A `Closed` event follows.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.abort(ConnectionId::new(1));
    /// ```
    pub fn abort(&mut self, connection: ConnectionId) {
        self.effects.push(Effect::Close { connection, mode: CloseMode::Abort });
    }

    /// Sets or moves a timer to fire after `delay`.
    ///
    /// ```
    /// # use guest_sdk::{Effects, TimerId, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.after(TimerId::new(1), std::time::Duration::from_millis(100));
    /// ```
    pub fn after(&mut self, timer: TimerId, delay: Duration) {
        self.at(timer, self.now + delay);
    }

    /// Sets or moves a timer to fire at a moment. One that has passed fires at once.
    ///
    /// ```
    /// # use guest_sdk::{Effects, TimerId, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.at(TimerId::new(1), Timestamp::from_nanos(1_000));
    /// ```
    pub fn at(&mut self, timer: TimerId, at: Timestamp) {
        self.effects.push(Effect::SetTimer { timer, at });
    }

    /// Forgets a timer.
    ///
    /// ```
    /// # use guest_sdk::{Effects, TimerId, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.cancel(TimerId::new(1));
    /// ```
    pub fn cancel(&mut self, timer: TimerId) {
        self.effects.push(Effect::CancelTimer { timer });
    }

    /// Answers a call. The first answer counts.
    ///
    /// ```
    /// # use guest_sdk::{CallId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.reply(CallId::new(1), "42");
    /// ```
    pub fn reply(&mut self, call: CallId, data: impl Into<Vec<u8>>) {
        self.effects.push(Effect::Reply { call, outcome: Ok(data.into()) });
    }

    /// Answers a call with an error that says what was wrong with it.
    ///
    /// ```
    /// # use guest_sdk::{CallId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.fail(CallId::new(1), "no method \"frobnicate\"");
    /// ```
    pub fn fail(&mut self, call: CallId, message: impl Into<String>) {
        self.effects.push(Effect::Reply { call, outcome: Err(message.into()) });
    }

    /// Answers an HTTP request.
    ///
    /// ```
    /// # use guest_sdk::{Effects, RequestId, Response, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.respond(RequestId::new(1), Response::new(200, "hello"));
    /// ```
    pub fn respond(&mut self, request: RequestId, response: Response) {
        self.effects.push(Effect::Respond { request, response });
    }

    /// Sends more of a response's body; `complete` ends it.
    ///
    /// ```
    /// # use guest_sdk::{Effects, RequestId, Response, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.respond(RequestId::new(1), Response::new(200, "one ").unfinished());
    /// out.respond_body(RequestId::new(1), "two", true);
    /// ```
    pub fn respond_body(&mut self, request: RequestId, data: impl Into<Vec<u8>>, complete: bool) {
        self.effects.push(Effect::RespondBody { request, data: data.into(), complete });
    }

    /// Sends a WebSocket text message to connections.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.send_text([ConnectionId::new(1)], "hello");
    /// ```
    pub fn send_text(&mut self, to: impl IntoIterator<Item = ConnectionId>, text: impl Into<String>) {
        self.send_message(to, MessageKind::Text, text.into().into_bytes());
    }

    /// Sends a WebSocket binary message to connections.
    ///
    /// ```
    /// # use guest_sdk::{ConnectionId, Effects, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.send_binary([ConnectionId::new(1)], vec![1, 2, 3]);
    /// ```
    pub fn send_binary(&mut self, to: impl IntoIterator<Item = ConnectionId>, data: impl Into<Vec<u8>>) {
        self.send_message(to, MessageKind::Binary, data.into());
    }

    /// Starts an HTTP exchange with somebody else. `Fetched` events follow under the name given here.
    ///
    /// ```
    /// # use guest_sdk::{Effects, Fetch, RequestId, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.fetch(RequestId::new(1), Fetch::get("https://example.com/"));
    /// ```
    pub fn fetch(&mut self, request: RequestId, fetch: Fetch) {
        self.effects.push(Effect::Fetch { request, fetch });
    }

    /// Opens a connection to somebody else (`tcp://host:port`). A `Connected` event follows.
    ///
    /// ```
    /// # use guest_sdk::{Effects, RequestId, Timestamp};
    /// # let mut out = Effects::at_time(Timestamp::default());
    /// out.connect(RequestId::new(1), "tcp://example.com:7", std::time::Duration::from_secs(5));
    /// ```
    pub fn connect(&mut self, request: RequestId, address: impl Into<String>, timeout: Duration) {
        self.effects.push(Effect::Connect { request, address: address.into(), timeout });
    }

    /// Whether the last effect is a send to this connection alone.
    fn goes_on(&self, connection: ConnectionId) -> bool {
        matches!(self.effects.last(), Some(Effect::Send { to, .. }) if to.as_slice() == [connection])
    }

    fn send_message(&mut self, to: impl IntoIterator<Item = ConnectionId>, kind: MessageKind, data: Vec<u8>) {
        let to: Vec<_> = to.into_iter().collect();
        if !to.is_empty() {
            // Messages have boundaries: they are never put together.
            self.effects.push(Effect::SendMessage { to, kind, data });
        }
    }
}
