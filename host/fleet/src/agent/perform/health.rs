//! How a workload is, in the words that a rollout waits for.

use std::time::Duration;

use bytes::Bytes;
use host_api::Control;
use host_core::{
    id::WorkloadName,
    rollout::{HealthAnswer, policy::HealthCheck},
    status::{HealthStatus, RunState, WorkloadStatus},
};
use serde::Deserialize;

use super::{Performer, words};

/// How long a workload may take to say how it is. The coordinator waits a little longer.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(5);

impl<C: Control> Performer<C> {
    /// Asks whom the check names.
    pub(in crate::agent) async fn health(&self, workload: &WorkloadName, check: &HealthCheck) -> HealthAnswer {
        match self.ask(workload, check).await {
            Ok(answer) => answer,
            Err(why) => HealthAnswer::Unknown { why },
        }
    }

    async fn ask(&self, workload: &WorkloadName, check: &HealthCheck) -> Result<HealthAnswer, String> {
        let host = self.control.status().await.map_err(words)?;
        let here = host.workloads.iter().find(|here| here.name == *workload);
        let here = here.ok_or_else(|| format!("{workload} is not there"))?;
        if here.run_state != RunState::Running {
            return Ok(answer(here, HealthStatus::Failed, vec![pair("state", here.run_state.as_str())]));
        }
        match check {
            HealthCheck::Off => Ok(answer(here, HealthStatus::Ok, Vec::new())),
            HealthCheck::Default => {
                let reports = self.control.health(Some(workload.clone())).await.map_err(words)?;
                let report = reports.into_iter().next().ok_or_else(|| format!("{workload} said nothing"))?;
                let mut details = report.details;
                details.extend([
                    pair("uptime", &format!("{:?}", host.uptime)),
                    pair("memory", &host.memory_bytes.to_string()),
                    pair("workloads", &host.workloads.len().to_string()),
                    pair("instances", &here.instances.to_string()),
                    pair("queued", &here.queued_events.to_string()),
                ]);
                Ok(answer(here, report.status, details))
            }
            HealthCheck::Endpoint { workload, method } => {
                let called = self.control.call(workload.clone(), method.clone(), Bytes::new(), ENDPOINT_LIMIT).await;
                let said = called.map_err(words)?;
                let (status, details) = read(&said)?;
                Ok(answer(here, status, details))
            }
        }
    }
}

fn answer(here: &WorkloadStatus, status: HealthStatus, details: Vec<(String, String)>) -> HealthAnswer {
    HealthAnswer::Known { status, generation: here.generation, digest: here.digest, details }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// An endpoint's word: `ok`, `degraded` or `failed`, alone or as the `status` of a JSON object whose other members are details.
fn read(said: &[u8]) -> Result<(HealthStatus, Vec<(String, String)>), String> {
    #[derive(Deserialize)]
    struct Said {
        status: HealthStatus,
        #[serde(flatten)]
        details: std::collections::BTreeMap<String, serde_json::Value>,
    }
    let text = String::from_utf8_lossy(said);
    let word = text.trim();
    if let Ok(status) = serde_json::from_value(serde_json::Value::String(word.to_owned())) {
        return Ok((status, Vec::new()));
    }
    let said: Said = serde_json::from_str(word).map_err(|_| {
        let shown: String = word.chars().take(100).collect();
        format!("it answered `{shown}`; wanted is ok, degraded or failed, alone or as the `status` of a JSON object")
    })?;
    let shown = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok((said.status, said.details.into_iter().map(|(name, value)| (name, shown(value))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_it_in_a_word_or_in_an_object() {
        assert_eq!(read(b"ok\n"), Ok((HealthStatus::Ok, Vec::new())));
        let (status, details) = read(br#"{"status":"degraded","lag":3,"db":"slow"}"#).expect("an object");
        assert_eq!(status, HealthStatus::Degraded);
        assert_eq!(details, [pair("db", "slow"), pair("lag", "3")]);
        for bad in ["", "fine", "{}", r#"{"status":"well"}"#] {
            assert!(read(bad.as_bytes()).expect_err(bad).contains("wanted is ok"), "{bad}");
        }
    }
}
