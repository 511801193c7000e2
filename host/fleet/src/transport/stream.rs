//! A connection after its handshake, as tonic takes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Sleep,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::peer::Caller;

/// A client's connection. Each of its requests has a [`Caller`] among its extensions.
#[derive(Debug)]
pub struct FleetStream {
    tls: TlsStream<TcpStream>,
    caller: Caller,
    /// When a stranger must be gone.
    gone_by: Option<Pin<Box<Sleep>>>,
    /// Its places among all connections and, where it is one, among the strangers; given back with it.
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl FleetStream {
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        caller: Caller,
        gone_by: Option<Pin<Box<Sleep>>>,
        places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    ) -> Self {
        Self { tls, caller, gone_by, _places: places }
    }

    /// Who is at the other end.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Ends a stranger's connection when its time is over, whatever it is waited for: one that takes no answers is only
    /// written to.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let over = self.gone_by.as_mut().is_some_and(|gone_by| gone_by.as_mut().poll(context).is_ready());
        if !over {
            return Ok(());
        }
        let why = "a connection without a member's certificate was open too long";
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }
}

impl Connected for FleetStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for FleetStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for FleetStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.tls).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
