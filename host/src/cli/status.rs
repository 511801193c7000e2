//! `host status`.

use host_core::{id::WorkloadName, status::RunState};

use super::{Exit, Global, Trouble};
use crate::render;

/// Show the host and its workloads, or one workload closely
#[derive(Debug, clap::Args)]
#[command(after_help = "With NAME, the exit code is 4 when that workload does not run.")]
pub(crate) struct Args {
    /// The workload [default: all]
    name: Option<WorkloadName>,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let data = global.data()?;
    let status = global.client().await?.status().await?;
    let Some(name) = args.name else {
        render::status(&status, &data, global.output);
        return Ok(Exit::Done);
    };
    let Some(workload) = status.workloads.iter().find(|workload| workload.name == name) else {
        return Err(unknown(&name, status.workloads.iter().map(|workload| &workload.name)));
    };
    render::workload(workload, global.output);
    Ok(if workload.run_state == RunState::Running { Exit::Done } else { Exit::Stopped })
}

/// There is no such workload; these there are.
pub(crate) fn unknown<'a>(name: &WorkloadName, known: impl Iterator<Item = &'a WorkloadName>) -> Trouble {
    let known: Vec<&str> = known.map(WorkloadName::as_str).collect();
    let remedy = if known.is_empty() {
        "there are none yet: `host deploy FILE --version V --listen tcp://ADDR` starts one".to_owned()
    } else {
        format!("there is {}", known.join(", "))
    };
    Trouble { kind: "not-found", ..Trouble::new(Exit::Failed, format!("no workload is named {name}")).remedy(remedy) }
}
