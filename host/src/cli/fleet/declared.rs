//! `host fleet apply`, `diff`: what a file declares, against what the fleet has.
//!
//! The keys of a workload are the flags of `host fleet deploy`, read by the same code; only to which hosts it is assigned and
//! whether it shall run are said here alone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use host_core::{
    fleet::Selector,
    id::{HostId, WorkloadName},
    label::Label,
};
use host_fleet::operator::{Ask, Declared, Deploy, Told};
use toml::{Table, Value};

use super::{deploy::Wanted, following, operator};
use crate::{
    cli::{Exit, Global, Trouble, component},
    render,
};

/// Longest file that declares a fleet: many times what a person writes.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Make the fleet as a file declares it: assignments, releases, and how they are rolled out
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All of the file is checked before any of it begins. Workloads that it does not name are let be."
)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    file: File,

    /// Print the rollouts' numbers and return
    #[arg(long = "async")]
    detached: bool,
}

/// How the fleet is not as a file declares it; nothing is changed
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    file: File,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The file, as docs/FLEET.md describes it
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    path: PathBuf,
}

/// What of a workload's table is a flag.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    wanted: Wanted,
}

pub(super) async fn diff(global: &Global, args: &DiffArgs) -> Result<Exit, Trouble> {
    let ask = Ask::Declare { declared: args.file.declared()?, apply: false };
    render::fleet::told(&operator(global).await?.ask(&ask).await?, global.output);
    Ok(Exit::Done)
}

pub(super) async fn apply(global: &Global, args: &ApplyArgs) -> Result<Exit, Trouble> {
    let ask = Ask::Declare { declared: args.file.declared()?, apply: true };
    let operator = operator(global).await?;
    let told = operator.ask(&ask).await?;
    let Told::Declared { workloads, .. } = &told else {
        return Err(Trouble::new(Exit::NoHost, "the coordinator answered something else than what it does"));
    };
    let rollouts: Vec<_> = workloads.iter().filter_map(|difference| difference.rollout).collect();
    if args.detached || rollouts.is_empty() {
        render::fleet::told(&told, global.output);
        return Ok(Exit::Done);
    }
    render::fleet::begun(&told, global.output);
    let mut ended = Vec::new();
    for id in rollouts {
        match following::to_its_end(global, &operator, id).await? {
            Some(rollout) => ended.push(rollout),
            None => return Ok(Exit::Detached),
        }
    }
    render::fleet::applied(&told, &ended, global.output);
    // One that went wrong is the news.
    let exits = ended.iter().map(|rollout| Exit::of_rollout(rollout.summary.verdict));
    Ok(exits.max_by_key(|exit| exit.code()).unwrap_or(Exit::Done))
}

impl File {
    fn declared(&self) -> Result<Vec<Declared>, Trouble> {
        let bytes = component::read("file", &self.path, FILE_LIMIT_BYTES)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let read = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
        let declared = read.and_then(|text| declared(text, folder));
        declared.map_err(|why| {
            Trouble::new(Exit::Usage, format!("{} declares no fleet: {why}", self.path.display()))
                .still("nothing was asked of the fleet")
                .remedy("docs/FLEET.md describes the file")
        })
    }
}

fn declared(text: &str, folder: &Path) -> Result<Vec<Declared>, String> {
    let mut file: Table = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let workloads = match file.remove("workload") {
        Some(Value::Table(workloads)) => workloads,
        Some(_) => return Err("`workload` is no table: write [workload.NAME]".to_owned()),
        None => return Err("it names no workload: write [workload.NAME]".to_owned()),
    };
    if let Some(key) = file.keys().next() {
        return Err(format!("`{key}` is not known there: write [workload.NAME]"));
    }
    let each = workloads.into_iter().map(|(name, value)| {
        let in_it = |why: String| format!("workload {name}: {why}");
        let Value::Table(table) = value else { return Err(in_it("it is no table".to_owned())) };
        workload(&name, table, folder).map_err(in_it)
    });
    each.collect()
}

fn workload(name: &str, mut table: Table, folder: &Path) -> Result<Declared, String> {
    let workload: WorkloadName = name.parse().map_err(|error| format!("{error}"))?;
    let assign = assigned(&mut table)?;
    let running = match table.remove("running") {
        None => true,
        Some(Value::Boolean(running)) => running,
        Some(_) => return Err("`running` is true or false".to_owned()),
    };
    if let Some(Value::String(config)) = table.get_mut("config") {
        *config = folder.join(&*config).display().to_string();
    }
    let rollout = match table.remove("rollout") {
        None => Table::new(),
        Some(Value::Table(rollout)) => rollout,
        Some(_) => return Err("`rollout` is no table".to_owned()),
    };
    let mut flags = Vec::new();
    for (key, value) in table.into_iter().chain(rollout) {
        flag(&key, value, &mut flags)?;
    }
    let line = Line::try_parse_from(flags).map_err(|error| {
        let text = error.render().to_string();
        // Without the usage of a command line that nobody wrote.
        let said = text.split("\n\nUsage:").next().unwrap_or_default().trim_start_matches("error: ");
        said.trim_end().to_owned()
    })?;
    let deploy = line.wanted.request(workload).map_err(|trouble| trouble.what)?;
    Ok(Declared { deploy: Deploy { assign: Some(assign), ..deploy }, running })
}

/// To which hosts the workload is assigned.
fn assigned(table: &mut Table) -> Result<Selector, String> {
    let (hosts, labels) = (table.remove("hosts"), table.remove("labels"));
    match (hosts, labels) {
        (None, None) => Ok(Selector::All),
        (Some(hosts), None) => Ok(Selector::Names(names::<HostId>("hosts", hosts)?)),
        (None, Some(labels)) => Ok(Selector::Labels(names::<Label>("labels", labels)?)),
        (Some(_), Some(_)) => Err("hosts are named, or chosen by labels, not both".to_owned()),
    }
}

fn names<T: std::str::FromStr<Err: std::fmt::Display> + Ord>(key: &str, value: Value) -> Result<BTreeSet<T>, String> {
    let wanted = || format!("`{key}` is a list, as [\"a\", \"b\"]");
    let Value::Array(values) = value else { return Err(wanted()) };
    if values.is_empty() {
        return Err(format!("`{key}` names nobody"));
    }
    let read = values.iter().map(|value| {
        let text = value.as_str().ok_or_else(wanted)?;
        text.parse().map_err(|error| format!("{error}"))
    });
    read.collect()
}

/// A key as the flag of its name.
fn flag(key: &str, value: Value, flags: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Boolean(true) => flags.push(format!("--{key}")),
        Value::Boolean(false) => {}
        Value::String(text) => flags.push(format!("--{key}={text}")),
        Value::Integer(number) => flags.push(format!("--{key}={number}")),
        Value::Array(values) => {
            for value in values {
                flag(key, value, flags)?;
            }
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => {
            return Err(format!("`{key}` is text, a whole number, true, false, or a list of these"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host_core::rollout::policy::{OnFailure, RolloutPolicy, Strategy};

    use super::*;

    fn read(text: &str) -> Result<Vec<Declared>, String> {
        declared(text, Path::new("/etc/fleet"))
    }

    #[test]
    fn a_workload_is_declared_in_the_words_of_a_deploy() {
        let text = r#"
            [workload.chat]
            version = "1.1.0"
            listen = ["tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001"]
            labels = ["region=eu"]
            [workload.chat.rollout]
            strategy = "canary"
            monitor = "1m"
            wave = "50%"
            health = "chat.health=ok"
            retries = 7
            no-rollback = true
            [workload.counter]
            version = "1.0.0"
            running = false
        "#;
        let declared = read(text).expect("a declaration");
        let [chat, counter] = &declared[..] else { panic!("two: {declared:?}") };
        assert_eq!(chat.deploy.listeners.as_ref().map(Vec::len), Some(2));
        assert!(matches!(&chat.deploy.assign, Some(Selector::Labels(labels)) if labels.len() == 1));
        let policy = &chat.deploy.policy;
        assert!(matches!(policy.strategy, Strategy::Canary { monitor, .. } if monitor == Duration::from_secs(60)));
        assert_eq!((policy.health.retries, policy.on_failure), (7, OnFailure::Hold));
        assert_eq!((&counter.deploy.policy, counter.running), (&RolloutPolicy::default(), false));
        assert_eq!((&counter.deploy.assign, &counter.deploy.listeners), (&Some(Selector::All), &None));
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_workload() {
        for (text, wanted) in [
            ("", "it names no workload"),
            ("name = 1", "it names no workload"),
            ("[workload]\n[other]", "`other` is not known there"),
            ("[workload.chat", "TOML parse error"),
            ("[workload.Chat]\nversion = \"1.0.0\"", "workload Chat: "),
            ("[workload.chat]", "--version"),
            ("[workload.chat]\nversion = \"one\"", "workload chat: invalid value 'one'"),
            ("[workload.chat]\nversion = \"1.0.0\"\nwaves = 2", "unexpected argument '--waves'"),
            ("[workload.chat]\nversion = \"1.0.0\"\nrunning = \"yes\"", "`running` is true or false"),
            ("[workload.chat]\nversion = \"1.0.0\"\nhosts = []", "`hosts` names nobody"),
            ("[workload.chat]\nversion = \"1.0.0\"\nhosts = [\"a\"]\nlabels = [\"a=b\"]", "not both"),
            ("[workload.chat]\nversion = \"1.0.0\"\nlabels = [\"eu\"]", "eu"),
            ("[workload.chat]\nversion = \"1.0.0\"\nschedule = \"+2h\"", "unexpected argument '--schedule'"),
            ("[workload.chat]\nversion = \"1.0.0\"\nretries = 1.5", "`retries` is text, a whole number"),
            ("[workload.chat]\nversion = \"1.0.0\"\nconfig = \"none.txt\"", "/etc/fleet/none.txt"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(wanted), "{text:?}: {why}");
            assert!(!why.contains("Usage:"), "{why}");
        }
    }
}
