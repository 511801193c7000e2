//! How clients behave: what each does next, drawn from its own dice.

use std::time::Duration;

use super::dice::Dice;

/// What a client is called that the host may close without having dropped it.
pub(super) const PROVOKER: &str = "provoker";

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    /// A line at a time, evenly.
    Steady { gap: Duration },
    /// Many lines at once, then nothing for a while.
    Bursts,
    /// Sends without reading for a while, with little room for what comes.
    Slow,
    /// Half a line, and the other half later.
    Halves,
    /// Hardly ever says anything.
    Idle,
    /// Asks to be reminded, and talks nonsense in between.
    Reminded,
    /// Says a line, waits for the answer, goes.
    Caller,
    /// Says some lines and goes in the middle of one, without reading.
    Leaver,
    /// Says some lines and then the one that its release can't bear.
    Provoker(Provocation),
}

/// A line that makes a guest fail which is made for it, and that every other answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provocation {
    /// `handle` traps.
    Trap,
    /// What comes next, `snapshot` or `health`, traps.
    Break,
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Lines(u64),
    Nonsense,
    Remind(Duration),
    /// The first bytes of a line; the next move brings the others.
    Half,
    /// Reads nothing for so long.
    Hold(Duration),
    LeaveWhenAnswered,
    LeaveMidLine,
    Provoke(Provocation),
}

impl Provocation {
    pub(super) const fn line(self) -> &'static [u8] {
        match self {
            Self::Trap => b"trap\n",
            Self::Break => b"break\n",
        }
    }
}

impl Behaviour {
    /// In a word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Steady { .. } => "steady",
            Self::Bursts => "bursts",
            Self::Slow => "slow",
            Self::Halves => "halves",
            Self::Idle => "idle",
            Self::Reminded => "reminded",
            Self::Caller => "caller",
            Self::Leaver => "leaver",
            Self::Provoker(_) => PROVOKER,
        }
    }

    /// How large the system's buffer for what it has not read shall be, where it matters.
    pub(super) const fn receive_buffer_bytes(self) -> Option<u32> {
        match self {
            // The least that systems grant: what does not fit waits in the host.
            Self::Slow => Some(4 << 10),
            _ => None,
        }
    }

    /// The next move, and the time until then. `nth` counts its moves from 0.
    pub(super) fn next(self, nth: u64, dice: &mut Dice) -> (Duration, Move) {
        match self {
            // Not all at the same moment.
            Self::Steady { gap } if nth == 0 => (gap.mul_f64(dice.below(1_000) as f64 / 1e3), Move::Lines(1)),
            Self::Steady { gap } => (gap, Move::Lines(1)),
            Self::Bursts => (dice.ms(200, 3_000), Move::Lines(dice.between(10, 60))),
            Self::Slow if nth.is_multiple_of(2) => (Duration::ZERO, Move::Hold(dice.ms(200, 1_500))),
            // A few KiB at most wait for it in the host: far from what a client may be behind.
            Self::Slow => (dice.ms(200, 1_500), Move::Lines(dice.between(1, 60))),
            Self::Halves if nth.is_multiple_of(2) => (dice.ms(5, 300), Move::Half),
            Self::Halves => (dice.ms(5, 300), Move::Lines(1)),
            Self::Idle => (dice.ms(500, 10_000), Move::Lines(1)),
            Self::Reminded => match dice.below(4) {
                0 => (dice.ms(50, 500), Move::Nonsense),
                1 => (dice.ms(50, 500), Move::Lines(1)),
                _ => (dice.ms(50, 500), Move::Remind(dice.ms(0, 900))),
            },
            Self::Caller if nth == 0 => (dice.ms(0, 20), Move::Lines(1)),
            Self::Caller => (Duration::ZERO, Move::LeaveWhenAnswered),
            Self::Leaver if nth == 0 => (dice.ms(0, 20), Move::Lines(dice.between(0, 20))),
            Self::Leaver => (dice.ms(0, 5), Move::LeaveMidLine),
            Self::Provoker(_) if nth == 0 => (dice.ms(0, 20), Move::Lines(dice.between(0, 20))),
            Self::Provoker(how) if nth == 1 => (dice.ms(0, 20), Move::Provoke(how)),
            Self::Provoker(_) => (Duration::ZERO, Move::LeaveWhenAnswered),
        }
    }
}

/// Who stays from round to round, out of so many connections. So many lines per second are those of steady clients; the
/// others add a few each.
pub(super) fn cast(connections: u32, lines_per_second: u64) -> Vec<(Behaviour, u32)> {
    let share = |percent: u32| (connections * percent / 100).max(1);
    let others = [
        (Behaviour::Bursts, share(8)),
        (Behaviour::Slow, share(8)),
        (Behaviour::Halves, share(8)),
        (Behaviour::Idle, share(10)),
        (Behaviour::Reminded, share(6)),
    ];
    let steady = connections.saturating_sub(others.iter().map(|(_, count)| count).sum()).max(1);
    let gap = Duration::from_secs_f64(f64::from(steady) / lines_per_second as f64);
    [(Behaviour::Steady { gap }, steady)].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cast_has_everyone_and_no_more_than_asked_for() {
        for connections in [10, 100, 5_000] {
            let cast = cast(connections, 1_000);
            assert_eq!(cast.iter().map(|(_, count)| count).sum::<u32>(), connections);
            assert!(cast.iter().all(|(_, count)| *count > 0), "{cast:?}");
        }
    }

    #[test]
    fn steady_clients_make_the_rate_together() {
        let (Behaviour::Steady { gap }, steady) = cast(100, 1_000)[0] else { panic!("the first are steady") };
        assert_eq!(gap.as_secs_f64(), f64::from(steady) / 1_000.0);
    }
}
