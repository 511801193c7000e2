//! Writing to a stream, with an end to how much a guest passes in one call.
//!
//! The engine would copy whatever a guest names before WASI looks at it: a hundred megabytes, for the fuel of one call. Here
//! the length is looked at first, and the bytes are read where they lie.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, WasmList},
};
use wasmtime_wasi::{
    WasiView as _,
    p2::{
        DynOutputStream, StreamError,
        bindings::io::streams::{self, Host as _, HostOutputStream as _},
    },
};

use super::{Context, WASI_VERSION, charge, clock::at_once, log::WRITE_LIMIT_BYTES};

/// Fuel for a byte that is written: it is copied, searched for a line's end and put into the log.
const FUEL_PER_BYTE: u64 = 2;

type Written = wasmtime::Result<(Result<(), streams::StreamError>,)>;

pub(super) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(&format!("wasi:io/streams@{WASI_VERSION}"))?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store, (stream, list): (Stream, WasmList<u8>)| -> Written {
            let bytes = taken(&mut store, &list)?;
            let table = store.data_mut().ctx().table;
            let written = table.write(stream, bytes);
            answer(&mut store, written)
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.blocking-write-and-flush",
        |mut store, (stream, list): (Stream, WasmList<u8>)| -> Written {
            let bytes = taken(&mut store, &list)?;
            let table = store.data_mut().ctx().table;
            let written = at_once(async { Ok(table.blocking_write_and_flush(stream, bytes).await) })?;
            answer(&mut store, written)
        },
    )
}

type Stream = Resource<DynOutputStream>;

fn taken(store: &mut StoreContextMut<'_, Context>, list: &WasmList<u8>) -> wasmtime::Result<Vec<u8>> {
    if list.len() > WRITE_LIMIT_BYTES {
        wasmtime::bail!("it wrote more than {WRITE_LIMIT_BYTES} bytes at once");
    }
    charge(store, list.len() as u64 * FUEL_PER_BYTE)?;
    Ok(list.as_le_slice(&*store).to_vec())
}

fn answer(store: &mut StoreContextMut<'_, Context>, written: Result<(), StreamError>) -> Written {
    match written {
        Ok(()) => Ok((Ok(()),)),
        Err(error) => Ok((Err(store.data_mut().ctx().table.convert_stream_error(error)?),)),
    }
}
