//! The command line: one file per verb, one enum of exit codes, one type of error.

mod call;
mod completions;
mod component;
mod coordinator;
mod deploy;
mod events;
mod exit;
mod fleet;
mod health;
mod history;
mod inspect;
mod operation;
mod plan;
mod replay;
mod rollback;
mod run;
mod status;
mod swapping;
mod trouble;
mod values;
mod versions;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use host_api::{Client, socket};

pub(crate) use self::{exit::Exit, trouble::Trouble};
use crate::{demo, render};

/// A WebAssembly host whose workloads are upgraded while they run
#[derive(Debug, Parser)]
#[command(name = "host", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// Where help shows what every command takes.
const EVERYWHERE: &str = "Options of every command";

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Data directory of the host that is meant [default: one per user, as ~/.local/share/hotswap]
    #[arg(long, global = true, env = "HOST_DATA", value_name = "DIR", help_heading = EVERYWHERE)]
    data: Option<PathBuf>,

    /// Words for people, or a document for programs
    #[arg(long, global = true, value_enum, default_value_t, help_heading = EVERYWHERE)]
    pub(crate) output: Output,
}

/// Whom a command writes for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON document (of `events`, one per line)
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Deploy(deploy::Args),
    Plan(plan::Args),
    Rollback(rollback::Args),
    /// End a probation for good: one that is held, or one that has time left
    Commit(operation::Args),
    Replay(replay::Args),
    Status(status::Args),
    Versions(versions::Args),
    History(history::Args),
    Health(health::Args),
    Events(events::Args),
    Call(call::Args),
    Inspect(inspect::Args),
    /// Stop a workload and keep its state
    Stop(operation::Args),
    /// Start a stopped or failed workload
    Start(operation::Args),
    /// Forget a stopped workload: its state and its versions
    Remove(operation::Args),
    Coordinator(coordinator::Args),
    Fleet(fleet::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

impl Global {
    /// The data directory, absolute, so that messages about it hold anywhere.
    pub(crate) fn data(&self) -> Result<PathBuf, Trouble> {
        let data = self.data.clone().or_else(|| Some(dirs::data_dir()?.join("hotswap"))).ok_or_else(|| {
            Trouble::new(Exit::Usage, "this user has no home, so there is no default data directory")
                .remedy("name one with --data DIR or HOST_DATA")
        })?;
        std::path::absolute(&data).map_err(|error| {
            Trouble::new(Exit::Usage, format!("the data directory `{}` can't be used: {error}", data.display()))
        })
    }

    /// The host that is meant.
    pub(crate) async fn client(&self) -> Result<Client, Trouble> {
        Ok(Client::connect(&socket::path(&self.data()?)).await?)
    }
}

/// The command line with its exit codes, as `--help` shows it.
fn command() -> clap::Command {
    Cli::command().after_long_help(Exit::help()).after_help("Exit codes: see --help. Reference: docs/CLI.md")
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let Cli { global, command } = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("this process can't be set up: {error}");
            return render::trouble(&Trouble::new(Exit::Failed, what), global.output);
        }
    };
    let code = runtime.block_on(async {
        match dispatch(&global, command).await {
            Ok(code) => code,
            Err(trouble) => render::trouble(&trouble, global.output),
        }
    });
    // Nothing that still runs is waited for: whatever had to end has ended.
    runtime.shutdown_background();
    code
}

async fn dispatch(global: &Global, command: Command) -> Result<ExitCode, Trouble> {
    let exit = match command {
        Command::Run(args) => run::run(global, *args).await?,
        Command::Deploy(args) => deploy::run(global, args).await?,
        Command::Plan(args) => plan::run(global, args).await?,
        Command::Rollback(args) => rollback::run(global, args).await?,
        Command::Commit(args) => operation::commit(global, args).await?,
        Command::Replay(args) => replay::run(global, args).await?,
        Command::Status(args) => status::run(global, args).await?,
        Command::Versions(args) => versions::run(global, args).await?,
        Command::History(args) => history::run(global, args).await?,
        Command::Health(args) => health::run(global, args).await?,
        Command::Events(args) => events::run(global, args).await?,
        Command::Call(args) => call::run(global, args).await?,
        Command::Inspect(args) => inspect::run(global, args).await?,
        Command::Stop(args) => operation::stop(global, args).await?,
        Command::Start(args) => operation::start(global, args).await?,
        Command::Remove(args) => operation::remove(global, args).await?,
        Command::Coordinator(args) => coordinator::run(global, args).await?,
        Command::Fleet(args) => return fleet::run(global, args).await.map(ExitCode::from),
        Command::Demo(args) => return Ok(demo::run(args, global.output).await?),
        Command::Completions(args) => completions::run(&args),
    };
    Ok(exit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_names_every_exit_code() {
        let help = command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(exit.meaning()), "{exit:?} is missing:\n{help}");
        }
    }

    #[track_caller]
    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_commands_of_the_readme_are_understood() {
        for line in [
            "host run",
            "host run --data /tmp/x --checkpoint-every 10s --metrics 127.0.0.1:0 --log-format json",
            "host run --min-free-disk 1GiB --max-memory-percent 95 --handle-fuel 1000000 --handle-timeout 5s",
            "host deploy counter.wasm --version 1.0.0 --listen tcp://127.0.0.1:7000 --listen tcp://[::1]:7000",
            "host deploy c.wasm --version 1.1.0 --name counter --config c.toml --dry-run --timeout 500ms --probation 0s",
            "host deploy c.wasm --version 1.0.0 --downgrade --force --drain 5m --state-from last-checkpoint",
            "host deploy session.wasm --version 1.0.0 --listen tcp://127.0.0.1:7002 --topology per-connection",
            "host plan counter.wasm --version 1.0.0",
            "host rollback counter --to 1.0.0 --timeout 10s --force",
            "host deploy c.wasm --version 1.1.0 --hold --allow-loss --shadow 10s --shadow-limit 5",
            "host commit counter",
            "host replay counter",
            "host replay counter --with counter-1.1.0.wasm --version 1.1.0",
            "host status",
            "host status counter --output json",
            "host versions counter --data /tmp/x",
            "host history counter --limit 3",
            "host health",
            "host events --follow --filter swap.* --from 7",
            "host call counter total",
            "host call counter total 5 --timeout 1s",
            "host inspect counter.wasm",
            "host stop counter",
            "host start counter",
            "host remove counter",
            "host demo --connections 10",
            "host completions bash",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_said_with_a_way_out() {
        for (line, wanted) in [
            ("host deploy c.wasm", "--version"),
            ("host deploy c.wasm --version 1.0", "did you mean 1.0.0?"),
            ("host deploy c.wasm --version v2.1.3", "did you mean 2.1.3?"),
            ("host deploy c.wasm --version 1.0.0 --timeout 5", "500ms, 10s or 5m"),
            ("host deploy c.wasm --version 1.0.0 --timeout 0s", "more than nothing"),
            ("host deploy c.wasm --version 1.0.0 --timeout 1h", "10m"),
            ("host deploy c.wasm --version 1.0.0 --listen 7000", "tcp://127.0.0.1:7000"),
            ("host deploy c.wasm --version 1.0.0 --name Counter", "lower-case"),
            ("host deploy c.wasm --version 1.0.0 --state-from nowhere", "last-checkpoint"),
            ("host deploy c.wasm --version 1.0.0 --topology many", "per-connection"),
            ("host deploy c.wasm --version 1.0.0 --shadow-limit 5", "--shadow"),
            ("host replay counter --with c.wasm", "--version"),
            ("host run --min-free-disk plenty", "100MiB"),
            ("host run --max-memory-percent 101", "100"),
            ("host status Ä", "lower-case"),
            ("host frobnicate", "unrecognized"),
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was understood"));
            assert!(error.to_string().contains(wanted), "{line}: {error}");
            assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
        }
    }
}
