//! A fleet on loopback: a coordinator's port, a store in memory, and a clock that stands where the test puts it.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use host_core::{
    label::{Label, Labels},
    time::UnixNanos,
};
use host_fleet::{
    clock::Clock,
    identity::{
        Authority, CoordinatorAddress, Folder, Identity, JoinToken, Joiner, Kind, LabelRule, StoredToken, SubjectName,
        TokenId,
    },
    join::{
        Admission, AdmissionError, Admitted, Application, JoinError, Joined, Joining, MemberRecord, decide, join,
        service,
    },
    pb::{
        JoinRequest, JoinResponse,
        join_client::JoinClient,
        join_server::{Join, JoinServer},
    },
    transport::{Caller, ConnectError, Counts, Incoming, Limits, Trust, connect, limits},
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Request, Response, Status, transport::Channel};

pub(crate) const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const YEAR: Duration = Duration::from_hours(365 * 24);

/// A clock that stands still until it is set.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(NOW.0)))
    }

    pub(crate) fn set(&self, at: UnixNanos) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::new(move || UnixNanos(hands.load(Ordering::SeqCst)))
    }
}

/// The store's part, in memory.
#[derive(Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    tokens: HashMap<TokenId, StoredToken>,
    members: HashMap<(Kind, SubjectName), MemberRecord>,
}

impl Book {
    pub(crate) fn keep(&self, token: StoredToken) {
        self.0.lock().expect("unpoisoned").tokens.insert(token.id, token);
    }

    pub(crate) fn uses_left(&self, token: &JoinToken) -> u32 {
        self.0.lock().expect("unpoisoned").tokens.get(&token.id()).expect("kept").uses_left
    }
}

impl Admission for Book {
    async fn admit(&self, application: Application, now: UnixNanos) -> Result<Admitted, AdmissionError> {
        let mut pages = self.0.lock().expect("unpoisoned");
        let stored = pages.tokens.get(&application.token.id()).cloned();
        let kind = stored.as_ref().map_or(Kind::Host, |stored| stored.joiner.into());
        let namesake = pages.members.get(&(kind, application.name.clone())).cloned();
        let admitted = decide(stored.as_ref(), namesake.as_ref(), &application, now)?;
        if let Some(token) = pages.tokens.get_mut(&application.token.id()) {
            token.uses_left = admitted.uses_left;
        }
        let member = admitted.member.clone();
        pages.members.insert((member.kind, member.name.clone()), member);
        Ok(admitted)
    }
}

/// Answers hosts with their name, and everybody else with the reason why not.
pub(crate) struct Doorkeeper(Clock);

#[tonic::async_trait]
impl Join for Doorkeeper {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let caller = Caller::of(&request);
        let member = caller.require(Kind::Host, self.0.now())?;
        let said = format!("{} {}", member.subject, member.serial);
        Ok(Response::new(JoinResponse { certificate: said.into(), authority: Vec::new().into() }))
    }
}

/// A fleet with one coordinator that serves until dropped.
pub(crate) struct Fleet {
    pub(crate) authority: Arc<Authority>,
    pub(crate) book: Arc<Book>,
    pub(crate) hands: Hands,
    /// Lets joiners in.
    pub(crate) address: CoordinatorAddress,
    /// Asks members who they are.
    pub(crate) door: CoordinatorAddress,
    pub(crate) counts: Arc<Counts>,
    _servers: JoinSet<()>,
}

pub(crate) fn name(text: &str) -> SubjectName {
    text.parse().expect("a name")
}

pub(crate) fn labels(text: &[&str]) -> Labels {
    let labels: Vec<Label> = text.iter().map(|label| label.parse().expect("a label")).collect();
    labels.try_into().expect("sound")
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::limited(Limits::default()).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        let hands = Hands::new();
        let authority = Arc::new(Authority::generate(NOW).expect("an authority"));
        let coordinator = authority.identity(Kind::Coordinator, name("main"), NOW).expect("an identity");
        let book = Arc::new(Book::default());
        let mut servers = JoinSet::new();
        let joining = service(Joining::new(Arc::clone(&authority), Arc::clone(&book), hands.clock()));
        let (address, _) = serve(&mut servers, &coordinator, &hands, limits, joining).await;
        let doorkeeper = JoinServer::new(Doorkeeper(hands.clock()));
        let (door, counts) = serve(&mut servers, &coordinator, &hands, limits, doorkeeper).await;
        Self { authority, book, hands, address, door, counts, _servers: servers }
    }

    pub(crate) fn token(&self, uses: u32, rule: LabelRule) -> JoinToken {
        self.token_for(Joiner::Host, uses, rule)
    }

    pub(crate) fn token_for(&self, joiner: Joiner, uses: u32, rule: LabelRule) -> JoinToken {
        let token = JoinToken::generate(self.authority.certificate().key()).expect("random bytes");
        let uses = NonZeroU32::new(uses).expect("some");
        self.book.keep(StoredToken::new(&token, joiner, uses, HOUR, rule, NOW).expect("sound terms"));
        token
    }

    pub(crate) fn host(&self, called: &str) -> Identity {
        self.authority.identity(Kind::Host, name(called), NOW).expect("an identity")
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Authority(self.authority.certificate().clone())
    }

    /// Joins by the usual way.
    pub(crate) async fn join(
        &self,
        folder: &Folder,
        token: &JoinToken,
        called: &str,
        said: &[&str],
    ) -> Result<Joined, JoinError> {
        join(folder, &self.address, token, &name(called), &labels(said), &self.hands.clock()).await
    }

    /// What this fleet says to a member that asks who it is; the member's own clock stands at [`NOW`].
    pub(crate) async fn ask(&self, identity: Option<&Identity>) -> Result<String, Status> {
        let clock = Hands::new().clock();
        let channel = connect(&self.door, identity, self.trust(), clock).await.expect("connected");
        who_am_i(channel).await
    }
}

/// Serves as this coordinator on a port of its own.
pub(crate) async fn serve<S>(
    servers: &mut JoinSet<()>,
    coordinator: &Identity,
    hands: &Hands,
    limits: Limits,
    service: JoinServer<S>,
) -> (CoordinatorAddress, Arc<Counts>)
where
    S: Join,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").into();
    let incoming = Incoming::new(listener, coordinator, hands.clock(), limits).expect("TLS");
    let counts = incoming.counts();
    servers.spawn(async move {
        limits::server().add_service(service).serve_with_incoming(incoming).await.expect("served");
    });
    (address, counts)
}

/// A coordinator's port, served as somebody else.
pub(crate) async fn impostor(identity: &Identity) -> (CoordinatorAddress, JoinSet<()>) {
    let hands = Hands::new();
    let mut servers = JoinSet::new();
    let service = JoinServer::new(Doorkeeper(hands.clock()));
    let (address, _) = serve(&mut servers, identity, &hands, Limits::default(), service).await;
    (address, servers)
}

pub(crate) async fn who_am_i(channel: Channel) -> Result<String, Status> {
    let answer = JoinClient::new(channel).join(JoinRequest::default()).await?.into_inner();
    Ok(String::from_utf8(answer.certificate.to_vec()).expect("text"))
}

pub(crate) async fn connecting(
    address: &CoordinatorAddress,
    identity: Option<&Identity>,
    trust: Trust,
) -> Result<Channel, ConnectError> {
    connect(address, identity, trust, Hands::new().clock()).await
}
