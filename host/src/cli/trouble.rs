//! An error as a command ends with it: what happened, what still runs, what to do, and the exit code.

use host_api::{ClientError, Failure, FailureKind};
use host_fleet::client::OperatorError;

use super::Exit;

/// Why a command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    /// Which kind, for programs.
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    pub(crate) still: Option<String>,
    pub(crate) remedy: Option<String>,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        let kind = match exit {
            Exit::Usage => "invalid",
            Exit::NoHost => "no-host",
            _ => "failed",
        };
        Self { exit, kind, what: what.into(), still: None, remedy: None }
    }

    pub(crate) fn still(mut self, still: impl Into<String>) -> Self {
        self.still = Some(still.into());
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self {
            exit: Exit::of_failure(failure.kind),
            kind: failure.kind.as_str(),
            what: failure.what,
            still: failure.still,
            remedy: failure.remedy,
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let (what, remedy) = match &error {
            ClientError::Host(failure) => return failure.clone().into(),
            ClientError::NoHost { data, .. } => (
                format!("no host runs in {}", data.display()),
                format!("start one with `host run --data {}`", data.display()),
            ),
            ClientError::NotAllowed { .. } => {
                (error.to_string(), "ask as that user, or use your own --data".to_owned())
            }
            ClientError::NotAHost { source, .. } => (
                format!("{error} ({source})"),
                "is --data right? If so, remove that socket and start a host".to_owned(),
            ),
            ClientError::Silent { .. } => (
                error.to_string(),
                "look at its process and its log; a host that hangs can be killed safely".to_owned(),
            ),
            ClientError::Lost { .. } => (
                "the connection to the host broke off: it was stopped or killed".to_owned(),
                "what was asked for may have been done: when the host runs again, `host history` tells".to_owned(),
            ),
            ClientError::Unreadable(_) => {
                (error.to_string(), "use the `host` program that the host was started with".to_owned())
            }
        };
        let kind = match &error {
            ClientError::Lost { .. } => "lost",
            ClientError::Unreadable(_) => FailureKind::Protocol.as_str(),
            _ => "no-host",
        };
        Self { kind, ..Self::new(Exit::NoHost, what).remedy(remedy) }
    }
}

impl From<OperatorError> for Trouble {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Refused(failure) => failure.into(),
            OperatorError::Identity(error) => Self::new(Exit::Failed, error.to_string()).remedy(
                "name the fleet's data directory with --data; on another machine, copy its `operator` folder there",
            ),
            OperatorError::Connect(error) => {
                let why = std::error::Error::source(&error).map_or_else(String::new, |source| format!(" ({source})"));
                Self { kind: "no-coordinator", ..Self::new(Exit::NoHost, format!("{error}{why}")) }
                    .still("hosts carry on as they are")
            }
            OperatorError::Unreadable(error) => Self::new(Exit::NoHost, error.to_string())
                .remedy("use the `host` program that the coordinator was started with"),
        }
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_words_are_kept() {
        let failure =
            Failure::new(FailureKind::Stopped, "chat is stopped").still("counter runs").remedy("host start chat");
        let trouble = Trouble::from(ClientError::Host(failure));
        assert_eq!((trouble.exit, trouble.kind, &*trouble.what), (Exit::Stopped, "stopped", "chat is stopped"));
        assert_eq!(
            (trouble.still.as_deref(), trouble.remedy.as_deref()),
            (Some("counter runs"), Some("host start chat"))
        );
    }

    #[test]
    fn without_a_host_the_command_that_starts_one_is_told() {
        let source = std::io::ErrorKind::NotFound.into();
        let trouble = Trouble::from(ClientError::NoHost { data: "/d".into(), source });
        assert_eq!(trouble.exit.code(), 5);
        assert_eq!(trouble.remedy.as_deref(), Some("start one with `host run --data /d`"));
    }
}
