//! How a swap goes, while it goes: a live line on a terminal, plain lines elsewhere, nothing for programs.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use host_core::{request, swap::PhaseName};
use indicatif::{ProgressBar, ProgressStyle};

use super::{aside, units::length};
use crate::cli::Output;

/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows progress until it is dropped.
pub(crate) struct Progress {
    shown: Shown,
    now: Option<(String, Instant)>,
}

enum Shown {
    Nowhere,
    Lines,
    Live(ProgressBar),
}

impl Progress {
    pub(crate) fn new(output: Output) -> Self {
        let shown = match output {
            Output::Json => Shown::Nowhere,
            Output::Text if std::io::stderr().is_terminal() => Shown::Live(live()),
            Output::Text => Shown::Lines,
        };
        let progress = Self { shown, now: None };
        if let Shown::Live(bar) = &progress.shown {
            bar.set_message("sending it to the host");
        }
        progress
    }

    /// Something was told.
    pub(crate) fn told(&mut self, progress: &request::Progress) {
        match progress {
            request::Progress::Step { name } => self.begin(name.clone()),
            request::Progress::Phase { swap, phase } => self.begin(begun(*phase, swap.0)),
            request::Progress::Note { message } => self.say(&format!("  note: {message}")),
        }
    }

    /// The next thing begins, so the one before is over. Its length is as seen from here; the report has the host's own.
    fn begin(&mut self, what: String) {
        match &self.shown {
            Shown::Nowhere => return,
            Shown::Lines => aside(&format!("  {what}")),
            Shown::Live(bar) => {
                if let Some((before, since)) = self.now.take() {
                    bar.println(format!("  ✓ {before} ({})", length(since.elapsed())));
                }
                bar.set_message(what.clone());
            }
        }
        self.now = Some((what, Instant::now()));
    }

    fn say(&self, text: &str) {
        match &self.shown {
            Shown::Nowhere => {}
            Shown::Lines => aside(text),
            Shown::Live(bar) => bar.println(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Live(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn live() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // Without its style it is only less pretty.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(REDRAW);
    bar
}

/// A phase in words.
fn begun(phase: PhaseName, swap: u64) -> String {
    let name = phase.as_str();
    match phase {
        PhaseName::Probation => {
            format!("{name}: the new version serves, the old one is kept (Ctrl-C leaves the rest to the host)")
        }
        PhaseName::RollBack => format!("{name}: the old version comes back"),
        PhaseName::Prepare => format!("{name} (swap {swap})"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_with_its_name() {
        for phase in PhaseName::ALL {
            assert!(begun(phase, 3).starts_with(phase.as_str()));
        }
    }
}
