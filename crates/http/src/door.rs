//! Let in a bounded number of connections, each for a bounded time: who sends nothing keeps nobody out for long.

use axum::serve::Listener;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// A listener with places.
pub(crate) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    life: Duration,
}

impl Door {
    /// At most `places` connections at once, each for at most `life`.
    pub(crate) fn new(listener: TcpListener, places: usize, life: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(places)), life }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.ok();
        // Waits and tries again where the system has no descriptor left.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guest { stream, until: Box::pin(sleep(self.life)), _place: place }, address)
    }
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that has a place, until its time is over.
pub(crate) struct Guest {
    stream: TcpStream,
    until: Pin<Box<Sleep>>,
    /// Absent only if the semaphore was closed, which nobody does.
    _place: Option<OwnedSemaphorePermit>,
}

impl Guest {
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}
impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
