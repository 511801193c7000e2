//! Connections to the control socket.

use std::{convert::Infallible, time::Duration};

use futures_util::{Stream, stream};
use tokio::net::{UnixListener, UnixStream};

/// How long to wait when the process has no file left for a connection: clients of workloads may hold them all, and the
/// control plane must still be there when some are given back.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Each connection as it comes; errors of single accepts never end it.
pub(super) fn accept(listener: UnixListener) -> impl Stream<Item = Result<UnixStream, Infallible>> {
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(stream), listener)),
                Err(_) => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    })
}
