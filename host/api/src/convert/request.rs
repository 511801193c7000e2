//! What a person asks for.

use std::time::Duration;

use bytes::Bytes;
use host_core::{
    event::Pattern,
    id::{SwapId, WorkloadName},
    plan::Intent,
    policy::{Preflight, Shadow, StateSource, SwapPolicy},
    release::{ListenAddress, Topology},
    request::{DeployRequest, Extent, Progress, RollbackRequest},
};

use super::{
    Invalid, enumeration, limited, limits, nanos, optional, optional_version, report, short, text, version, wanted,
};
use crate::pb;

enumeration!(read_extent, write_extent, pb::Extent, Extent, { Plan, Rehearse, Replay, Swap });
enumeration!(read_topology, write_topology, pb::Topology, Topology, { Single, PerConnection });
enumeration!(read_source, write_source, pb::StateSource, StateSource, { Live, LastCheckpoint });

impl From<DeployRequest> for pb::DeployHeader {
    fn from(request: DeployRequest) -> Self {
        let listeners = request
            .listeners
            .map(|listeners| pb::Listeners { listeners: listeners.iter().map(ListenAddress::to_string).collect() });
        Self {
            workload: request.workload.into(),
            version: request.version.to_string(),
            listeners,
            config: request.config,
            // A rollback has a call of its own; here it can only mean that a lower version is.
            downgrade: !matches!(request.intent, Intent::Deploy { downgrade: false }),
            policy: Some(request.policy.into()),
            extent: write_extent(request.extent),
            topology: request.topology.map(write_topology),
            traceparent: request.trace.map(String::from),
        }
    }
}

impl TryFrom<pb::DeployHeader> for DeployRequest {
    type Error = Invalid;

    fn try_from(raw: pb::DeployHeader) -> Result<Self, Invalid> {
        Ok(Self {
            workload: text("workload", &raw.workload)?,
            version: version("version", &raw.version)?,
            listeners: raw.listeners.map(|raw| read_listeners("listeners", &raw.listeners)).transpose()?,
            config: raw.config.map(|config| short("config", config, limits::CONFIG_LIMIT_BYTES)).transpose()?,
            intent: Intent::Deploy { downgrade: raw.downgrade },
            policy: wanted("policy", raw.policy)?,
            extent: read_extent("extent", raw.extent)?,
            topology: raw.topology.map(|topology| read_topology("topology", topology)).transpose()?,
            trace: raw.traceparent.map(|raw| text("traceparent", &raw)).transpose()?,
        })
    }
}

fn read_listeners(field: &str, raw: &[String]) -> Result<Vec<ListenAddress>, Invalid> {
    if raw.len() > limits::LISTENERS_LIMIT {
        let why = format_args!("{} listeners are above the limit of {}", raw.len(), limits::LISTENERS_LIMIT);
        return Err(Invalid::new(field, why));
    }
    let mut listeners = Vec::with_capacity(raw.len());
    for raw in raw {
        let listener: ListenAddress = text(field, raw)?;
        // Port 0 stands for as many ports as it is named; any other address can be taken once.
        if listener.address.port() != 0 && listeners.contains(&listener) {
            return Err(Invalid::new(field, format_args!("{listener} is named twice")));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The beginning of an upload, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// What is asked for.
    pub deploy: DeployRequest,
    /// Size of the component that follows.
    pub size_bytes: u64,
}

impl TryFrom<pb::UploadHeader> for Upload {
    type Error = Invalid;

    fn try_from(raw: pb::UploadHeader) -> Result<Self, Invalid> {
        let (size_bytes, limit) = (raw.size_bytes, limits::COMPONENT_LIMIT_BYTES);
        if size_bytes == 0 {
            return Err(Invalid::new("size_bytes", "the component is empty"));
        }
        if size_bytes > limit {
            let why = format_args!("a component of {size_bytes} bytes is above the limit of {limit}");
            return Err(Invalid::new("size_bytes", why));
        }
        Ok(Self { deploy: wanted("deploy", raw.deploy)?, size_bytes })
    }
}

impl From<SwapPolicy> for pb::SwapPolicy {
    fn from(policy: SwapPolicy) -> Self {
        Self {
            pause_limit_ns: nanos(policy.pause_limit),
            probation_ns: nanos(policy.probation),
            drain_ns: policy.drain.map(nanos),
            force: policy.force,
            one_way: policy.one_way,
            detach: policy.detach,
            state_from: write_source(policy.state_from),
            hold: policy.hold,
            allow_loss: policy.allow_loss,
            shadow: policy.shadow.map(Into::into),
        }
    }
}

/// The pre-flight's thresholds don't cross: they are the host's, which puts its own in.
impl TryFrom<pb::SwapPolicy> for SwapPolicy {
    type Error = Invalid;

    fn try_from(raw: pb::SwapPolicy) -> Result<Self, Invalid> {
        let pause_limit = limited("pause_limit_ns", raw.pause_limit_ns, Self::PAUSE_LIMIT_LIMIT)?;
        if pause_limit.is_zero() {
            return Err(Invalid::new("pause_limit_ns", "a swap without any pause is not possible; allow some time"));
        }
        let drain = raw.drain_ns.map(|ns| limited("drain_ns", ns, limits::DRAIN_LIMIT)).transpose()?;
        Ok(Self {
            pause_limit,
            probation: limited("probation_ns", raw.probation_ns, Self::PROBATION_LIMIT)?,
            hold: raw.hold,
            allow_loss: raw.allow_loss,
            shadow: optional("shadow", raw.shadow)?,
            drain,
            force: raw.force,
            one_way: raw.one_way,
            detach: raw.detach,
            state_from: read_source("state_from", raw.state_from)?,
            preflight: Preflight::default(),
        })
    }
}

impl From<Shadow> for pb::Shadow {
    fn from(shadow: Shadow) -> Self {
        Self { period_ns: nanos(shadow.period), limit_percent: shadow.limit_percent.map(u32::from) }
    }
}

impl TryFrom<pb::Shadow> for Shadow {
    type Error = Invalid;

    fn try_from(raw: pb::Shadow) -> Result<Self, Invalid> {
        let percent = |raw: u32| {
            let percent = u8::try_from(raw).ok().filter(|percent| *percent <= 100);
            percent.ok_or_else(|| Invalid::new("limit_percent", format_args!("{raw} is not within 0 and 100")))
        };
        Ok(Self {
            period: limited("period_ns", raw.period_ns, Self::PERIOD_LIMIT)?,
            limit_percent: raw.limit_percent.map(percent).transpose()?,
        })
    }
}

impl From<RollbackRequest> for pb::RollbackRequest {
    fn from(request: RollbackRequest) -> Self {
        Self {
            workload: request.workload.into(),
            to: request.to.map(|to| to.to_string()),
            policy: Some(request.policy.into()),
            traceparent: request.trace.map(String::from),
        }
    }
}

impl TryFrom<pb::RollbackRequest> for RollbackRequest {
    type Error = Invalid;

    fn try_from(raw: pb::RollbackRequest) -> Result<Self, Invalid> {
        Ok(Self {
            workload: text("workload", &raw.workload)?,
            to: optional_version("to", raw.to)?,
            policy: wanted("policy", raw.policy)?,
            trace: raw.traceparent.map(|raw| text("traceparent", &raw)).transpose()?,
        })
    }
}

impl From<Progress> for pb::Progress {
    fn from(progress: Progress) -> Self {
        use pb::progress::Kind;
        let kind = match progress {
            Progress::Step { name } => Kind::Step(name),
            Progress::Phase { swap, phase } => {
                Kind::Phase(pb::PhaseBegan { swap: swap.0, phase: report::write_phase(phase) })
            }
            Progress::Note { message } => Kind::Note(message),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Progress> for Progress {
    type Error = Invalid;

    fn try_from(raw: pb::Progress) -> Result<Self, Invalid> {
        use pb::progress::Kind;
        Ok(match raw.kind.ok_or_else(|| Invalid::missing("kind"))? {
            Kind::Step(name) => Self::Step { name },
            Kind::Phase(began) => {
                Self::Phase { swap: SwapId(began.swap), phase: report::read_phase("phase.phase", began.phase)? }
            }
            Kind::Note(message) => Self::Note { message },
        })
    }
}

impl TryFrom<pb::WorkloadRequest> for WorkloadName {
    type Error = Invalid;

    fn try_from(raw: pb::WorkloadRequest) -> Result<Self, Invalid> {
        text("workload", &raw.workload)
    }
}

/// Reads the name of a request that may concern all workloads.
pub(crate) fn optional_workload(raw: Option<String>) -> Result<Option<WorkloadName>, Invalid> {
    raw.map(|raw| text("workload", &raw)).transpose()
}

/// `history`, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Whose; none means everybody's.
    pub workload: Option<WorkloadName>,
    /// At most this many.
    pub limit: usize,
}

impl TryFrom<pb::HistoryRequest> for History {
    type Error = Invalid;

    fn try_from(raw: pb::HistoryRequest) -> Result<Self, Invalid> {
        let limit = usize::try_from(raw.limit).unwrap_or(usize::MAX);
        if !(1..=limits::HISTORY_LIMIT).contains(&limit) {
            let why = format_args!("{limit} is not within 1 and {}", limits::HISTORY_LIMIT);
            return Err(Invalid::new("limit", why));
        }
        Ok(Self { workload: optional_workload(raw.workload)?, limit })
    }
}

/// `events`, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Which names; none means all.
    pub filter: Option<Pattern>,
    /// From which on; none means all that are held.
    pub from_seq: Option<u64>,
    /// Those to come, too.
    pub follow: bool,
}

impl TryFrom<pb::EventsRequest> for Events {
    type Error = Invalid;

    fn try_from(raw: pb::EventsRequest) -> Result<Self, Invalid> {
        let pattern = |text: String| {
            let why = format_args!("longer than {} bytes", Pattern::LIMIT_BYTES).to_string();
            Pattern::new(&text).ok_or_else(|| Invalid::new("filter", why))
        };
        Ok(Self { filter: raw.filter.map(pattern).transpose()?, from_seq: raw.from_seq, follow: raw.follow })
    }
}

/// `call`, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who is called.
    pub workload: WorkloadName,
    /// What for.
    pub method: String,
    /// With what.
    pub payload: Bytes,
    /// How long to wait.
    pub timeout: Duration,
}

impl TryFrom<pb::CallRequest> for Call {
    type Error = Invalid;

    fn try_from(raw: pb::CallRequest) -> Result<Self, Invalid> {
        if raw.payload.len() > limits::PAYLOAD_LIMIT_BYTES {
            let why =
                format_args!("{} bytes are above the limit of {}", raw.payload.len(), limits::PAYLOAD_LIMIT_BYTES);
            return Err(Invalid::new("payload", why));
        }
        Ok(Self {
            workload: text("workload", &raw.workload)?,
            method: short("method", raw.method, limits::METHOD_LIMIT_BYTES)?,
            payload: raw.payload,
            timeout: limited("timeout_ns", raw.timeout_ns, limits::CALL_TIMEOUT_LIMIT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> pb::DeployHeader {
        pb::DeployHeader {
            workload: "counter".to_owned(),
            version: "1.0.0".to_owned(),
            listeners: None,
            config: None,
            downgrade: false,
            policy: Some(SwapPolicy::default().into()),
            extent: write_extent(Extent::Swap),
            topology: None,
            traceparent: None,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut pb::DeployHeader), field: &str, why: &str) {
        let mut header = header();
        change(&mut header);
        let invalid = DeployRequest::try_from(header).expect_err("invalid");
        assert_eq!(invalid.field, field);
        assert!(invalid.why.contains(why), "{invalid}");
    }

    #[test]
    fn what_is_wrong_with_a_deploy_is_named_with_its_field() {
        DeployRequest::try_from(header()).expect("valid");
        check(|raw| raw.workload = "Ä".to_owned(), "workload", "lower-case");
        check(|raw| raw.version = "1.0".to_owned(), "version", "`1.0` is no semantic version");
        check(|raw| raw.extent = 0, "extent", "missing");
        check(|raw| raw.extent = 99, "extent", "99");
        check(|raw| raw.policy = None, "policy", "missing");
        check(|raw| raw.topology = Some(9), "topology", "9 means nothing here");
        check(|raw| raw.config = Some("x".repeat(limits::CONFIG_LIMIT_BYTES + 1)), "config", "1048577 bytes");
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_named_within_the_deploy() {
        let policy =
            |change: fn(&mut pb::SwapPolicy)| move |raw: &mut pb::DeployHeader| raw.policy.iter_mut().for_each(change);
        check(policy(|raw| raw.pause_limit_ns = u64::MAX), "policy.pause_limit_ns", "above the limit of 600s");
        check(policy(|raw| raw.pause_limit_ns = 0), "policy.pause_limit_ns", "allow some time");
        check(policy(|raw| raw.probation_ns = u64::MAX), "policy.probation_ns", "above the limit");
        check(policy(|raw| raw.drain_ns = Some(u64::MAX)), "policy.drain_ns", "above the limit");
        check(policy(|raw| raw.state_from = 0), "policy.state_from", "missing");
    }

    #[test]
    fn listeners_are_few_and_different() {
        let listeners =
            |texts: &[&str]| Some(pb::Listeners { listeners: texts.iter().map(|&t| t.to_owned()).collect() });
        check(|raw| raw.listeners = listeners(&["udp://[::1]:1"]), "listeners", "tcp://127.0.0.1:7000");
        check(|raw| raw.listeners = listeners(&["tcp://127.0.0.1:1"; 2]), "listeners", "named twice");
        check(|raw| raw.listeners = listeners(&["tcp://127.0.0.1:0"; 17]), "listeners", "limit of 16");
        let mut twice_any = header();
        twice_any.listeners = listeners(&["tcp://127.0.0.1:0"; 2]);
        DeployRequest::try_from(twice_any).expect("two ports of the system's choosing");
    }

    #[test]
    fn calls_history_and_events_have_limits() {
        let call = pb::CallRequest { workload: "a".to_owned(), timeout_ns: u64::MAX, ..Default::default() };
        assert_eq!(Call::try_from(call).expect_err("invalid").field, "timeout_ns");
        let payload = Bytes::from(vec![0; limits::PAYLOAD_LIMIT_BYTES + 1]);
        let call = pb::CallRequest { workload: "a".to_owned(), payload, ..Default::default() };
        assert_eq!(Call::try_from(call).expect_err("invalid").field, "payload");
        for limit in [0, 1001] {
            let history = pb::HistoryRequest { workload: None, limit };
            assert_eq!(History::try_from(history).expect_err("invalid").field, "limit");
        }
        let events = pb::EventsRequest { filter: Some("x".repeat(129)), ..Default::default() };
        assert_eq!(Events::try_from(events).expect_err("invalid").field, "filter");
    }
}
