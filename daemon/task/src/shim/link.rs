//! One connection to a shim, and the news of its end.

use crate::connect::connect;
use crate::error::{Result, TaskError};
use gantry_proto_shim::{ExtrasClient, TaskClient, TaskVersion};
use gantry_shim_protocol::Bootstrap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use ttrpc::r#async::{Client, transport::Socket};

/// A call broken off in the middle of being written ends the connection, so there may be another after it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) version: TaskVersion,
    pub(super) task: TaskClient,
    pub(super) extras: ExtrasClient,
    /// Becomes true when the shim closes the connection.
    closed: watch::Receiver<bool>,
}

impl Link {
    pub(super) async fn open(id: &str, namespace: &str, bootstrap: &Bootstrap, limit: Duration) -> Result<Self> {
        let fail = |source| TaskError::Connect {
            id: id.to_owned(),
            address: bootstrap.address.clone(),
            source,
        };
        let path = bootstrap.socket_path().ok_or_else(|| TaskError::ShimSpeaks {
            id: id.to_owned(),
            protocol: bootstrap.protocol.clone(),
            address: bootstrap.address.clone(),
        })?;
        let stream = connect(Path::new(path), limit).await.map_err(fail)?;
        let (ended, closed) = watch::channel(false);
        let client = Client::new(Socket::new(Watched { stream, ended }));
        let version = if bootstrap.version >= 3 {
            TaskVersion::V3
        } else {
            TaskVersion::V2
        };
        Ok(Self {
            task: TaskClient::new(client.clone(), version).in_namespace(namespace),
            version,
            extras: ExtrasClient::new(client.clone()),
            client,
            closed,
        })
    }

    /// The same connection, spoken to in another version of the task service.
    pub(super) fn speaking(mut self, version: TaskVersion, namespace: &str) -> Self {
        self.task = TaskClient::new(self.client.clone(), version).in_namespace(namespace);
        self.version = version;
        self
    }

    pub(super) async fn closed(&self) {
        // The sender goes with the connection, which is an end, too.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

/// A stream that tells when it has ended, so that nobody waits for an answer that cannot come.
struct Watched {
    stream: UnixStream,
    ended: watch::Sender<bool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if read.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0) {
            self.ended.send_replace(true);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
