//! `host call`.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use bytes::Bytes;
use host_api::convert::limits;
use host_core::id::WorkloadName;

use super::{Exit, Global, Trouble, values};
use crate::render;

/// Call a workload and print its reply
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The workload
    name: WorkloadName,

    /// The method
    method: String,

    /// What to call it with; - reads it from standard input [default: nothing]
    payload: Option<String>,

    /// Longest wait for the reply
    #[arg(long, value_name = "D", default_value = "10s", value_parser = values::call_timeout)]
    timeout: Duration,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let payload = match args.payload.as_deref() {
        None => Bytes::new(),
        Some("-") => standard_input()?,
        Some(text) => Bytes::copy_from_slice(text.as_bytes()),
    };
    let reply = global.client().await?.call(&args.name, &args.method, payload, args.timeout).await?;
    render::reply(&args.name, &args.method, &reply, global.output);
    Ok(Exit::Done)
}

fn standard_input() -> Result<Bytes, Trouble> {
    let limit = limits::PAYLOAD_LIMIT_BYTES;
    let mut bytes = Vec::new();
    io::stdin()
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Trouble::new(Exit::Failed, format!("standard input can't be read: {error}")))?;
    if bytes.len() > limit {
        let what = format!("a payload has at most {}", render::bytes(limit as u64));
        return Err(Trouble::new(Exit::Usage, what));
    }
    Ok(bytes.into())
}
