//! Who is believed, by the coordinator and by its clients.

use std::sync::Arc;

use host_api::Failure;
use host_fleet::{
    identity::{Authority, Kind},
    transport::{ConnectError, Trust},
};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tonic::Status;

use crate::world::{Fleet, Hands, NOW, YEAR, connecting, impostor, name, who_am_i};

#[track_caller]
fn turned_away(answer: Result<String, Status>, words: &str) {
    let failure = Failure::from(&answer.expect_err(words));
    assert!(failure.what.contains(words), "{failure:?}");
    assert!(failure.remedy.is_some(), "{failure:?}");
}

#[tokio::test]
async fn a_member_of_another_fleet_is_told_so() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let words = format!("signed by the authority of fleet {}", other.authority.fleet());
    turned_away(fleet.ask(Some(&other.host("web-1"))).await, &words);
    assert_eq!(fleet.counts.refused(), 1);
}

#[tokio::test]
async fn a_member_whose_certificate_ran_out_is_told_so_even_on_a_connection_that_it_has() {
    let fleet = Fleet::start().await;
    let host = fleet.host("web-1");
    let channel = connecting(&fleet.door, Some(&host), fleet.trust()).await.expect("connected");
    who_am_i(channel.clone()).await.expect("known");
    fleet.hands.set(NOW.after(6 * YEAR));
    turned_away(who_am_i(channel).await, "the certificate of host web-1 expired at 2032-");
    turned_away(fleet.ask(Some(&host)).await, "the certificate of host web-1 expired at 2032-");
}

#[tokio::test]
async fn a_member_from_the_future_is_told_to_look_at_its_clock() {
    let fleet = Fleet::start().await;
    let host = fleet.authority.identity(Kind::Host, name("web-1"), NOW.after(YEAR)).expect("an identity");
    turned_away(fleet.ask(Some(&host)).await, "valid only from 2028-");
}

#[tokio::test]
async fn the_wrong_kind_of_member_is_told_which_is_wanted() {
    let fleet = Fleet::start().await;
    for (kind, words) in [
        (Kind::Operator, "that of operator x; here a host is wanted"),
        (Kind::Coordinator, "that of coordinator x; here a host or an operator is wanted"),
    ] {
        let identity = fleet.authority.identity(kind, name("x"), NOW).expect("an identity");
        turned_away(fleet.ask(Some(&identity)).await, words);
    }
}

#[tokio::test]
async fn who_shows_nothing_may_only_join() {
    let fleet = Fleet::start().await;
    turned_away(fleet.ask(None).await, "needs the certificate of a host");
}

#[tokio::test]
async fn two_processes_with_one_identity_are_known_as_the_same_certificate() {
    let fleet = Fleet::start().await;
    let host = fleet.host("web-1");
    let (one, other) = (fleet.ask(Some(&host)).await, fleet.ask(Some(&host)).await);
    assert_eq!(one.expect("known"), other.expect("known"));
    let renewed = fleet.host("web-1");
    assert_ne!(renewed.member().serial, host.member().serial);
}

#[tokio::test]
async fn a_client_does_not_believe_the_coordinator_of_another_fleet() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let host = other.host("web-1");
    let key = other.authority.certificate().key();
    for trust in [other.trust(), Trust::Key(key)] {
        let error = connecting(&fleet.door, Some(&host), trust).await.expect_err("another fleet");
        assert!(matches!(error, ConnectError::WrongFleet { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_does_not_take_a_host_or_an_operator_for_a_coordinator() {
    let fleet = Fleet::start().await;
    for kind in [Kind::Host, Kind::Operator] {
        let (address, _servers) = impostor(&fleet.authority.identity(kind, name("x"), NOW).expect("an identity")).await;
        for trust in [fleet.trust(), Trust::Key(fleet.authority.certificate().key())] {
            let error = connecting(&address, None, trust).await.expect_err("no coordinator");
            assert!(matches!(error, ConnectError::WrongKind { .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("{kind} x")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_client_does_not_believe_a_coordinator_whose_time_is_over() {
    let authority = Authority::generate(NOW).expect("an authority");
    let (address, _servers) = impostor(&authority.identity(Kind::Coordinator, name("a"), NOW).expect("made")).await;
    let hands = Hands::new();
    hands.set(NOW.after(6 * YEAR));
    let trust = Trust::Authority(authority.certificate().clone());
    let error = host_fleet::transport::connect(&address, None, trust, hands.clock()).await.expect_err("expired");
    assert!(matches!(error, ConnectError::OutOfTime { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_and_somebody_else_are_told_apart() {
    let fleet = Fleet::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").into();
    drop(listener);
    let nobody = connecting(&address, None, fleet.trust()).await.expect_err("nobody there");
    assert!(matches!(nobody, ConnectError::Unreachable { .. }), "{nobody:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").into();
    let web_server = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).await.expect("its hello");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("answered");
    };
    let (_, answer) = tokio::join!(web_server, connecting(&address, None, fleet.trust()));
    let somebody = answer.expect_err("a web server");
    assert!(matches!(somebody, ConnectError::NotACoordinator { .. }), "{somebody:?}");
}

#[tokio::test]
async fn another_programs_tls_server_is_no_coordinator() {
    let fleet = Fleet::start().await;
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").into();
    for trust in [fleet.trust(), Trust::Key(fleet.authority.certificate().key())] {
        let serving = async {
            let (stream, _) = listener.accept().await.expect("a client");
            acceptor.accept(stream).await.map(|_| ())
        };
        let (served, answer) = tokio::join!(serving, connecting(&address, None, trust));
        served.expect_err("the client went away");
        let error = answer.expect_err("no coordinator");
        assert!(matches!(error, ConnectError::NotACoordinator { .. }), "{error:?}");
    }
}
