//! The wire between a host and its coordinator, in a test's hands: it can be cut, and it can swallow what is said.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

/// Most bytes that are taken in one direction before the other end takes them; the rest waits in the system's buffers.
const CHUNK_BYTES: usize = 64 << 10;

/// A port that leads to a coordinator, for as long as the test wants it to.
pub(super) struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// What a wire swallows: it takes it, and brings it only when it is healed, if it was not cut before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swallows {
    /// What the coordinator says: its commands.
    Commands,
    /// What the host says: its answers.
    Answers,
    /// Both.
    All,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    upstream: Option<SocketAddr>,
    swallows: Option<Swallows>,
    is_cut: bool,
    is_over: bool,
    /// Each connection that was made, with what is needed to end it.
    connections: Vec<Ends>,
}

struct Ends {
    host: TcpStream,
    coordinator: TcpStream,
}

/// A direction in which bytes are carried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToHost,
    ToCoordinator,
}

impl State {
    fn lets_through(&self, direction: Direction) -> bool {
        !matches!(
            (self.swallows, direction),
            (Some(Swallows::All), _)
                | (Some(Swallows::Commands), Direction::ToHost)
                | (Some(Swallows::Answers), Direction::ToCoordinator)
        )
    }

    fn end_connections(&mut self) {
        for Ends { host, coordinator } in self.connections.drain(..) {
            drop((host.shutdown(Shutdown::Both), coordinator.shutdown(Shutdown::Both)));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

impl Wire {
    /// A wire to a coordinator's port.
    pub(super) fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.change(|state| state.upstream = Some(upstream));
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where a host finds its coordinator through it.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on it takes what is said, and does not bring it.
    pub(super) fn swallow(&self, what: Swallows) {
        self.shared.change(|state| state.swallows = Some(what));
    }

    /// Ends every connection, with what was swallowed, and lets none be made.
    pub(super) fn cut(&self) {
        self.shared.change(|state| {
            state.is_cut = true;
            state.end_connections();
        });
    }

    /// Brings what was swallowed, and lets connections be made.
    pub(super) fn heal(&self) {
        self.shared.change(|state| (state.is_cut, state.swallows) = (false, None));
    }

    /// Ends every connection; those that are made from now on lead elsewhere.
    pub(super) fn lead_to(&self, upstream: SocketAddr) {
        self.shared.change(|state| {
            state.upstream = Some(upstream);
            state.end_connections();
        });
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.change(|state| {
            (state.is_over, state.is_cut) = (true, true);
            state.end_connections();
        });
        // It waits for a connection: this is the last.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for host in listener.incoming() {
        let Ok(host) = host else { continue };
        let upstream = {
            let state = shared.state();
            if state.is_over {
                return;
            }
            state.upstream.filter(|_| !state.is_cut)
        };
        // A coordinator that does not run: the host is turned away, as it would be there.
        let Some(Ok(coordinator)) = upstream.map(TcpStream::connect) else { continue };
        let (Ok(host_end), Ok(coordinator_end)) = (host.try_clone(), coordinator.try_clone()) else { continue };
        let mut state = shared.state();
        if state.is_cut {
            continue;
        }
        state.connections.push(Ends { host: host_end, coordinator: coordinator_end });
        drop(state);
        let (Ok(from_host), Ok(from_coordinator)) = (host.try_clone(), coordinator.try_clone()) else { continue };
        for (from, to, direction) in
            [(from_host, coordinator, Direction::ToCoordinator), (from_coordinator, host, Direction::ToHost)]
        {
            let shared = shared.clone();
            std::thread::spawn(move || carry(from, to, direction, &shared));
        }
    }
}

/// Carries bytes one way until one end is gone.
fn carry(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        let mut state = shared.state();
        while !state.lets_through(direction) && !state.is_cut {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_cut {
            break;
        }
        drop(state);
        if to.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
