//! A real server over TLS that does what servers do.

use std::sync::Arc;

use bytes::Bytes;
use host_api::Failure;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

const COMPONENT: &[u8] = b"a component of some bytes";

#[derive(Default)]
struct Taken(Vec<u8>);

impl Staging for Taken {
    type Artifact = Vec<u8>;

    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.0.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self) -> Result<Vec<u8>, Failure> {
        Ok(self.0)
    }
}

/// Answers each request with the next of these, whole as they are, then closes. Gives its address, its client, and the ranges
/// that were asked for.
async fn served(answers: Vec<Vec<u8>>) -> (String, Client, tokio::task::JoinHandle<Vec<String>>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("https://localhost:{}/c.wasm", listener.local_addr().expect("an address").port());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let mut ranges = Vec::new();
        for answer in answers {
            let Ok(stream) = acceptor.accept(listener.accept().await.expect("a client").0).await else { continue };
            let mut stream = BufReader::new(stream);
            let (mut line, mut range) = (String::new(), String::new());
            while stream.read_line(&mut line).await.expect("a request") > 2 {
                if let Some(asked) = line.to_lowercase().strip_prefix("range: ") {
                    range = asked.trim().to_owned();
                }
                line.clear();
            }
            ranges.push(range);
            stream.write_all(&answer).await.expect("a client that reads");
            // However it ends: the client sees what it got.
            drop(stream.shutdown().await);
        }
        ranges
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let tls = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    let client = build(tls.with_root_certificates(roots).with_no_client_auth()).expect("a client");
    (address, client, server)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat()
}

fn whole() -> Vec<u8> {
    answer(&format!("200 OK\r\ncontent-length: {}", COMPONENT.len()), COMPONENT)
}

async fn fetched(answers: Vec<Vec<u8>>) -> (Result<Vec<u8>, String>, Vec<String>) {
    let (address, client, server) = served(answers).await;
    let mut taken = Taken::default();
    let read = read(&client, &address, &mut taken).await;
    (read.map(|()| taken.0), server.await.expect("a server"))
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_stopped() {
    let (first, rest) = COMPONENT.split_at(10);
    let cut = answer(&format!("200 OK\r\ncontent-length: {}", COMPONENT.len()), first);
    let busy = answer("503 Service Unavailable\r\ncontent-length: 0", b"");
    let part = answer(
        &format!(
            "206 Partial Content\r\ncontent-range: bytes 10-{}/{}\r\ncontent-length: {}",
            COMPONENT.len() - 1,
            COMPONENT.len(),
            rest.len()
        ),
        rest,
    );
    let (read, ranges) = fetched(vec![busy, cut, part]).await;
    assert_eq!(read.as_deref(), Ok(COMPONENT));
    assert_eq!(ranges, ["", "", "bytes=10-"]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_again_and_nothing_is_doubled() {
    let cut = answer(&format!("200 OK\r\ncontent-length: {}", COMPONENT.len()), COMPONENT.get(..7).expect("a part"));
    let (read, ranges) = fetched(vec![cut, whole()]).await;
    assert_eq!(read.as_deref(), Ok(COMPONENT));
    assert_eq!(ranges, ["", "bytes=7-"]);
}

#[tokio::test]
async fn an_answer_that_is_final_is_told_as_it_is() {
    let (read, _) = fetched(vec![answer("404 Not Found\r\ncontent-length: 0", b"")]).await;
    let why = read.expect_err("it is not there");
    assert!(why.contains("https://localhost:") && why.ends_with("the server answered 404 Not Found"), "{why}");

    let plain = answer("302 Found\r\nlocation: http://localhost:1/c.wasm\r\ncontent-length: 0", b"");
    let why = fetched(vec![plain]).await.0.expect_err("not by plain http");
    assert!(why.contains("redirect") || why.contains("scheme"), "{why}");

    let other = answer("206 Partial Content\r\ncontent-range: bytes 3-4/25\r\ncontent-length: 2", b"xx");
    let why = fetched(vec![other]).await.0.expect_err("not what was asked for");
    assert!(why.contains("another part"), "{why}");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_listened_to() {
    let (address, _, _server) = served(vec![whole()]).await;
    let mut taken = Taken::default();
    let why = read(&client().expect("a client"), &address, &mut taken).await.expect_err("a stranger");
    assert!(why.contains("certificate"), "{why}");
    assert!(taken.0.is_empty());
}
