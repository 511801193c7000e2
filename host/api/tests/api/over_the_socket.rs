//! Each call over the socket.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use host_api::{ClientError, FailureKind, WhileWaiting, convert::limits};
use host_core::{
    history::Verdict,
    request::{Extent, Progress, RollbackRequest},
    swap::{Outcome, PhaseName},
};

use crate::memory::{Running, name_of, request, unknown};

#[tokio::test]
async fn a_deploy_arrives_whole_and_tells_how_it_goes() {
    let running = Running::start().await;
    let component = Bytes::from((0..1_000_003_u32).map(|at| at.to_le_bytes()[1]).collect::<Vec<_>>());
    let mut swapping = running.client().await.deploy(request("counter"), component.clone()).await.expect("asked");
    let mut told = vec![];
    let report = swapping.report(|progress| told.push(progress)).await.expect("a report");
    assert!(matches!(report.verdict, Verdict::Swap { outcome: Outcome::RolledBack { .. } }), "{report:?}");
    assert_eq!(told.len(), 2);
    assert!(matches!(told[1], Progress::Phase { phase: PhaseName::CodeChange, .. }));
    assert_eq!(*running.host.deploys.lock().expect("whole"), [(request("counter"), component)]);
}

#[tokio::test]
async fn a_failure_keeps_its_words_on_the_way() {
    let running = Running::start().await;
    let client = running.client().await;
    let mut swapping = client.deploy(request("nowhere"), Bytes::from_static(b"x")).await.expect("asked");
    let error = swapping.report(drop).await.expect_err("a failure");
    assert_eq!(error.failure(), Some(&unknown(&name_of("nowhere"))));
    let error = client.versions(&name_of("chat")).await.expect_err("a failure");
    assert_eq!(error.failure(), Some(&unknown(&name_of("chat"))));
}

#[tokio::test]
async fn a_very_long_text_is_cut_and_still_arrives() {
    let error = Running::start().await.client().await.start(&name_of("chat")).await.expect_err("a failure");
    let failure = error.failure().expect("the host's");
    assert!(failure.what.ends_with("(cut)"), "{failure}");
    assert_eq!(failure.still.as_deref(), Some("chat is stopped"));
}

#[tokio::test]
async fn a_defect_in_the_host_is_answered_not_silent() {
    let running = Running::start().await;
    let mut swapping = running.client().await.deploy(request("defect"), Bytes::from_static(b"x")).await.expect("asked");
    let error = swapping.report(drop).await.expect_err("a failure");
    assert_eq!(error.failure().map(|failure| failure.kind), Some(FailureKind::Internal), "{error}");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_swap_to_the_host() {
    let running = Running::start().await;
    running.host.may_end.forget_permits(usize::MAX);
    let client = running.client().await;
    let swapping = client.deploy(request("counter"), Bytes::from_static(b"x")).await.expect("asked");
    running.host.began.notified().await;
    drop((swapping, client));
    running.host.may_end.add_permits(1);
    let other = running.client().await;
    while running.host.finished.load(Ordering::SeqCst) == 0 {
        other.status().await.expect("the host goes on");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_up_and_gets_the_report() {
    let running = Running::start().await;
    running.host.notes.store(50_000, Ordering::SeqCst);
    let client = running.client().await;
    let mut swapping = client.deploy(request("counter"), Bytes::from_static(b"x")).await.expect("asked");
    while running.host.finished.load(Ordering::SeqCst) == 0 {
        client.status().await.expect("the host goes on");
    }
    let report = swapping.report(drop).await.expect("the report");
    assert_eq!(report.workload, name_of("counter"));
}

#[tokio::test]
async fn an_upload_that_is_empty_or_too_large_never_begins() {
    let running = Running::start().await;
    let client = running.client().await;
    for component in
        [Bytes::new(), Bytes::from(vec![0; usize::try_from(limits::COMPONENT_LIMIT_BYTES).expect("small") + 1])]
    {
        let mut swapping = client.deploy(request("counter"), component).await.expect("asked");
        let error = swapping.report(drop).await.expect_err("refused");
        let failure = error.failure().expect("the host's");
        assert!(failure.what.starts_with("size_bytes: "), "{failure}");
    }
    assert!(running.host.deploys.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn what_was_prepared_is_executed_by_its_number() {
    let running = Running::start().await;
    let client = running.client().await;
    let mut preparing = client.prepare(request("counter"), Bytes::from_static(b"x")).await.expect("asked");
    assert_eq!(preparing.prepared(), None);
    preparing.report(drop).await.expect("a report");
    let ready = preparing.prepared().expect("prepared");
    assert_eq!(ready.expires, Duration::from_secs(60));
    let report = client.execute(ready.prepared).await.expect("asked").report(drop).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Swap { outcome: Outcome::Permanent });
    let error = client.execute(1).await.expect("asked").report(drop).await.expect_err("unknown");
    assert_eq!(error.failure().map(|failure| failure.kind), Some(FailureKind::NotFound));

    let mut refused = client.prepare(request("refused"), Bytes::from_static(b"x")).await.expect("asked");
    assert!(matches!(refused.next().await, Ok(WhileWaiting::Report(report)) if report.verdict.as_str() == "refused"));
    assert_eq!(refused.prepared(), None);
}

#[tokio::test]
async fn the_rest_of_the_calls_carry_what_they_are_given() {
    let running = Running::start().await;
    let client = running.client().await;
    let counter = name_of("counter");
    let policy = request("counter").policy;
    let to = Some("1.0.0-rc.1".parse().expect("semver"));
    let rollback = RollbackRequest { workload: counter.clone(), to, policy, trace: None };
    client.rollback(rollback.clone()).await.expect("asked").report(drop).await.expect("a report");
    assert_eq!(*running.host.rollbacks.lock().expect("whole"), [rollback]);

    assert_eq!(client.verify(&counter).await.expect("checks")[0].seen, "counter is ok");
    assert_eq!(client.status().await.expect("a status").uptime, Duration::from_millis(1500));
    assert_eq!(client.history(None, 7).await.expect("a history").len(), 7);
    assert_eq!(client.history(Some(&name_of("chat")), 1).await.expect("a history")[0].workload, name_of("chat"));
    assert_eq!(client.health(None).await.expect("health")[0].details, [("rows".to_owned(), "5".to_owned())]);
    assert_eq!(client.stop(&counter).await.expect("stopped").verdict, Verdict::Done);
    assert_eq!(client.remove(&counter).await.expect("removed").verdict, Verdict::Done);
}

#[tokio::test]
async fn a_full_history_and_a_full_payload_fit() {
    let running = Running::start().await;
    let client = running.client().await;
    assert_eq!(client.history(None, limits::HISTORY_LIMIT).await.expect("a history").len(), limits::HISTORY_LIMIT);
    let counter = name_of("counter");
    let payload = Bytes::from(vec![7; limits::PAYLOAD_LIMIT_BYTES]);
    let limit = Duration::from_secs(1);
    let reply = client.call(&counter, "echo", payload.clone(), limit).await.expect("a reply");
    assert_eq!(reply, payload);
    let error = client.call(&counter, "huge", Bytes::new(), limit).await.expect_err("too large");
    assert_eq!(error.failure().map(|failure| failure.kind), Some(FailureKind::Workload), "{error}");
    let error = client.history(None, 0).await.expect_err("invalid");
    assert_eq!(error.failure().map(|failure| failure.kind), Some(FailureKind::Invalid), "{error}");
}

#[tokio::test]
async fn events_are_chosen_by_name_and_number() {
    let running = Running::start().await;
    let client = running.client().await;
    let seqs = async |filter: Option<&str>, from| {
        let events = client.events(filter.map(str::to_owned), from, false).await.expect("events");
        events.map(|event| event.expect("an event").seq).collect::<Vec<_>>().await
    };
    assert_eq!(seqs(None, None).await, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(Some("swap.*"), None).await, [2, 4]);
    assert_eq!(seqs(Some("swap.*"), Some(3)).await, [4]);
    assert!(client.events(Some("*".repeat(200)), None, false).await.is_err());
}

#[tokio::test]
async fn whoever_follows_events_is_let_go_when_the_host_stops() {
    let running = Running::start().await;
    let mut events = std::pin::pin!(running.client().await.events(None, Some(5), true).await.expect("events"));
    assert_eq!(events.next().await.expect("one").expect("whole").seq, 5);
    running.stop().await;
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_host_that_went_away_is_told_from_one_that_refuses() {
    let running = Running::start().await;
    let client = running.client().await;
    running.stop().await;
    let error = client.status().await.expect_err("gone");
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn extents_cross() {
    let running = Running::start().await;
    for extent in [Extent::Plan, Extent::Rehearse, Extent::Swap] {
        let request = host_core::request::DeployRequest { extent, ..request("counter") };
        let mut swapping = running.client().await.deploy(request, Bytes::from_static(b"x")).await.expect("asked");
        swapping.report(drop).await.expect("a report");
        assert_eq!(running.host.deploys.lock().expect("whole").last().expect("one").0.extent, extent);
    }
}
