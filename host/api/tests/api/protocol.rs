//! Sides that don't fit: no host, something else, another protocol, a raw upload.

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use host_api::{Client, ClientError, pb, socket};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt as _, net::UnixListener};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

use crate::memory::{Running, request};

#[tokio::test]
async fn without_a_host_the_way_to_start_one_is_told() {
    let data = tempfile::tempdir().expect("a folder");
    let path = socket::path(data.path());
    let check = async || {
        let error = Client::connect(&path).await.expect_err("nobody there");
        let wanted = format!("start one with `host run --data {}`", data.path().display());
        assert!(error.to_string().ends_with(&wanted), "{error}");
    };
    check().await;
    // What a killed host leaves behind.
    drop(socket::bind(&path).await.expect("bound"));
    check().await;
}

#[tokio::test]
async fn what_is_no_host_is_called_so() {
    let data = tempfile::tempdir().expect("a folder");
    let path = socket::path(data.path());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let listener = UnixListener::bind(&path).expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"220 mail.example ESMTP\r\n").await);
        }
    });
    let error = Client::connect(&path).await.expect_err("no host");
    assert!(matches!(error, ClientError::NotAHost { .. } | ClientError::Lost { .. }), "{error:?}");
}

/// A client without our manners.
async fn raw(path: &Path) -> pb::host_client::HostClient<Channel> {
    pb::host_client::HostClient::new(channel(path).await)
}

async fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(socket::connect(&path).await?)) }
    });
    Endpoint::from_static("http://host").connect_with_connector(connector).await.expect("connected")
}

#[tokio::test]
async fn each_call_is_checked_for_its_protocol() {
    let running = Running::start().await;
    let mut raw = raw(&socket::path(running.data.path())).await;
    raw.status(pb::StatusRequest {}).await.expect("a call without a protocol speaks the oldest");
    for named in ["99", "two"] {
        let mut request = Request::new(pb::StatusRequest {});
        request.metadata_mut().insert("hotswap-protocol", named.parse().expect("a value"));
        let status = raw.status(request).await.expect_err("another protocol");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(host_api::Failure::from(&status).remedy.expect("a remedy").starts_with("update the host"));
    }
}

#[tokio::test]
async fn hello_says_which_side_must_be_updated() {
    let running = Running::start().await;
    let mut raw = raw(&socket::path(running.data.path())).await;
    let hello =
        |min_protocol, max_protocol| pb::HelloRequest { min_protocol, max_protocol, client_version: "ä".repeat(100) };
    assert_eq!(raw.hello(hello(1, 9)).await.expect("agreed").into_inner().protocol, host_api::MAX_PROTOCOL);
    for (min, max, wanted) in [(8, 9, "update the host"), (0, 0, "update the client")] {
        let status = raw.hello(hello(min, max)).await.expect_err("no common protocol");
        let failure = host_api::Failure::from(&status);
        assert!(failure.remedy.expect("a remedy").starts_with(wanted));
    }
}

#[tokio::test]
async fn an_upload_that_breaks_the_rules_is_refused_and_thrown_away() {
    use pb::upload::Part;
    let running = Running::start().await;
    let mut raw = raw(&socket::path(running.data.path())).await;
    let header = |size_bytes| {
        let deploy = Some(request("counter").into());
        Part::Header(pb::UploadHeader { deploy, size_bytes })
    };
    let chunk = |bytes: usize| Part::Chunk(vec![0; bytes].into());
    for (parts, wanted) in [
        (vec![], "header: it is missing"),
        (vec![chunk(1)], "header: it is missing"),
        (vec![header(10), chunk(4)], "the upload ended 6 bytes before its end"),
        (vec![header(10), chunk(11)], "chunk: more than the 10 bytes"),
        (vec![header(1 << 20), chunk(300 << 10)], "chunk: 307200 bytes are above the limit"),
        (vec![header(10), header(10)], "header: there is a second one"),
    ] {
        let parts = parts.into_iter().map(|part| pb::Upload { part: Some(part) });
        let mut items =
            raw.deploy(futures_util::stream::iter(parts.collect::<Vec<_>>())).await.expect("asked").into_inner();
        let status = items.message().await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(wanted), "{status}");
    }
    assert_eq!(running.host.dropped.load(Ordering::SeqCst), 4);
    assert!(running.host.deploys.lock().expect("whole").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_client_dies_is_thrown_away() {
    use futures_util::StreamExt as _;
    let running = Running::start().await;
    let path = socket::path(running.data.path());
    let part = pb::upload::Part::Header(pb::UploadHeader { deploy: Some(request("counter").into()), size_bytes: 10 });
    let begun = futures_util::stream::iter([pb::Upload { part: Some(part) }]).chain(futures_util::stream::pending());
    // A runtime of its own dies with all its tasks, as a process does.
    let client = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    client.spawn(async move { raw(&path).await.deploy(begun).await }).await.expect("whole").expect("asked");
    client.shutdown_background();
    let thrown_away = async {
        while running.host.dropped.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), thrown_away).await.expect("thrown away");
    assert!(running.host.deploys.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn the_contract_can_be_asked_for() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let running = Running::start().await;
    let channel = channel(&socket::path(running.data.path())).await;
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let ask = ServerReflectionRequest { host: String::new(), message_request };
    let answer = ServerReflectionClient::new(channel).server_reflection_info(futures_util::stream::iter([ask])).await;
    let answer = answer.expect("asked").into_inner().message().await.expect("an answer").expect("one");
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else { panic!("{answer:?}") };
    assert!(services.service.iter().any(|service| service.name == "hotswap.host.v1.Host"), "{services:?}");
}
