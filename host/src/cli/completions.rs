//! `host completions`.

use clap_complete::Shell;

use super::Exit;
use crate::render;

/// Print a script that teaches a shell this command line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "host", &mut script);
    render::raw(&script);
    Exit::Done
}
