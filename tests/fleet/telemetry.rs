//! What a coordinator tells collectors and scrapers, and how hosts' spans become parts of its traces.

use std::{collections::BTreeMap, net::SocketAddr};

use opentelemetry_proto::tonic::trace::v1::Span;

use super::{QUICK, harness::Fleet};
use crate::{
    harness::Host,
    telemetry::{Collected, attributes, get},
};

/// Where the coordinator serves its metrics.
fn metrics_of(fleet: &Fleet) -> SocketAddr {
    let log = fleet.log();
    let (_, address) = log.rsplit_once("metrics http://").expect("the ready line names the port");
    address.split_once("/metrics").unwrap().0.parse().unwrap()
}

/// The value of a sample; its labels in the table's order.
fn value(text: &str, sample: &str) -> u64 {
    let line = text.lines().find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("{sample}:\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap_or_else(|_| panic!("{line}"))
}

#[test]
fn a_coordinators_metrics_count_what_its_rollouts_came_to() {
    let fleet = Fleet::start_with(&["--metrics", "127.0.0.1:0"], &[]);
    let token = fleet.token(2);
    let hosts = ["h1", "h2"].map(|name| fleet.host(name, &token));
    fleet.eventually("both are connected", || fleet.connected() == 2);
    let (old, new) = (hosts[0].counter("1.0.0"), hosts[0].counter("1.1.0"));
    fleet.publish(&old, "counter", "1.0.0");
    fleet.publish(&new, "counter", "1.1.0");
    let placed = fleet.deploy("1.0.0", &[&QUICK[..], &["--listen", "tcp://127.0.0.1:0"]].concat());
    assert_eq!(placed.code, 0, "{placed:?}\n{}", fleet.log());
    assert_eq!(fleet.deploy("1.1.0", &["--dry-run"]).code, 0, "{}", fleet.log());
    let done = fleet.deploy("1.1.0", &QUICK);
    assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());

    let scrape = || get(metrics_of(&fleet), "/metrics").1;
    let text = scrape();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/TELEMETRY.md")).unwrap();
    let listed: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("| `hotswap_fleet_")?.split_once('`')).collect();
    assert!(listed.len() > 10, "{listed:?}");
    for (name, _) in listed {
        let family = format!("# TYPE hotswap_fleet_{} ", name.trim_end_matches("_total"));
        assert!(text.contains(&family), "{name} is not served:\n{text}");
    }
    let counted = |sample: &str| value(&text, &format!("hotswap_fleet_{sample}"));
    assert_eq!((counted("epoch"), counted("hosts"), counted("hosts_connected")), (1, 2, 2));
    assert_eq!(counted("rollout_seconds_count{result=\"done\"}"), 2);
    assert_eq!(counted("rollout_seconds_count{result=\"rehearsed\"}"), 1);
    assert_eq!(counted("rollout_hosts_total{status=\"upgraded\"}"), 4, "both, twice");
    assert_eq!(counted("rollouts{state=\"under-way\"}"), 0);
    for (action, result, count) in [("prepare", "prepared", 6), ("switch", "switched", 4), ("commit", "committed", 4)] {
        assert_eq!(counted(&format!("commands_total{{action=\"{action}\"}}")), count, "{action}");
        assert_eq!(counted(&format!("outcomes_total{{action=\"{action}\",result=\"{result}\"}}")), count, "{action}");
        assert_eq!(counted(&format!("command_seconds_count{{action=\"{action}\"}}")), count, "{action}");
    }
    assert_eq!(counted("inputs_total{kind=\"opened\"}"), 2);
    assert!(counted("store_commit_seconds_count") >= 10 && counted("step_seconds_count") >= 20, "{text}");
    let bytes: u64 = [&old, &new].map(|file| file.metadata().unwrap().len()).iter().sum();
    assert_eq!(counted("sent_bytes_total"), 2 * bytes, "each release went to each host once");

    // One that fails on a host leaves all of them as they are.
    fleet.publish(&hosts[0].fault("code-change-traps"), "counter", "1.2.0");
    assert_eq!(fleet.deploy("1.2.0", &QUICK).code, 1);
    let text = scrape();
    assert_eq!(value(&text, "hotswap_fleet_rollout_seconds_count{result=\"unchanged\"}"), 1);
    assert!(value(&text, "hotswap_fleet_outcomes_total{action=\"prepare\",result=\"refused\"}") >= 1);
    assert_eq!(value(&text, "hotswap_fleet_rollout_hosts_total{status=\"upgraded\"}"), 4);
    let [first, _second] = hosts;
    drop(first);
    fleet.eventually("the gauge falls", || value(&scrape(), "hotswap_fleet_hosts_connected") == 1);
}

/// A span with what is known of it.
struct Seen {
    span: Span,
    fields: BTreeMap<String, String>,
    service: String,
    host: String,
}

impl Seen {
    fn all(collected: Collected) -> Vec<Self> {
        let seen = |(span, resource): (Span, BTreeMap<String, String>)| Self {
            fields: attributes(&span.attributes),
            service: resource["service.name"].clone(),
            host: resource.get("host.name").cloned().unwrap_or_default(),
            span,
        };
        collected.spans().into_iter().map(seen).collect()
    }

    fn is(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|is| is == value)
    }
}

/// A fleet of two that exports to this collector, soon after each span ends.
fn exporting(endpoint: &str) -> (Fleet, [Host; 2]) {
    let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let fleet = Fleet::start_with(&[], &to);
    let token = fleet.token(2);
    let hosts = ["h1", "h2"].map(|name| {
        let named = format!("host.name={name}");
        let join = ["--join", &fleet.url(), "--token", &token, "--host-name", name];
        Host::start_with(&join, &[&to[..], &[("OTEL_RESOURCE_ATTRIBUTES", &named)]].concat())
    });
    fleet.eventually("both are connected", || fleet.connected() == 2);
    for version in ["1.0.0", "1.1.0"] {
        fleet.publish(&hosts[0].counter(version), "counter", version);
    }
    let placed = fleet.deploy("1.0.0", &[&QUICK[..], &["--listen", "tcp://127.0.0.1:0"]].concat());
    assert_eq!(placed.code, 0, "{placed:?}\n{}", fleet.log());
    (fleet, hosts)
}

/// Ends everything, so that every span has left.
fn end(mut fleet: Fleet, hosts: [Host; 2]) {
    for mut host in hosts {
        assert_eq!(host.terminate(), 0, "{}", host.log());
    }
    fleet.terminate();
}

/// The spans of the rollout to 1.1.0: the whole first.
fn rollout(seen: &[Seen]) -> (&Seen, Vec<&Seen>) {
    let whole = |seen: &&Seen| seen.span.name == "rollout" && seen.is("to", "1.1.0");
    let root = seen.iter().find(whole).expect("the rollout's own span");
    assert!(root.span.parent_span_id.is_empty(), "{:?}", root.span);
    (root, seen.iter().filter(|seen| seen.span.trace_id == root.span.trace_id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_one_trace_with_the_swaps_of_its_hosts_under_its_commands() {
    let collected = Collected::start().await;
    let endpoint = format!("http://{}", collected.address);
    let ended = tokio::task::spawn_blocking(move || {
        let (fleet, hosts) = exporting(&endpoint);
        let done = fleet.deploy("1.1.0", &[&QUICK[..], &["--wave", "1"]].concat());
        assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
        end(fleet, hosts);
        done.json()["trace"].as_str().unwrap().to_owned()
    });
    let named = ended.await.unwrap();
    let seen = Seen::all(collected);
    let (root, trace) = rollout(&seen);
    let number: String = root.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(named, number, "its document names the trace");
    assert_eq!(root.service, "hotswap-coordinator");
    assert!(
        root.is("workload", "counter") && root.is("verdict", "done") && root.is("upgraded", "2"),
        "{:?}",
        root.fields
    );

    let children = |of: &Seen| {
        let mut children: Vec<_> =
            trace.iter().copied().filter(|seen| seen.span.parent_span_id == of.span.span_id).collect();
        children.sort_by_key(|seen| (seen.span.start_time_unix_nano, seen.span.end_time_unix_nano));
        children
    };
    let states = children(root);
    let names: Vec<_> = states.iter().map(|seen| seen.span.name.as_str()).collect();
    let waves = ["wave", "verifying", "wave", "verifying"];
    assert_eq!(names, [&["discovering", "preparing"][..], &waves, &["committing"]].concat());
    for (before, after) in states.iter().zip(states.iter().skip(1)) {
        assert_eq!(before.span.end_time_unix_nano, after.span.start_time_unix_nano, "no time is left out");
    }
    let commands: Vec<_> = states
        .iter()
        .flat_map(|state| {
            let told =
                |seen: &Seen| (state.span.name.clone(), seen.fields["host"].clone(), seen.fields["action"].clone());
            children(state).into_iter().map(told).collect::<Vec<_>>()
        })
        .collect();
    for host in ["h1", "h2"] {
        for (state, action) in [("preparing", "prepare"), ("wave", "switch"), ("committing", "commit")] {
            assert!(commands.contains(&(state.to_owned(), host.to_owned(), action.to_owned())), "{host} {action}");
        }
        let switch = trace.iter().find(|seen| seen.is("host", host) && seen.is("action", "switch")).unwrap();
        let below = children(switch);
        let swap = below.iter().find(|seen| seen.span.name == "swap").expect("the host's swap");
        assert_eq!((swap.service.as_str(), swap.host.as_str()), ("hotswap-host", host));
        assert!(swap.is("to", "1.1.0") && swap.is("outcome", "permanent"), "{:?}", swap.fields);
        assert!(swap.span.start_time_unix_nano >= switch.span.start_time_unix_nano);
        let phases: Vec<_> = children(swap).iter().map(|seen| seen.span.name.clone()).collect();
        for phase in ["prepare", "quiesce", "code-change", "switch", "probation"] {
            assert!(phases.iter().any(|name| name == phase), "{host} {phase}: {phases:?}");
        }
    }
    assert_eq!(commands.len(), 6);
    let others = seen.iter().filter(|seen| seen.span.name == "rollout").count();
    assert_eq!(others, 2, "the first rollout has a trace of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_was_killed_goes_on_with_the_same_trace() {
    let collected = Collected::start().await;
    let endpoint = format!("http://{}", collected.address);
    let ended = tokio::task::spawn_blocking(move || {
        let (mut fleet, hosts) = exporting(&endpoint);
        let begun = fleet.deploy("1.1.0", &["--soak", "1s", "--wave", "1", "--async"]);
        assert_eq!(begun.code, 0, "{begun:?}");
        fleet.first_in("switched");
        fleet.kill();
        fleet.begin();
        let done = fleet.end_of(&["watch"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", fleet.log());
        end(fleet, hosts);
    });
    ended.await.unwrap();
    let seen = Seen::all(collected);
    let (root, trace) = rollout(&seen);
    // The swaps: one from before the kill, one from after it.
    let swaps: Vec<_> = trace.iter().filter(|seen| seen.span.name == "swap").collect();
    assert_eq!(swaps.len(), 2, "{:?}", trace.iter().map(|seen| &seen.span.name).collect::<Vec<_>>());
    assert!(swaps[0].host != swaps[1].host && swaps.iter().all(|swap| !swap.span.parent_span_id.is_empty()));
    let commits = trace.iter().filter(|seen| seen.is("action", "commit") && seen.is("outcome", "committed"));
    assert_eq!(commits.count(), 2);
    let began = trace.iter().map(|seen| seen.span.start_time_unix_nano).min();
    assert_eq!(began, Some(root.span.start_time_unix_nano), "the whole began before the kill");
    let strangers = seen.iter().filter(|seen| seen.span.name == "swap" && seen.is("to", "1.1.0"));
    assert_eq!(strangers.count(), 2, "no swap of the rollout has a trace of its own");
}
