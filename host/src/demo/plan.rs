//! What the demo is going to do, decided before it does anything.

use std::{borrow::Cow, time::Duration};

use anyhow::Context as _;
use example_workloads::Example;
use semver::Version;

use super::check::Expected;

/// Ways to fail, in turn. Each comes after a rollback and leaves 1.0.0 running, as which it answers itself.
const FAULTS: [Fault; 7] = [
    Fault { guest: "code-change-traps", pause_limit: None },
    Fault { guest: "code-change-errors", pause_limit: None },
    // Long enough to be told from a hiccup, short enough not to bore anybody.
    Fault { guest: "code-change-never-returns", pause_limit: Some(Duration::from_millis(250)) },
    Fault { guest: "unmigratable", pause_limit: None },
    Fault { guest: "health-fails", pause_limit: None },
    Fault { guest: "init-traps", pause_limit: None },
    Fault { guest: "code-change-eats-memory", pause_limit: None },
];

/// A guest that fails, and what the deploy must be given so that it does so soon.
#[derive(Clone, Copy, Debug)]
struct Fault {
    guest: &'static str,
    pause_limit: Option<Duration>,
}

/// One deploy or rollback.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// For people.
    pub(crate) what: Cow<'static, str>,
    /// What is asked of the host.
    pub(crate) ask: Ask,
    /// What has to come of it.
    pub(crate) wanted: Wanted,
}

/// What is asked of the host.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// `host deploy`.
    Deploy { component: &'static [u8], version: Version, pause_limit: Option<Duration> },
    /// `host rollback`.
    Rollback { to: Version },
}

/// What has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wanted {
    /// The new version runs.
    Upgrade,
    /// The old version runs again.
    Rollback,
    /// It fails, and what ran before runs on.
    Failure,
}

impl Step {
    /// The version that has to run afterwards; none if it is the one that ran before.
    pub(crate) const fn target(&self) -> Option<&Version> {
        match (&self.ask, self.wanted) {
            (_, Wanted::Failure) => None,
            (Ask::Deploy { version, .. }, _) => Some(version),
            (Ask::Rollback { to }, _) => Some(to),
        }
    }
}

/// The version that everything begins with and goes back to.
pub(crate) const BEFORE: Version = Version::new(1, 0, 0);

/// The version in between.
pub(crate) const AFTER: Version = Version::new(1, 1, 0);

/// What the answers of these two look like.
pub(crate) fn expected(version: &Version) -> Expected {
    Expected { version: version.to_string(), counts_mine: *version == AFTER }
}

/// An example's component.
pub(crate) fn counter(version: &Version) -> anyhow::Result<&'static Example> {
    example_workloads::example("counter", &version.to_string())
        .with_context(|| format!("this program carries no counter {version}"))
}

/// So many swaps: up, down, one that fails, and so on.
pub(crate) fn steps(swaps: u32) -> anyhow::Result<Vec<Step>> {
    (0..swaps)
        .map(|number| match number % 3 {
            0 => Ok(Step {
                what: format!("deploy {AFTER}").into(),
                ask: Ask::Deploy { component: counter(&AFTER)?.component, version: AFTER, pause_limit: None },
                wanted: Wanted::Upgrade,
            }),
            1 => Ok(Step {
                what: format!("rollback to {BEFORE}").into(),
                ask: Ask::Rollback { to: BEFORE },
                wanted: Wanted::Rollback,
            }),
            _ => failing(number / 3),
        })
        .collect()
}

fn failing(round: u32) -> anyhow::Result<Step> {
    let mut faults = FAULTS.iter().cycle().skip(round as usize % FAULTS.len());
    let fault = faults.next().context("there are faults")?;
    let guest = example_workloads::fault(fault.guest)
        .with_context(|| format!("this program carries no guest {}", fault.guest))?;
    // A version of its own for each: the bytes of a version never change.
    let version = format!("1.2.0-{}", fault.guest).parse().context("a version")?;
    Ok(Step {
        what: format!("deploy {}, to fail", fault.guest).into(),
        ask: Ask::Deploy { component: guest.component, version, pause_limit: fault.pause_limit },
        wanted: Wanted::Failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_swap_fails_in_another_way() {
        let steps = steps(21).expect("all guests are there");
        let wanted: Vec<Wanted> = steps.iter().take(4).map(|step| step.wanted).collect();
        assert_eq!(wanted, [Wanted::Upgrade, Wanted::Rollback, Wanted::Failure, Wanted::Upgrade]);
        let mut versions: Vec<String> = steps
            .iter()
            .filter(|step| step.wanted == Wanted::Failure)
            .filter_map(|step| match &step.ask {
                Ask::Deploy { version, .. } => Some(version.to_string()),
                Ask::Rollback { .. } => None,
            })
            .collect();
        versions.dedup();
        assert_eq!(versions.len(), FAULTS.len());
    }
}
