//! What a soak does, decided from its seed alone: rounds of acts, each with an ending.
//!
//! What an act comes to may depend on what ran when its turn came (an upgrade to the version in place is no swap), and that
//! on the moment a kill hit. The schedule itself never does: the same seed asks for the same acts in the same order.

use std::time::Duration;

use super::dice::Dice;

/// A stretch of time between two countings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// From 1.
    pub(super) number: u64,
    /// In order, each with the time that passes before it.
    pub(super) acts: Vec<(Duration, Act)>,
    pub(super) ending: Ending,
}

/// Something that is done to the host while clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// To another version of the counter. Which one is `choice` among those that don't run.
    Swap { choice: u64, probation: Duration },
    /// To another version, which is rolled back by hand so long after its probation began.
    Regret { choice: u64, after: Duration },
    /// `host rollback` to the version before.
    Rollback,
    /// To a release that traps on a line, which so many clients then say.
    Poison { clients: u32 },
    /// To a release that traps in one of its calls while it is on probation, when a client says so.
    Trap { call: Trapping },
    /// A deploy that has to fail, in the way of that number.
    Fault { way: u64 },
    /// `--dry-run` of another version.
    Rehearse { choice: u64 },
    /// What a person looks at: status, health, history.
    Look,
    /// So many clients come at once, say a line, and go.
    Storm { clients: u32 },
    /// So many clients come, say some lines, and go in the middle of one.
    Leavers { clients: u32 },
}

/// A call that traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trapping {
    Handle,
    /// Asked for when the release is rolled back by hand.
    Snapshot,
    /// Asked for by whoever looks.
    Health,
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Clients stop sending; everything is counted; the connections stay for the next round.
    Quiet,
    /// The host gets SIGTERM so long into an act, or while nothing else happens, and is started again.
    Terminate { during: Option<Act>, after: Duration },
    /// The same with SIGKILL.
    Kill { during: Option<Act>, after: Duration },
}

/// All rounds of a seed, one after the other, without an end.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    dice: Dice,
    rounds: u64,
}

impl Schedule {
    pub(super) const fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), rounds: 0 }
    }
}

impl Iterator for Schedule {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.rounds += 1;
        let dice = &mut self.dice;
        let acts = (0..dice.between(2, 8)).map(|_| (dice.ms(20, 700), act(dice))).collect();
        Some(Round { number: self.rounds, acts, ending: ending(dice) })
    }
}

fn act(dice: &mut Dice) -> Act {
    let choice = dice.below(2);
    match dice.below(24) {
        0..=5 => {
            let probation = if dice.one_in(3) { dice.ms(50, 800) } else { Duration::ZERO };
            Act::Swap { choice, probation }
        }
        6..=7 => Act::Regret { choice, after: dice.ms(0, 500) },
        8 => Act::Rollback,
        9..=14 => Act::Fault { way: dice.below(1_000) },
        15 => Act::Rehearse { choice },
        16 => Act::Look,
        17..=18 => Act::Storm { clients: size(dice, 30, 300) },
        19 => Act::Leavers { clients: size(dice, 5, 60) },
        20..=21 => Act::Poison { clients: size(dice, 1, 3) },
        _ => Act::Trap { call: trapping(dice) },
    }
}

fn trapping(dice: &mut Dice) -> Trapping {
    match dice.below(3) {
        0 => Trapping::Handle,
        1 => Trapping::Snapshot,
        _ => Trapping::Health,
    }
}

/// How many clients; far from 32 bits.
fn size(dice: &mut Dice, low: u64, high: u64) -> u32 {
    u32::try_from(dice.between(low, high)).unwrap_or(u32::MAX)
}

fn ending(dice: &mut Dice) -> Ending {
    let during = (!dice.one_in(3)).then(|| act(dice));
    // As long as most swaps take, so that many are hit in the middle and some are just over.
    let after = dice.ms(0, 150);
    match dice.below(100) {
        0..=14 => Ending::Kill { during, after },
        15..=24 => Ending::Terminate { during, after },
        _ => Ending::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let rounds = |seed| Schedule::new(seed).take(50).collect::<Vec<_>>();
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
    }

    #[test]
    fn everything_happens_before_long() {
        let rounds: Vec<Round> = Schedule::new(1).take(200).collect();
        let acts = || rounds.iter().flat_map(|round| round.acts.iter().map(|(_, act)| act));
        let some = |is: fn(&Act) -> bool| assert!(acts().any(is));
        some(|act| matches!(act, Act::Swap { probation: Duration::ZERO, .. }));
        some(|act| matches!(act, Act::Regret { .. }));
        some(|act| matches!(act, Act::Rollback));
        some(|act| matches!(act, Act::Poison { .. }));
        for call in [Trapping::Handle, Trapping::Snapshot, Trapping::Health] {
            assert!(acts().any(|act| *act == Act::Trap { call }), "{call:?}");
        }
        some(|act| matches!(act, Act::Fault { .. }));
        some(|act| matches!(act, Act::Rehearse { .. }));
        some(|act| matches!(act, Act::Look));
        some(|act| matches!(act, Act::Storm { .. }));
        some(|act| matches!(act, Act::Leavers { .. }));
        for wanted in ["Quiet", "Terminate { during: Some", "Kill { during: Some", "Kill { during: None"] {
            assert!(rounds.iter().any(|round| format!("{:?}", round.ending).contains(wanted)), "{wanted}");
        }
    }
}
