//! What a person may decide about a rollout, parsed once.

use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{id::WorkloadName, policy::SwapPolicy, status::HealthStatus, time::UnixNanos};

/// In which steps the hosts are switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Strategy {
    /// Wave after wave.
    #[default]
    Rolling,
    /// A few first, watched for a while; then wave after wave.
    Canary {
        /// How many are first.
        size: WaveSize,
        /// How long they are watched before the rest follows, if nobody promotes them earlier.
        monitor: Duration,
    },
    /// All in one wave.
    AllAtOnce,
}

/// How many hosts of a rollout are switched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WaveSize(Size);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Hosts(u32),
    Percent(u8),
}

/// Text that is no size of a wave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no size of a wave: write a number of hosts (3) or a part of them (25%, from 1% to 100%)")]
pub struct InvalidWaveSize {
    /// What was given.
    pub text: String,
}

impl WaveSize {
    /// One host: the fewest that can tell anything.
    pub const ONE: Self = Self(Size::Hosts(1));
    /// A quarter: three waves can still be spared when the first goes wrong.
    pub const QUARTER: Self = Self(Size::Percent(25));

    /// How many of this many hosts; at least one where there is any. Parts are rounded up.
    #[must_use]
    pub fn of(self, hosts: usize) -> usize {
        let wanted = match self.0 {
            Size::Hosts(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Size::Percent(percent) => hosts.saturating_mul(usize::from(percent)).div_ceil(100),
        };
        wanted.max(1).min(hosts)
    }
}

impl FromStr for WaveSize {
    type Err = InvalidWaveSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidWaveSize { text: text.to_owned() };
        let size = match text.strip_suffix('%') {
            Some(percent) => Size::Percent(percent.parse().map_err(|_: ParseIntError| invalid())?),
            None => Size::Hosts(text.parse().map_err(|_: ParseIntError| invalid())?),
        };
        match size {
            Size::Hosts(1..) | Size::Percent(1..=100) => Ok(Self(size)),
            Size::Hosts(_) | Size::Percent(_) => Err(invalid()),
        }
    }
}

impl TryFrom<String> for WaveSize {
    type Error = InvalidWaveSize;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WaveSize> for String {
    fn from(size: WaveSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for WaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Size::Hosts(count) => write!(f, "{count}"),
            Size::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Whose word is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum HealthCheck {
    /// Nobody's: that the swap went through is enough.
    Off,
    /// The host's: itself, the workload's own `health`, and what the host sees of it.
    #[default]
    Default,
    /// A method of a workload that answers calls.
    Endpoint {
        /// The workload.
        workload: WorkloadName,
        /// The method.
        method: String,
    },
}

/// How well a host must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Required {
    /// Well.
    #[default]
    Ok,
    /// Well, or such that somebody should look.
    Degraded,
}

impl Required {
    /// Whether a host that is this well is well enough.
    #[must_use]
    pub const fn allows(self, status: HealthStatus) -> bool {
        matches!((self, status), (_, HealthStatus::Ok) | (Self::Degraded, HealthStatus::Degraded))
    }
}

/// How the health of switched hosts is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// Whose word.
    pub check: HealthCheck,
    /// How well a host must be.
    pub required: Required,
    /// How often a host that is not, or whose health nobody could find out, is asked again.
    pub retries: u32,
    /// How long after.
    pub retry_delay: Duration,
}

impl HealthPolicy {
    /// A host that is asked more often than this is not asked but waited for.
    pub const RETRIES_LIMIT: u32 = 1_000;
    /// A service's warm-up shows in one or two seconds; three tries span it.
    pub const DEFAULT_RETRIES: u32 = 3;
    /// As above.
    pub const DEFAULT_RETRY_DELAY: Duration = Duration::from_secs(2);
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            check: HealthCheck::Default,
            required: Required::Ok,
            retries: Self::DEFAULT_RETRIES,
            retry_delay: Self::DEFAULT_RETRY_DELAY,
        }
    }
}

/// Text that names no check of health.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no check of health: write off, default, or a method as chat.health; behind it =ok or =degraded")]
pub struct InvalidHealthCheck {
    /// What was given.
    pub text: String,
}

/// Longest name of a method in bytes: it travels in every question.
pub const METHOD_LIMIT_BYTES: usize = 128;

/// `off`, `default` or `workload.method`, and what is required behind a `=`.
impl FromStr for HealthPolicy {
    type Err = InvalidHealthCheck;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHealthCheck { text: text.to_owned() };
        let (whose, required) = match text.split_once('=') {
            Some((whose, "ok")) => (whose, Required::Ok),
            Some((whose, "degraded")) => (whose, Required::Degraded),
            Some(_) => return Err(invalid()),
            None => (text, Required::Ok),
        };
        let check = match whose {
            "off" => HealthCheck::Off,
            "default" => HealthCheck::Default,
            // A workload's name may have dots itself; a method's has none.
            endpoint => {
                let (workload, method) = endpoint.rsplit_once('.').ok_or_else(invalid)?;
                let sound = !method.is_empty() && method.len() <= METHOD_LIMIT_BYTES;
                let workload = workload.parse().ok().filter(|_| sound).ok_or_else(invalid)?;
                HealthCheck::Endpoint { workload, method: method.to_owned() }
            }
        };
        Ok(Self { check, required, ..Self::default() })
    }
}

/// What to do about a host that does not answer in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unreachable {
    /// Roll back the others.
    #[default]
    Rollback,
    /// Go on without it.
    Skip,
    /// Wait for a person.
    Pause,
}

/// What to do about hosts that are not connected when a rollout begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offline {
    /// Go on without them; they are brought to what is stable when they return.
    Skip,
    /// Wait for them, until nothing has moved for [`RolloutPolicy::progress_deadline`].
    Wait,
    /// Refuse, naming them.
    #[default]
    Refuse,
}

/// What to do when more hosts fail than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Put every switched host back.
    #[default]
    RollBack,
    /// Leave everything as it is, predecessors kept, until a person decides (`--no-rollback`).
    Hold,
}

/// When a rollout begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Not before.
    pub not_before: UnixNanos,
    /// How much later it may still begin: the coordinator may have been away.
    pub late_limit: Duration,
}

impl Schedule {
    /// An hour: a night's window is longer, a forgotten one shorter.
    pub const DEFAULT_LATE_LIMIT: Duration = Duration::from_secs(60 * 60);
}

/// How each host swaps. What a host itself decides (thresholds, signatures) is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPolicy {
    /// Longest pause on a host. Past it the swap is aborted there.
    pub pause_limit: Duration,
    /// When no other way leads back: go back to the state at the switch and lose what came since.
    pub allow_loss: bool,
    /// Skip a host's pre-flight and the verdict of its smoke check.
    pub force: bool,
    /// Go even where nothing leads back.
    pub one_way: bool,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self { pause_limit: SwapPolicy::DEFAULT_PAUSE_LIMIT, allow_loss: false, force: false, one_way: false }
    }
}

/// How a rollout is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// In which steps.
    pub strategy: Strategy,
    /// How many hosts are switched together.
    pub wave: WaveSize,
    /// From the end of a wave's verification to the next wave.
    pub wave_delay: Duration,
    /// How long all switched hosts must be healthy, at one generation, before the next wave.
    pub soak: Duration,
    /// How long a host may take for one command, and be away, before it counts as unknown.
    pub host_timeout: Duration,
    /// How long nothing may move. Stands still while the rollout is paused.
    pub progress_deadline: Duration,
    /// How health is asked for.
    pub health: HealthPolicy,
    /// What to do when more hosts fail than may.
    pub on_failure: OnFailure,
    /// How many hosts may fail without failing the rollout; each is put back by itself.
    pub failure_budget: u32,
    /// What to do about a host that does not answer in time.
    pub unreachable: Unreachable,
    /// What to do about hosts that are not connected at the beginning.
    pub offline: Offline,
    /// How many hosts prepare at once: all of them may have to pull the same artifact from the coordinator.
    pub prepare_at_once: u32,
    /// How each host swaps.
    pub host: HostPolicy,
}

/// Why a policy can't be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A duration beyond its limit.
    #[error("{what} of {given:?} is not possible: from {least:?} to {most:?}")]
    Duration {
        /// Which.
        what: &'static str,
        /// What was given.
        given: Duration,
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// Too many retries.
    #[error("a host can be asked again for its health at most {} times", HealthPolicy::RETRIES_LIMIT)]
    Retries,
    /// Nobody would prepare.
    #[error("at least one host must be able to prepare")]
    PrepareAtOnce,
    /// A host would always seem lost.
    #[error("a host's time-out of {host_timeout:?} is shorter than the pause it is allowed, {pause_limit:?}")]
    TimeoutBelowPause {
        /// The one.
        host_timeout: Duration,
        /// The other.
        pause_limit: Duration,
    },
}

impl RolloutPolicy {
    /// Ten seconds, as on one host: enough for a bug that every client meets to show.
    pub const DEFAULT_SOAK: Duration = Duration::from_secs(10);
    /// Five minutes: a large state over a slow disk takes one.
    pub const DEFAULT_HOST_TIMEOUT: Duration = Duration::from_secs(300);
    /// Ten minutes: twice what one host may take.
    pub const DEFAULT_PROGRESS_DEADLINE: Duration = Duration::from_secs(600);
    /// Five minutes, as long as a person watches a canary.
    pub const DEFAULT_MONITOR: Duration = Duration::from_secs(300);
    /// Ten: about what a coordinator's disk and network give at full speed.
    pub const DEFAULT_PREPARE_AT_ONCE: u32 = 10;
    /// A wait of more than a week is a mistake in the unit.
    pub const DURATION_LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// Shorter than this a healthy host over a slow network would seem lost.
    pub const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

    /// The policy, if it can be followed.
    ///
    /// # Errors
    /// What is wrong, in the words a person reads.
    pub fn checked(self) -> Result<Self, InvalidPolicy> {
        let within = |what, given: Duration, least: Duration| {
            let most = Self::DURATION_LIMIT;
            if (least..=most).contains(&given) {
                Ok(())
            } else {
                Err(InvalidPolicy::Duration { what, given, least, most })
            }
        };
        within("a wave's delay", self.wave_delay, Duration::ZERO)?;
        within("a soak", self.soak, Duration::ZERO)?;
        within("a host's time-out", self.host_timeout, Self::LEAST_TIMEOUT)?;
        within("a progress deadline", self.progress_deadline, Self::LEAST_TIMEOUT)?;
        within("a delay of retries", self.health.retry_delay, Duration::ZERO)?;
        if let Strategy::Canary { monitor, .. } = self.strategy {
            within("a canary's monitoring", monitor, Duration::ZERO)?;
        }
        if self.health.retries > HealthPolicy::RETRIES_LIMIT {
            return Err(InvalidPolicy::Retries);
        }
        if self.prepare_at_once == 0 {
            return Err(InvalidPolicy::PrepareAtOnce);
        }
        if self.host_timeout <= self.host.pause_limit {
            let (host_timeout, pause_limit) = (self.host_timeout, self.host.pause_limit);
            return Err(InvalidPolicy::TimeoutBelowPause { host_timeout, pause_limit });
        }
        Ok(self)
    }
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            wave: WaveSize::QUARTER,
            wave_delay: Duration::ZERO,
            soak: Self::DEFAULT_SOAK,
            host_timeout: Self::DEFAULT_HOST_TIMEOUT,
            progress_deadline: Self::DEFAULT_PROGRESS_DEADLINE,
            health: HealthPolicy::default(),
            on_failure: OnFailure::RollBack,
            failure_budget: 0,
            unreachable: Unreachable::Rollback,
            offline: Offline::Refuse,
            prepare_at_once: Self::DEFAULT_PREPARE_AT_ONCE,
            host: HostPolicy::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waves_size_is_a_number_or_a_part_and_never_nothing() {
        for (text, hosts, wanted) in
            [("25%", 6, 2), ("25%", 1, 1), ("1%", 10, 1), ("100%", 7, 7), ("3", 2, 2), ("3", 9, 3), ("3", 0, 0)]
        {
            let size: WaveSize = text.parse().expect(text);
            assert_eq!(size.of(hosts), wanted, "{text} of {hosts}");
            assert_eq!(size.to_string(), text);
        }
        for bad in ["0", "0%", "101%", "-1", "%", "", "a few"] {
            assert!(bad.parse::<WaveSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_check_of_health_says_whose_word_and_how_well() {
        let parse = |text: &str| text.parse::<HealthPolicy>().expect(text);
        assert_eq!(parse("off").check, HealthCheck::Off);
        assert_eq!(parse("default=degraded").required, Required::Degraded);
        let HealthCheck::Endpoint { workload, method } = parse("chat.eu.health=ok").check else {
            panic!("an endpoint")
        };
        assert_eq!((workload.as_str(), method.as_str()), ("chat.eu", "health"));
        for bad in ["", "chat", "chat.", ".health", "Chat.health", "chat.health=well", "default=failed"] {
            assert!(bad.parse::<HealthPolicy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_that_can_not_be_followed_is_refused_with_the_reason() {
        let with = |change: fn(&mut RolloutPolicy)| {
            let mut policy = RolloutPolicy::default();
            change(&mut policy);
            policy.checked().map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| ()), Ok(()));
        let late = with(|policy| policy.soak = Duration::from_secs(1_000_000)).expect_err("too long");
        assert!(late.starts_with("a soak of 1000000s is not possible"), "{late}");
        let short = with(|policy| policy.host_timeout = Duration::from_secs(2)).expect_err("too short");
        assert!(short.contains("shorter than the pause"), "{short}");
        assert!(with(|policy| policy.prepare_at_once = 0).is_err());
        assert!(with(|policy| policy.health.retries = 2_000).is_err());
    }
}
