//! What the demo is going to do, decided before it does anything.

use std::{borrow::Cow, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use example_workloads::Example;
use semver::{BuildMetadata, Version};

use super::check::Expected;

/// Ways to fail, in turn. Each comes after a rollback and leaves 1.0.0 running, as which it answers itself.
pub(crate) const FAULTS: [Fault; 11] = [
    Fault { guest: "code-change-traps", pause_limit: None },
    Fault { guest: "code-change-errors", pause_limit: None },
    // Long enough to be told from a hiccup, short enough not to bore anybody.
    Fault { guest: "code-change-never-returns", pause_limit: Some(Duration::from_millis(250)) },
    Fault { guest: "unmigratable", pause_limit: None },
    Fault { guest: "health-fails", pause_limit: None },
    Fault { guest: "init-traps", pause_limit: None },
    Fault { guest: "code-change-eats-memory", pause_limit: None },
    Fault { guest: "init-errors", pause_limit: None },
    Fault { guest: "describe-traps", pause_limit: None },
    Fault { guest: "state-type-changed", pause_limit: None },
    Fault { guest: "another-world", pause_limit: None },
];

/// A guest that fails, and what the deploy must be given so that it does so soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) guest: &'static str,
    pub(crate) pause_limit: Option<Duration>,
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
    Deploy { component: Bytes, version: Version, pause_limit: Option<Duration> },
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

/// A version further on, two steps from the first.
pub(crate) const LATER: Version = Version::new(2, 0, 0);

/// What the answers of these two look like.
pub(crate) fn expected(version: &Version) -> Expected {
    // What stands behind a `+` only tells components apart.
    let answers = Version { build: BuildMetadata::EMPTY, ..version.clone() };
    Expected { version: answers.to_string(), counts_mine: answers == AFTER }
}

/// An example's component.
pub(crate) fn counter(version: &Version) -> anyhow::Result<&'static Example> {
    example_workloads::example("counter", &version.to_string())
        .with_context(|| format!("this program carries no counter {version}"))
}

/// So many swaps: up, down, one that fails, and so on. `recompile` makes each upgrade another component.
pub(crate) fn steps(swaps: u32, recompile: bool) -> anyhow::Result<Vec<Step>> {
    (0..swaps)
        .map(|number| match number % 3 {
            0 => upgrade(recompile.then_some(number)),
            1 => Ok(Step {
                what: format!("rollback to {BEFORE}").into(),
                ask: Ask::Rollback { to: BEFORE },
                wanted: Wanted::Rollback,
            }),
            _ => failing(number / 3),
        })
        .collect()
}

fn upgrade(number: Option<u32>) -> anyhow::Result<Step> {
    let component = Bytes::from_static(counter(&AFTER)?.component);
    let (component, version) = match number {
        None => (component, AFTER),
        Some(number) => {
            let build = BuildMetadata::new(&number.to_string()).context("a version")?;
            (told_apart(&component, number), Version { build, ..AFTER })
        }
    };
    let what = format!("deploy {version}").into();
    Ok(Step { what, ask: Ask::Deploy { component, version, pause_limit: None }, wanted: Wanted::Upgrade })
}

/// A component that does the same and is another: with a custom section behind it, which nothing reads.
fn told_apart(component: &[u8], number: u32) -> Bytes {
    // Section 0, its length, and in it the length of its name, its name, and what tells it apart.
    const BEGINNING: [u8; 7] = [0, 9, 4, b'd', b'e', b'm', b'o'];
    [component, &BEGINNING, &number.to_le_bytes()].concat().into()
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
        ask: Ask::Deploy { component: Bytes::from_static(guest.component), version, pause_limit: fault.pause_limit },
        wanted: Wanted::Failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_swap_fails_in_another_way() {
        let steps = steps(33, false).expect("all guests are there");
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

    #[test]
    fn upgrades_that_are_to_be_compiled_anew_are_other_components_that_answer_alike() {
        let steps = steps(4, true).expect("all guests are there");
        let upgrades: Vec<_> = steps
            .iter()
            .filter_map(|step| match &step.ask {
                Ask::Deploy { component, version, .. } if step.wanted == Wanted::Upgrade => Some((component, version)),
                _ => None,
            })
            .collect();
        assert_eq!(upgrades.len(), 2);
        assert!(upgrades[0].0 != upgrades[1].0 && upgrades[0].1 != upgrades[1].1);
        for (component, version) in upgrades {
            assert_eq!(expected(version), expected(&AFTER));
            let parsed = length_of(component);
            assert_eq!(parsed, component.len(), "the section is whole");
        }
    }

    /// How far the top-level sections of a component reach.
    fn length_of(component: &[u8]) -> usize {
        let mut at = 8;
        while at < component.len() {
            let (mut length, mut shift) = (0_usize, 0);
            at += 1;
            loop {
                let byte = component[at];
                (length, shift, at) = (length | usize::from(byte & 0x7f) << shift, shift + 7, at + 1);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            at += length;
        }
        at
    }
}
