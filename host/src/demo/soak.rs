//! `host demo --soak D`: chance swaps, failures, kills and clients of every kind for as long as wanted, and a judge that
//! believes nobody but the clients.
//!
//! A soak is a row of rounds. In each, clients of different kinds ([`behaviour`]) talk to the workload while the host is
//! swapped, swapped back, given releases that fail, killed and started again ([`schedule`], from a seed; [`director`]). Then
//! everything is counted: each client wrote down what it sent and what it got ([`record`]), and [`verify`] judges that.
//!
//! Whatever ends it, the host's process ends with it and the data directory is removed.

mod behaviour;
mod client;
mod clients;
mod dice;
mod director;
mod figures;
mod record;
mod render;
mod schedule;
mod verify;

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;

use self::{
    behaviour::{Behaviour, cast},
    clients::Clients,
    dice::Dice,
    director::Director,
    figures::{Figures, Results},
    record::Record,
    schedule::{Act, Ending, Round, Schedule},
    verify::{Ended, Facts, verify},
};
use super::{Args, limits, progress::Progress, script::Interrupts};
use crate::cli::Output;

/// Longest wait for the answers of a round. A line that is not answered by then is lost.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for clients to notice that their host is gone: the system tells them at once.
const GONE_LIMIT: Duration = Duration::from_secs(30);

/// Oldest checkpoint that a killed host may come back from: it makes one every half second when something changed, and a
/// busy disk may take its time. A probation that is undone at the third start goes back further and is not drawn here.
const CHECKPOINT_AGE_LIMIT: Duration = Duration::from_secs(30);

/// Room for clients that come and go beside those that stay.
const VISITORS: u32 = 1_000;

/// Runs a soak.
///
/// # Errors
/// When it can't be run to its end. What it found out is an exit code: 0 if there was no violation, 1 otherwise.
pub(super) async fn run(args: &Args, length: Duration, output: Output) -> anyhow::Result<ExitCode> {
    limits::raise_open_files(args.connections + VISITORS)?;
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
    let seed = args.seed.unwrap_or_else(|| clock.subsec_nanos().into());
    let mut interrupts = Interrupts::new()?;
    let progress = Progress::new();
    progress.say(&format!("soak of {}, seed {seed}", humantime::format_duration(length)));
    let mut soak = Soak::start(args, seed, clock).await?;
    let ended = tokio::select! {
        ended = soak.course(length, &progress) => ended,
        how = interrupts.next() => {
            // What was found out until now is worth showing.
            progress.say(how);
            Ok(())
        }
    };
    if let Err(error) = ended {
        progress.say(&format!("the end of the host's log:\n{}\n", soak.director.host.log_tail()));
        return Err(error.context(format!("the soak of seed {seed} in round {}", soak.figures.rounds)));
    }
    let results = soak.results(seed)?;
    if !results.passed {
        progress.say(&format!("the end of the host's log:\n{}\n", soak.director.host.log_tail()));
    }
    drop(progress);
    render::results(&results, output)?;
    Ok(if results.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A soak under way.
struct Soak {
    director: Director,
    clients: Clients,
    schedule: Schedule,
    cast: Vec<(Behaviour, u32)>,
    started: Instant,
    /// The wall clock at the start.
    started_unix: Duration,
    figures: Figures,
    /// The workload's total when nobody sent, since the host's last start.
    quiet: Vec<(Duration, u64)>,
    /// That total now.
    total: u64,
}

impl Soak {
    async fn start(args: &Args, seed: u64, unix: Duration) -> anyhow::Result<Self> {
        let started = Instant::now();
        let director = Director::start(args.rows).await?;
        let total = director.total().await?;
        Ok(Self {
            director,
            // The clients' chance is another than the schedule's: how many there are changes nothing of what is done.
            clients: Clients::new(Dice::new(!seed), started)?,
            schedule: Schedule::new(seed),
            cast: cast(args.connections, args.rate()),
            started,
            started_unix: unix,
            figures: Figures::new()?,
            quiet: vec![(Duration::ZERO, total), (started.elapsed(), total)],
            total,
        })
    }

    /// Round after round, one at least, until the time is over. The last ends quietly.
    async fn course(&mut self, length: Duration, progress: &Progress) -> anyhow::Result<()> {
        while let Some(mut round) = self.schedule.next() {
            let last = round.number > 1 && self.started.elapsed() >= length;
            if last {
                (round.acts, round.ending) = (Vec::new(), Ending::Quiet);
            }
            let violations = self.figures.violations();
            let line = self.round(&round, progress).await?;
            progress.say(&line);
            if last || self.figures.violations() > violations {
                // Whatever went wrong, the next round would stand on it.
                return Ok(());
            }
        }
        Ok(())
    }

    /// One round. Gives what came of it in a line.
    async fn round(&mut self, round: &Round, progress: &Progress) -> anyhow::Result<String> {
        let (number, before) = (round.number, self.total);
        progress.now(|| format!("round {number} · {} clients", self.clients.living()));
        self.figures.rounds = number;
        self.director.begin_round();
        let began = self.clients.now();
        let address = self.director.address().await?;
        self.clients.run(address, &self.cast);
        for (wait, act) in &round.acts {
            tokio::time::sleep(*wait).await;
            let done = self.director.perform(*act, &mut self.clients).await;
            done.with_context(|| format!("round {number}, {act:?}"))?;
        }
        let (ended, records, how) = match round.ending {
            Ending::Quiet => self.settle().await?,
            Ending::Terminate { during, after } => self.terminate(during, after).await?,
            Ending::Kill { during, after } => self.kill(during, after, began).await?,
        };
        let Director { places, resets, replays, busy, .. } = &self.director;
        let facts = Facts { before, after: self.total, places, resets, replays, ended };
        let findings = verify(&facts, &records);
        let line = format!(
            "{:>5.0} s  round {number}: {} acts, {how}; {} lines answered{}",
            self.started.elapsed().as_secs_f64(),
            round.acts.len(),
            findings.answered,
            if findings.violations > 0 { format!("; {} VIOLATIONS", findings.violations) } else { String::new() }
        );
        self.figures.latencies(&records, busy);
        self.figures.findings.add(findings);
        self.figures.memory(self.started.elapsed(), self.director.memory_bytes().await?);
        Ok(line)
    }

    /// Everybody stops and has the answers to all that was sent.
    async fn settle(&mut self) -> anyhow::Result<(Ended, Vec<Record>, String)> {
        let (records, missing) = self.clients.settle(SETTLE_LIMIT).await;
        if missing > 0 {
            let words = format!("{missing} clients still wait for an answer after {SETTLE_LIMIT:?}");
            self.director.problems.push(words);
        }
        self.total = self.director.total().await?;
        self.quiet.push((self.clients.now(), self.total));
        Ok((Ended::Quiet, records, "counted".to_owned()))
    }

    async fn terminate(
        &mut self,
        during: Option<Act>,
        after: Duration,
    ) -> anyhow::Result<(Ended, Vec<Record>, String)> {
        self.act_for(during, after).await;
        let at = self.clients.now();
        self.director.host.terminate().await?;
        let (records, _) = self.back(Duration::ZERO).await?;
        self.figures.terminations += 1;
        Ok((Ended::Terminated(at), records, format!("SIGTERM {}", moment(during, after))))
    }

    async fn kill(
        &mut self,
        during: Option<Act>,
        after: Duration,
        began: Duration,
    ) -> anyhow::Result<(Ended, Vec<Record>, String)> {
        self.act_for(during, after).await;
        let at = self.clients.now();
        self.director.host.kill().await?;
        let quiet = std::mem::take(&mut self.quiet);
        let (records, checkpoint) = self.back(at).await?;
        self.figures.kills += 1;
        let age = at.saturating_sub(checkpoint);
        self.figures.oldest_checkpoint = self.figures.oldest_checkpoint.max(age);
        if age > CHECKPOINT_AGE_LIMIT {
            self.director.problems.push(format!("a killed host came back from a checkpoint {age:?} old"));
        }
        let earlier = (checkpoint < began).then(|| {
            let least = quiet.iter().filter(|(at, _)| *at <= checkpoint).map(|(_, total)| *total).max();
            let most = quiet.iter().filter(|(at, _)| *at >= checkpoint).map(|(_, total)| *total).min();
            (least.unwrap_or(0), most.unwrap_or(u64::MAX))
        });
        let ended = Ended::Killed { at, checkpoint, earlier };
        Ok((ended, records, format!("killed {}, checkpoint {} ms old", moment(during, after), age.as_millis())))
    }

    /// Begins something that will not get far.
    async fn act_for(&mut self, during: Option<Act>, time: Duration) {
        let Some(act) = during else {
            tokio::time::sleep(time).await;
            return;
        };
        tokio::select! {
            // If it came to its end before, or failed because of what came before, the next round begins all the same.
            _ = self.director.perform(act, &mut self.clients) => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Starts the host again. Gives what the clients of the old one wrote down, and when the checkpoint was made from
    /// which it came back.
    async fn back(&mut self, dead_since: Duration) -> anyhow::Result<(Vec<Record>, Duration)> {
        let (records, missing) = self.clients.gone(GONE_LIMIT).await;
        if missing > 0 {
            self.director.problems.push(format!("{missing} connections outlived their host"));
        }
        let began = Instant::now();
        self.director.host.start_again()?;
        let status = self.director.find_again().await?;
        let total = self.director.total().await?;
        self.figures.starts.add(began.elapsed());
        let made = status.checkpoint.map_or(0, |checkpoint| checkpoint.at.0);
        let made = Duration::from_nanos(made).saturating_sub(self.started_unix).min(dead_since);
        self.total = total;
        self.quiet = vec![(made, total), (self.clients.now(), total)];
        Ok((records, made))
    }

    fn results(&mut self, seed: u64) -> anyhow::Result<Results> {
        let director = &mut self.director;
        let (outcomes, pauses) = (std::mem::take(&mut director.outcomes), std::mem::take(&mut director.pauses));
        let problems = std::mem::take(&mut director.problems);
        self.figures.sum(seed, self.started.elapsed(), outcomes, pauses, problems)
    }
}

/// When an ending came, in words.
fn moment(during: Option<Act>, after: Duration) -> String {
    match during {
        Some(act) => format!("{} ms into {}", after.as_millis(), name(act)),
        None => "while nothing else happened".to_owned(),
    }
}

/// An act in a word.
const fn name(act: Act) -> &'static str {
    match act {
        Act::Swap { .. } => "a swap",
        Act::Regret { .. } => "a swap to be regretted",
        Act::Rollback => "a rollback",
        Act::Poison { .. } => "poison",
        Act::Trap { .. } => "a trap on probation",
        Act::Fault { .. } => "a deploy that fails",
        Act::Rehearse { .. } => "a rehearsal",
        Act::Look => "a look",
        Act::Storm { .. } => "a storm of clients",
        Act::Leavers { .. } => "leaving clients",
    }
}
