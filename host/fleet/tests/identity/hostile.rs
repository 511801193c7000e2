//! Clients that mean ill, or nothing at all, at the coordinator's port.

use std::{sync::Arc, time::Duration};

use host_fleet::{
    identity::{CoordinatorAddress, Identity},
    transport::Limits,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::world::{Fleet, connecting};

/// Long enough for a handshake on a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_secs(1);

async fn dial(address: &CoordinatorAddress) -> TcpStream {
    TcpStream::connect((address.host(), address.port())).await.expect("connected")
}

/// Waits for the other side to close, however it does.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = [0; 256];
    while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {}
}

#[tokio::test]
async fn plain_text_gets_closed_and_hurts_nobody() {
    let fleet = Fleet::start().await;
    let host = fleet.host("web-1");
    let channel = connecting(&fleet.door, Some(&host), fleet.trust()).await.expect("connected");
    let mut stream = dial(&fleet.door).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    closed(stream).await;
    crate::world::who_am_i(channel).await.expect("who was there is served");
    fleet.ask(Some(&host)).await.expect("and so is who comes");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_dropped_and_gives_its_place_back() {
    let limits = Limits { handshake: SHORT, handshakes: 2, ..Limits::default() };
    let fleet = Fleet::limited(limits).await;
    let silent = dial(&fleet.door).await;
    let mut half = dial(&fleet.door).await;
    // The header of a handshake record, and nothing of what it announces.
    half.write_all(&[0x16, 3, 1, 2, 0]).await.expect("sent");
    // Waits its turn behind both.
    fleet.ask(Some(&fleet.host("web-1"))).await.expect("served after them");
    closed(silent).await;
    closed(half).await;
    assert_eq!(fleet.counts.too_slow(), 2);
}

#[tokio::test]
async fn strangers_find_little_room_and_members_find_theirs() {
    let limits = Limits { strangers: 1, ..Limits::default() };
    let fleet = Fleet::limited(limits).await;
    let stranger = tls(&fleet.door, None).await.expect("the first is let in");
    // The port decides about them in the order in which their handshakes end; the first has its place when it is served.
    let stranger = speak(stranger).await;
    let second = tls(&fleet.door, None).await.expect("the handshake is everybody's");
    closed(second).await;
    assert_eq!(fleet.counts.turned_away(), 1);
    fleet.ask(Some(&fleet.host("web-1"))).await.expect("a member is no stranger");
    drop(stranger);
}

#[tokio::test]
async fn a_stranger_may_not_stay() {
    let limits = Limits { stranger: SHORT, ..Limits::default() };
    let fleet = Fleet::limited(limits).await;
    let member = speak(tls(&fleet.door, Some(&fleet.host("web-1"))).await.expect("let in")).await;
    closed(tls(&fleet.door, None).await.expect("let in")).await;
    // It came before the stranger and has been there for longer.
    let gone = tokio::time::timeout(SHORT / 4, closed(member)).await;
    assert!(gone.is_err(), "a member stays");
}

#[tokio::test]
async fn at_the_limit_of_connections_a_client_is_closed_at_once() {
    let fleet = Fleet::limited(Limits { connections: 1, ..Limits::default() }).await;
    let host = fleet.host("web-1");
    let first = connecting(&fleet.door, Some(&host), fleet.trust()).await.expect("connected");
    crate::world::who_am_i(first.clone()).await.expect("served");
    let error = connecting(&fleet.door, Some(&host), fleet.trust()).await.expect_err("no room");
    assert!(error.to_string().contains("no room"), "{error}");
    crate::world::who_am_i(first).await.expect("the first goes on");
    assert_eq!(fleet.counts.turned_away(), 1);
}

#[tokio::test]
async fn a_certificate_without_its_key_gets_nowhere() {
    let fleet = Fleet::start().await;
    let host = fleet.host("web-1");
    let stolen = vec![host.certificate().clone()];
    let thiefs = rcgen::KeyPair::generate().expect("a key").serialize_der();
    let thiefs = rustls::pki_types::PrivatePkcs8KeyDer::from(thiefs).into();
    let thiefs = rustls::crypto::ring::sign::any_ecdsa_type(&thiefs).expect("it signs");
    let shown = CertifiedKey::new(stolen, thiefs);
    let config = config().with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    // In TLS 1.3 the client is done first; what it sends is never looked at.
    if let Ok(mut stream) = handshake(&fleet.door, config).await {
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect_err("an alert, or cut off");
        assert_eq!(answer, b"");
    }
    assert_eq!(fleet.counts.refused(), 0, "it did not come so far");
}

/// The beginning of HTTP/2, and the server's answer to it.
async fn speak(mut stream: TlsStream<TcpStream>) -> TlsStream<TcpStream> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    // Frames up to the acknowledgement of ours: now the connection is served.
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.expect("a frame");
        let [.., kind, flags, _, _, _, _] = header;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        stream.read_exact(&mut vec![0; length]).await.expect("its payload");
        if (kind, flags) == (4, 1) {
            break;
        }
    }
    stream
}

async fn tls(address: &CoordinatorAddress, identity: Option<&Identity>) -> std::io::Result<TlsStream<TcpStream>> {
    let config = match identity {
        Some(identity) => {
            let key = std::fs::read(saved(identity).path().join("key.der")).expect("a key");
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key).into();
            config().with_client_auth_cert(vec![identity.certificate().clone()], key).expect("they fit")
        }
        None => config().with_no_client_auth(),
    };
    handshake(address, config).await
}

fn saved(identity: &Identity) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a folder");
    let address = "127.0.0.1".parse().expect("an address");
    host_fleet::identity::Folder::new(directory.path()).save(identity, &address).expect("saved");
    directory
}

async fn handshake(address: &CoordinatorAddress, mut config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("coordinator").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, dial(address).await).await
}

fn config() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
}

/// Believes any server: these clients are not the ones to be protected.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
