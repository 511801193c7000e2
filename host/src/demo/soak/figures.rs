//! What a soak found out, as programs read it.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    record::{Line, Record},
    verify::Findings,
};
use crate::demo::{
    load::Latencies,
    results::{Seen, micros},
};

/// The shape of [`Results`]; raised when a field changes its meaning or goes.
const SCHEMA_VERSION: u32 = 1;

/// Most samples of memory that are shown: of more, every second one, then every fourth.
const SAMPLES_SHOWN: usize = 120;

/// Gathered while it runs.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) rounds: u64,
    pub(super) kills: u64,
    pub(super) terminations: u64,
    /// From the start of a host's process to its answer with the workload's total.
    pub(super) starts: Latencies,
    pub(super) oldest_checkpoint: Duration,
    pub(super) findings: Findings,
    steady: Latencies,
    around_acts: Latencies,
    memory: Vec<Memory>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    schema_version: u32,
    /// There was no violation, and every act ended as it should.
    pub(super) passed: bool,
    /// What did not go as it should, in words.
    pub(super) problems: Vec<String>,
    /// Which schedule it was: `--seed`.
    pub(super) seed: u64,
    pub(super) took_ms: u64,
    pub(super) rounds: u64,
    pub(super) violations: u64,
    pub(super) lines: Lines,
    /// How often each kind of act ended how.
    pub(super) outcomes: BTreeMap<String, u64>,
    pub(super) pauses: Seen,
    pub(super) kills: u64,
    pub(super) terminations: u64,
    pub(super) starts: Seen,
    /// Of the checkpoints that killed hosts came back from.
    pub(super) oldest_checkpoint_ms: u64,
    /// Latencies of steady clients while nothing was done to the host.
    pub(super) steady: Seen,
    /// And of lines that were under way while something was.
    pub(super) around_acts: Seen,
    pub(super) memory: Vec<Memory>,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Lines {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) reminded: u64,
    /// Without an answer because client or host ended the connection before.
    pub(super) cut_off: u64,
    /// Answered, but after the last checkpoint of a host that was killed.
    pub(super) lost_to_kills: u64,
}

/// Memory of the host at one time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) at_ms: u64,
    pub(super) resident_bytes: u64,
}

impl Figures {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            rounds: 0,
            kills: 0,
            terminations: 0,
            starts: Latencies::new()?,
            oldest_checkpoint: Duration::ZERO,
            findings: Findings::default(),
            steady: Latencies::new()?,
            around_acts: Latencies::new()?,
            memory: Vec::new(),
        })
    }

    pub(super) const fn violations(&self) -> u64 {
        self.findings.violations
    }

    pub(super) fn memory(&mut self, at: Duration, resident_bytes: u64) {
        self.memory.push(Memory { at_ms: millis(at), resident_bytes });
    }

    /// Takes the latencies of steady clients. Those of others say more about the client.
    pub(super) fn latencies(&mut self, records: &[Record], busy: &[(Duration, Duration)]) {
        for record in records.iter().filter(|record| record.behaviour == "steady") {
            for ((sent, line), (got, _)) in record.asked().zip(record.answered()) {
                if line != Line::Incr {
                    continue;
                }
                let disturbed = busy.iter().any(|(from, to)| *from <= got && *to >= sent);
                let latencies = if disturbed { &mut self.around_acts } else { &mut self.steady };
                latencies.add(got.saturating_sub(sent));
            }
        }
    }

    pub(super) fn sum(
        &mut self,
        seed: u64,
        took: Duration,
        outcomes: BTreeMap<String, u64>,
        pauses: Vec<Duration>,
        problems: Vec<String>,
    ) -> anyhow::Result<Results> {
        let findings = std::mem::take(&mut self.findings);
        let violations = findings.violations;
        let problems: Vec<String> = findings.words.into_iter().chain(problems).collect();
        let mut memory = std::mem::take(&mut self.memory);
        while memory.len() > SAMPLES_SHOWN {
            memory = memory.into_iter().step_by(2).collect();
        }
        Ok(Results {
            schema_version: SCHEMA_VERSION,
            passed: violations == 0 && problems.is_empty(),
            problems,
            seed,
            took_ms: millis(took),
            rounds: self.rounds,
            violations,
            lines: Lines {
                sent: findings.sent,
                answered: findings.answered,
                reminded: findings.reminded,
                cut_off: findings.cut_off,
                lost_to_kills: findings.lost_to_kill,
            },
            outcomes,
            pauses: (&Latencies::of(pauses)?).into(),
            kills: self.kills,
            terminations: self.terminations,
            starts: (&self.starts).into(),
            oldest_checkpoint_ms: millis(self.oldest_checkpoint),
            steady: (&self.steady).into(),
            around_acts: (&self.around_acts).into(),
            memory,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    micros(duration) / 1_000
}
