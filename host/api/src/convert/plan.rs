//! Plans.

use host_core::{
    plan::{Change, Direction, Plan, StatePath, SwapPlan, WayBack},
    release::StateFormat,
};

use super::{Invalid, each, enumeration, text, version, wanted};
use crate::pb;

enumeration!(read_direction, write_direction, pb::Direction, Direction, { Upgrade, Downgrade, Reconfigure });
enumeration!(read_way_back, write_way_back, pb::WayBack, WayBack, { Downgrade, Replay, Unchanged, None });

impl From<Plan> for pb::Plan {
    fn from(plan: Plan) -> Self {
        let (kind, swap) = match plan {
            Plan::Nothing => (pb::PlanKind::Nothing, None),
            Plan::Start => (pb::PlanKind::Start, None),
            Plan::Swap(swap) => (pb::PlanKind::Swap, Some(swap.into())),
        };
        Self { kind: kind.into(), swap }
    }
}

impl TryFrom<pb::Plan> for Plan {
    type Error = Invalid;

    fn try_from(raw: pb::Plan) -> Result<Self, Invalid> {
        match pb::PlanKind::try_from(raw.kind) {
            Ok(pb::PlanKind::Nothing) => Ok(Self::Nothing),
            Ok(pb::PlanKind::Start) => Ok(Self::Start),
            Ok(pb::PlanKind::Swap) => Ok(Self::Swap(wanted("swap", raw.swap)?)),
            Ok(pb::PlanKind::Unspecified) => Err(Invalid::missing("kind")),
            Err(error) => Err(Invalid::new("kind", error)),
        }
    }
}

impl From<SwapPlan> for pb::SwapPlan {
    fn from(plan: SwapPlan) -> Self {
        Self {
            from: plan.from.to_string(),
            direction: write_direction(plan.direction),
            state: Some(plan.state.into()),
            way_back: write_way_back(plan.way_back),
            changes: plan.changes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::SwapPlan> for SwapPlan {
    type Error = Invalid;

    fn try_from(raw: pb::SwapPlan) -> Result<Self, Invalid> {
        Ok(Self {
            from: version("from", &raw.from)?,
            direction: read_direction("direction", raw.direction)?,
            state: wanted("state", raw.state)?,
            way_back: read_way_back("way_back", raw.way_back)?,
            changes: each("changes", raw.changes)?,
        })
    }
}

impl From<StatePath> for pb::StatePath {
    fn from(path: StatePath) -> Self {
        use pb::StatePathKind as Kind;
        let (kind, from, to) = match path {
            StatePath::Same { format } => (Kind::Same, format, format),
            StatePath::Upgrade { from, to } => (Kind::Upgrade, from, to),
            StatePath::Downgrade { from, to } => (Kind::Downgrade, from, to),
            StatePath::Checkpoint { from, to } => (Kind::Checkpoint, from, to),
        };
        Self { kind: kind.into(), from: Some(from.into()), to: Some(to.into()) }
    }
}

impl TryFrom<pb::StatePath> for StatePath {
    type Error = Invalid;

    fn try_from(raw: pb::StatePath) -> Result<Self, Invalid> {
        use pb::StatePathKind as Kind;
        let (from, to): (StateFormat, StateFormat) = (wanted("from", raw.from)?, wanted("to", raw.to)?);
        match Kind::try_from(raw.kind) {
            Ok(Kind::Same) if from == to => Ok(Self::Same { format: from }),
            Ok(Kind::Same) => Err(Invalid::new("to", "it differs from `from`, yet both are said to be the same")),
            Ok(Kind::Upgrade) => Ok(Self::Upgrade { from, to }),
            Ok(Kind::Downgrade) => Ok(Self::Downgrade { from, to }),
            Ok(Kind::Checkpoint) => Ok(Self::Checkpoint { from, to }),
            Ok(Kind::Unspecified) => Err(Invalid::missing("kind")),
            Err(error) => Err(Invalid::new("kind", error)),
        }
    }
}

impl From<Change> for pb::Change {
    fn from(change: Change) -> Self {
        let (kind, listener) = match change {
            Change::Config => (pb::ChangeKind::Config, String::new()),
            Change::Opens { listener } => (pb::ChangeKind::Opens, listener.to_string()),
            Change::Closes { listener } => (pb::ChangeKind::Closes, listener.to_string()),
        };
        Self { kind: kind.into(), listener }
    }
}

impl TryFrom<pb::Change> for Change {
    type Error = Invalid;

    fn try_from(raw: pb::Change) -> Result<Self, Invalid> {
        match pb::ChangeKind::try_from(raw.kind) {
            Ok(pb::ChangeKind::Config) => Ok(Self::Config),
            Ok(pb::ChangeKind::Opens) => Ok(Self::Opens { listener: text("listener", &raw.listener)? }),
            Ok(pb::ChangeKind::Closes) => Ok(Self::Closes { listener: text("listener", &raw.listener)? }),
            Ok(pb::ChangeKind::Unspecified) => Err(Invalid::missing("kind")),
            Err(error) => Err(Invalid::new("kind", error)),
        }
    }
}
