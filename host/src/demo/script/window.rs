//! Which lines a swap can have held up.

use std::time::Duration;

use host_core::{
    history::{SwapReport, Verdict},
    swap::{Outcome, PhaseName},
};

use crate::demo::load::{Latencies, Load, Sample};

/// Time on either side of the pause that belongs to the window. At the default rate 100 ms hold 2 000 lines, so that the
/// window's p99 is the 20 slowest of them; a wider one would only dilute the pause.
const MARGIN: Duration = Duration::from_millis(50);

/// The time around a pause, on the clock of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// When the swap was asked for: before it, time was steady.
    asked: Duration,
    /// When it was prepared: right before the pause, or at the end where there was none.
    prepared: Duration,
    from: Duration,
    to: Duration,
}

/// The samples of a swap, taken apart.
pub(super) struct Split {
    /// Before it.
    pub(super) steady: Latencies,
    /// From the call to the pause.
    pub(super) preparing: Latencies,
    /// Around the pause.
    pub(super) during: Latencies,
}

impl Window {
    /// The window of a swap that was asked for and answered at these times.
    ///
    /// The host's report says when the pause was; the first answer of the new version, where there is one, must lie in the
    /// window too. Without a report, or with one that names a time at which nobody had asked, it is the whole call.
    pub(super) fn around(
        load: &Load,
        asked: Duration,
        answered: Duration,
        first_answer: Option<Duration>,
        report: Option<&SwapReport>,
    ) -> Self {
        let paused = report.and_then(|report| paused(report, load.at_unix(report.began.0)));
        let paused = paused.filter(|(from, _)| *from >= asked && *from <= answered);
        Self::of(asked, answered, first_answer, paused)
    }

    fn of(
        asked: Duration,
        answered: Duration,
        first_answer: Option<Duration>,
        paused: Option<(Duration, Option<Duration>)>,
    ) -> Self {
        let prepared = paused.map_or(answered, |(from, _)| from);
        let (from, to) = match paused {
            Some((from, to)) => (from, to.unwrap_or(answered)),
            None => (asked, answered),
        };
        let (from, to) = match first_answer.filter(|first| *first >= asked) {
            Some(first) => (from.min(first), to.max(first)),
            None => (from, to),
        };
        Self { asked, prepared, from: from.saturating_sub(MARGIN), to: to + MARGIN }
    }

    /// When it is over.
    pub(super) const fn end(&self) -> Duration {
        self.to
    }

    /// How long it is.
    pub(super) const fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// When it was asked for, and when it was prepared.
    pub(super) const fn preparation(&self) -> (Duration, Duration) {
        (self.asked, self.prepared)
    }

    /// The latencies before the swap, while it was prepared, and in the window.
    pub(super) fn split(&self, samples: &[Sample]) -> anyhow::Result<Split> {
        let took = |keep: &dyn Fn(&Sample) -> bool| {
            Latencies::of(samples.iter().filter(|sample| keep(sample)).map(|sample| sample.took))
        };
        // A window that begins with the call itself has no claim on the time before it.
        let steady_until = self.asked.min(self.from);
        Ok(Split {
            steady: took(&|sample| sample.due < steady_until)?,
            preparing: took(&|sample| sample.due >= self.asked && sample.due < self.prepared)?,
            during: took(&|sample| sample.due >= self.from && sample.due <= self.to)?,
        })
    }
}

/// Answers per second that came from then until then.
pub(super) fn answers_per_second(samples: &[Sample], from: Duration, to: Duration) -> u64 {
    let came = samples.iter().map(|sample| sample.due + sample.took).filter(|at| *at >= from && *at < to).count();
    let micros = to.saturating_sub(from).as_micros().max(1);
    u64::try_from(came as u128 * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// When the pause began, and when it was over if the report tells; a rollback pauses once more, at some time until its end.
fn paused(report: &SwapReport, began: Duration) -> Option<(Duration, Option<Duration>)> {
    let pause = report.pause?;
    let prepare = report.phases.iter().find(|time| time.phase == PhaseName::Prepare)?;
    let from = began + prepare.took;
    let quiesce = report.phases.iter().find(|time| time.phase == PhaseName::Quiesce).map(|time| time.took);
    let again =
        matches!(report.verdict, Verdict::Swap { outcome: Outcome::RolledBack { .. } | Outcome::Stopped { .. } });
    Some((from, (!again).then(|| from + quiesce.unwrap_or_default() + pause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_window_holds_the_pause_and_the_first_answer() {
        let window = Window::of(ms(1_000), ms(2_000), Some(ms(1_705)), Some((ms(1_700), Some(ms(1_701)))));
        assert_eq!((window.from, window.to), (ms(1_650), ms(1_755)));
        let whole = Window::of(ms(1_000), ms(2_000), None, None);
        assert_eq!((whole.from, whole.to), (ms(950), ms(2_050)));
        let until_the_end = Window::of(ms(1_000), ms(2_000), None, Some((ms(1_700), None)));
        assert_eq!((until_the_end.from, until_the_end.to), (ms(1_650), ms(2_050)));
        let old_answer = Window::of(ms(1_000), ms(2_000), Some(ms(10)), Some((ms(1_700), Some(ms(1_701)))));
        assert_eq!(old_answer.from, ms(1_650), "an answer from before the swap says nothing");
    }

    #[test]
    fn samples_fall_before_or_into_the_window_or_beside_both() {
        let window = Window::of(ms(1_000), ms(2_000), None, Some((ms(1_700), Some(ms(1_710)))));
        let samples: Vec<Sample> =
            [500, 999, 1_000, 1_649, 1_650, 1_705, 1_760, 1_761].map(|at| Sample { due: ms(at), took: ms(1) }).into();
        let Split { steady, preparing, during } = window.split(&samples).expect("histograms");
        assert_eq!((steady.count(), preparing.count(), during.count()), (2, 3, 3));
    }
}
