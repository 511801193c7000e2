//! Parts of a rollout as spans.

use host_core::{
    id::{RolloutId, WorkloadName},
    rollout::{CommandEnd, Part, PartKind, StateName, Verdict, command::ActionKind},
    time::UnixNanos,
    trace::{SpanId, TraceContext},
};
use semver::Version;

use super::names::span as names;

/// A span that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is called.
    pub name: &'static str,
    /// It, in its trace.
    pub context: TraceContext,
    /// What it is a part of.
    pub parent: Option<SpanId>,
    /// When it began.
    pub began: UnixNanos,
    /// When it was over.
    pub ended: UnixNanos,
    /// What is known of it.
    pub fields: Vec<(&'static str, Value)>,
    /// Why a trace shall show it in red: what was wanted did not come about.
    pub failed: Option<String>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A part as a span; none where its rollout is not traced.
pub(super) fn of(rollout: RolloutId, workload: &WorkloadName, to: &Version, part: Part) -> Option<Span> {
    let Part { what, began, ended, span } = part;
    let span = span?;
    let mut fields: Vec<(&'static str, Value)> = vec![("rollout.id", rollout.0.into())];
    let (name, failed, why) = match what {
        PartKind::Rollout { verdict, why, counts, .. } => {
            fields.extend([
                ("workload", workload.as_str().into()),
                ("to", to.to_string().into()),
                ("verdict", verdict.as_str().into()),
                ("hosts", counts.total.into()),
                ("upgraded", counts.upgraded.into()),
            ]);
            (names::ROLLOUT, verdict != Verdict::Done, why)
        }
        PartKind::State { state, wave } => {
            fields.extend(wave.map(|wave| ("wave", wave.into())));
            let name = if state == StateName::Switching { names::WAVE } else { state.as_str() };
            (name, false, None)
        }
        PartKind::Command { host, command, action, end, why } => {
            fields.extend([
                ("host", host.as_str().into()),
                ("command.id", command.0.into()),
                ("action", action.as_str().into()),
                ("outcome", end.as_str().into()),
            ]);
            (names::COMMAND, missed(action, end), why)
        }
    };
    let failed = failed.then(|| why.clone().unwrap_or_default());
    fields.extend(why.map(|why| ("why", why.into())));
    Some(Span { name, context: span.context, parent: span.parent, began, ended, fields, failed })
}

/// Whether a command did not come to what it was given for.
const fn missed(action: ActionKind, end: CommandEnd) -> bool {
    match end {
        CommandEnd::Prepared | CommandEnd::Switched | CommandEnd::Committed => false,
        CommandEnd::RolledBack => !matches!(action, ActionKind::RollBack),
        CommandEnd::Refused | CommandEnd::Expired | CommandEnd::Stuck | CommandEnd::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        id::CommandId,
        rollout::{Counts, PartSpan, request::Extent},
    };

    use super::*;

    fn span(what: PartKind) -> Span {
        let context: TraceContext =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("a context");
        let part =
            Part { what, began: UnixNanos(1), ended: UnixNanos(2), span: Some(PartSpan { context, parent: None }) };
        of(RolloutId(3), &"counter".parse().expect("a name"), &Version::new(1, 1, 0), part).expect("traced")
    }

    #[test]
    fn a_span_is_red_when_what_was_wanted_did_not_come_about() {
        let command = |action, end| {
            let (host, command) = ("h1".parse().expect("a name"), CommandId(1));
            span(PartKind::Command { host, command, action, end, why: Some("so".to_owned()) }).failed
        };
        assert_eq!(command(ActionKind::Switch, CommandEnd::Switched), None);
        assert_eq!(command(ActionKind::RollBack, CommandEnd::RolledBack), None);
        assert_eq!(command(ActionKind::Switch, CommandEnd::RolledBack).as_deref(), Some("so"));
        assert_eq!(command(ActionKind::Commit, CommandEnd::Unknown).as_deref(), Some("so"));
        let whole = |verdict| {
            let (extent, counts) = (Extent::Roll, Counts::default());
            span(PartKind::Rollout { extent, verdict, why: None, counts }).failed
        };
        assert_eq!((whole(Verdict::Done), whole(Verdict::RolledBack)), (None, Some(String::new())));
    }

    #[test]
    fn a_wave_says_which() {
        let wave = span(PartKind::State { state: StateName::Switching, wave: Some(2) });
        assert_eq!(wave.name, "wave");
        assert!(wave.fields.contains(&("wave", Value::Number(2))), "{wave:?}");
    }
}
