//! Components that hosts fetch from the web.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use super::{answers, harness::Fleet, traffic_on};
use crate::harness::Host;

/// A server over TLS that gives one file, with ranges, and breaks off its first answer in the middle.
struct Web {
    _running: Runtime,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// The ranges that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn serving(file: &Path) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let (body, asked) = (std::fs::read(file).unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let running = Runtime::new().unwrap();
        let listener = running.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, heard, answered) = (TlsAcceptor::from(Arc::new(config)), asked.clone(), AtomicUsize::new(0));
        running.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let mut stream = BufReader::new(stream);
                let (mut line, mut range) = (String::new(), String::new());
                while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
                    if let Some(from) = line.to_lowercase().trim().strip_prefix("range: bytes=") {
                        range = from.trim_end_matches('-').to_owned();
                    }
                    line.clear();
                }
                heard.lock().unwrap().push(range.clone());
                let from: usize = range.parse().unwrap_or(0);
                let status = if range.is_empty() {
                    "200 OK".to_owned()
                } else {
                    format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{}", body.len() - 1, body.len())
                };
                let length = body.len() - from;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let breaks_off = answered.fetch_add(1, Ordering::Relaxed) == 0;
                let end = if breaks_off { body.len() / 2 } else { body.len() };
                drop(stream.write_all(&[head.as_bytes(), &body[from..end]].concat()).await);
                drop(stream.shutdown().await);
            }
        });
        Self { _running: running, folder, address, asked }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/counter.wasm", self.address.port())
    }

    /// Whom a system trusts that trusts this server.
    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }
}

#[test]
fn hosts_fetch_a_release_from_the_web_each_once_and_those_that_join_later_too() {
    let fleet = Fleet::start();
    let alone = Host::unstarted();
    let source = alone.counter("1.0.0");
    let web = Web::serving(&source);
    let roots = web.roots();
    let trusting = |name: &str| {
        let join = ["--join", &fleet.url(), "--token", &fleet.token(1), "--host-name", name];
        Host::start_with(&join, &[("SSL_CERT_FILE", roots.to_str().unwrap()), ("NO_PROXY", "localhost")])
    };
    let hosts = [trusting("h1"), trusting("h2")];
    fleet.eventually("all hosts are connected", || fleet.connected() == 2);
    let unnamed = fleet.deploy("1.0.0", &["--listen", "tcp://127.0.0.1:0", "--from", &web.url()]);
    assert_eq!(unnamed.code, 1, "{unnamed:?}");
    assert!(unnamed.stdout.contains("--digest"), "what comes from the web is wanted by its digest: {unnamed:?}");

    let digest = hosts[0].json(&["inspect", source.to_str().unwrap()])["digest"].as_str().unwrap().to_owned();
    let from = ["--from", &web.url(), "--digest", &digest, "--soak", "0s", "--listen", "tcp://127.0.0.1:0"];
    let done = fleet.deploy("1.0.0", &from);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    let asked = web.asked.lock().unwrap().clone();
    let (whole, rest): (Vec<_>, Vec<_>) = asked.iter().partition(|range| range.is_empty());
    assert_eq!((whole.len(), rest.len()), (2, 1), "each once, and the one that broke off went on: {asked:?}");

    let late = trusting("late");
    fleet.eventually("it gets what is stable", || fleet.runs("late").starts_with("1.0.0: as it shall be"));
    assert_eq!(answers(&late), "1.0.0");

    // What a server gives is taken only for what it is.
    let traffic = traffic_on(&hosts);
    let other = "0".repeat(64);
    let done = fleet.deploy("1.1.0", &["--from", &web.url(), "--digest", &other, "--soak", "0s"]);
    assert_eq!(done.code, 1, "{done:?}\n{}", fleet.log());
    assert!(done.stdout.contains("is not the component 000000000000"), "{done:?}");
    for traffic in traffic {
        traffic.stop();
    }
    assert!(hosts.iter().all(|host| answers(host) == "1.0.0"));

    // A digest that nobody could fetch is not the version's for ever.
    let right = hosts[0].counter("1.1.0");
    let digest = hosts[0].json(&["inspect", right.to_str().unwrap()])["digest"].as_str().unwrap().to_owned();
    let from = format!("file://{}", right.display());
    let done = fleet.deploy("1.1.0", &["--from", &from, "--digest", &digest, "--soak", "0s"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
    assert!(hosts.iter().all(|host| answers(host) == "1.1.0"));
}
