//! The server of one sandbox: a few tasks, no thread.

use super::answer::{Outcome, answer, fitted, refusal};
use super::forward::{ask, read_message, within, write_message};
use super::sockets::{Sockets, failed};
use super::zone::{View, Zone};
use crate::Result;
use hickory_proto::op::ResponseCode;
use parking_lot::RwLock;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::{Instrument, debug, info_span};

/// Queries of one sandbox that wait for other servers; more are refused.
const IN_FLIGHT: usize = 1024;
/// The same for all sandboxes: each query has a descriptor.
const IN_FLIGHT_OF_ALL: usize = 4096;
/// TCP clients of one sandbox; more wait to be accepted.
const CLIENTS: usize = 64;
/// No query that fits its purpose is longer.
const LONGEST_QUERY: usize = 4096;
/// A TCP client may be silent for so long.
const IDLE: Duration = Duration::from_secs(10);
/// After a failure of the kernel's, such as want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// A query's share of both.
type Permits = (OwnedSemaphorePermit, SemaphorePermit<'static>);

static ALL: Semaphore = Semaphore::const_new(IN_FLIGHT_OF_ALL);

/// Answers in one sandbox until it is dropped.
#[derive(Debug)]
pub struct Resolver {
    sockets: Sockets,
    view: Arc<RwLock<Arc<View>>>,
    task: AbortHandle,
}

struct Server {
    namespace: Arc<OwnedFd>,
    zone: watch::Receiver<Arc<Zone>>,
    view: Arc<RwLock<Arc<View>>>,
    in_flight: Arc<Semaphore>,
    clients: Arc<Semaphore>,
}

impl Resolver {
    /// Makes the sockets and the redirection in the namespace, and answers on `runtime`. Blocks for the making.
    pub fn open(
        namespace: BorrowedFd<'_>,
        view: View,
        zone: watch::Receiver<Arc<Zone>>,
        runtime: &Handle,
    ) -> Result<Self> {
        Self::adopt(Sockets::open(namespace)?, namespace, view, zone, runtime)
    }

    /// Goes on with sockets that were kept; what waits in them is answered. The redirection is thought to be there
    /// ([`Sockets::mend`] sees to it).
    pub fn adopt(
        sockets: Sockets,
        namespace: BorrowedFd<'_>,
        view: View,
        zone: watch::Receiver<Arc<Zone>>,
        runtime: &Handle,
    ) -> Result<Self> {
        let own = |source| failed("serve names in a sandbox", source);
        let view = Arc::new(RwLock::new(Arc::new(view)));
        let server = Server {
            namespace: Arc::new(namespace.try_clone_to_owned().map_err(own)?),
            zone,
            view: view.clone(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            clients: Arc::new(Semaphore::new(CLIENTS)),
        };
        let served = sockets.try_clone()?;
        let _inside = runtime.enter();
        let udp =
            UdpSocket::from_std(nonblocking(served.udp.into(), std::net::UdpSocket::set_nonblocking).map_err(own)?);
        let tcp = nonblocking(served.tcp.into(), std::net::TcpListener::set_nonblocking).map_err(own)?;
        let (udp, tcp) = (udp.map_err(own)?, TcpListener::from_std(tcp).map_err(own)?);
        let serving = Arc::new(server).serve(Arc::new(udp), tcp);
        let task = runtime.spawn(serving.instrument(info_span!("names"))).abort_handle();
        Ok(Self { sockets, view, task })
    }

    /// Copies of the sockets, to be kept where they outlive this daemon.
    pub fn sockets(&self) -> Result<Sockets> {
        self.sockets.try_clone()
    }

    /// From the next query on.
    pub fn set_view(&self, view: View) {
        *self.view.write() = Arc::new(view);
    }

    /// Leads port 53 to the sockets again.
    pub fn mend(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        self.sockets.mend(namespace)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Its own tasks end with it.
        self.task.abort();
    }
}

fn nonblocking<S>(socket: S, set: fn(&S, bool) -> io::Result<()>) -> io::Result<S> {
    set(&socket, true)?;
    Ok(socket)
}

impl Server {
    async fn serve(self: Arc<Self>, udp: Arc<UdpSocket>, tcp: TcpListener) {
        let mut work = JoinSet::new();
        let mut buffer = vec![0; LONGEST_QUERY];
        loop {
            tokio::select! {
                received = udp.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.datagram(&buffer[..length], from, &udp, &mut work).await,
                    Err(error) => pause("a datagram", &error).await,
                },
                accepted = self.accept(&tcp) => match accepted {
                    Ok((stream, permit)) => drop(work.spawn(self.clone().client(stream, permit))),
                    Err(error) => pause("a client", &error).await,
                },
                Some(_) = work.join_next(), if !work.is_empty() => {}
            }
        }
    }

    async fn accept(&self, tcp: &TcpListener) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.clients.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = tcp.accept().await?;
        Ok((stream, permit))
    }

    fn answer(&self, query: &[u8], udp: bool) -> (Outcome, Arc<View>) {
        let (zone, view) = (self.zone.borrow().clone(), self.view.read().clone());
        (answer(query, &view, &zone, udp), view)
    }

    /// What we know is answered at once; the rest waits on its own.
    async fn datagram(self: &Arc<Self>, query: &[u8], from: SocketAddr, udp: &Arc<UdpSocket>, work: &mut JoinSet<()>) {
        match self.answer(query, true) {
            (Outcome::Reply(reply), _) => send(udp, &reply, from).await,
            (Outcome::Forward { limit }, view) => {
                let Some(permits) = self.permits() else {
                    return send(udp, &refusal(query, ResponseCode::Refused), from).await;
                };
                let (server, udp, query) = (self.clone(), udp.clone(), query.to_vec());
                work.spawn(async move {
                    let reply = server.forward(&query, limit, &view, permits).await;
                    send(&udp, &reply, from).await;
                });
            }
            (Outcome::Ignore, _) => {}
        }
    }

    async fn client(self: Arc<Self>, mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
        while let Ok(query) = within(IDLE, read_message(&mut stream)).await {
            let reply = match self.answer(&query, false) {
                (Outcome::Reply(reply), _) => reply,
                (Outcome::Forward { limit }, view) => match self.permits() {
                    Some(permits) => self.forward(&query, limit, &view, permits).await,
                    None => refusal(&query, ResponseCode::Refused),
                },
                (Outcome::Ignore, _) => return,
            };
            if within(IDLE, write_message(&mut stream, &reply)).await.is_err() {
                return;
            }
        }
    }

    async fn forward(&self, query: &[u8], limit: usize, view: &View, _permits: Permits) -> Vec<u8> {
        let reply = ask(query, &self.namespace, &view.upstreams).await;
        reply.map_or_else(|| refusal(query, ResponseCode::ServFail), |reply| fitted(reply, limit))
    }

    fn permits(&self) -> Option<Permits> {
        Some((
            self.in_flight.clone().try_acquire_owned().ok()?,
            ALL.try_acquire().ok()?,
        ))
    }
}

async fn send(udp: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = udp.send_to(reply, to).await {
        debug!(%error, "an answer cannot be sent");
    }
}

async fn pause(what: &str, error: &io::Error) {
    debug!(%error, "{what} cannot be taken");
    sleep(BREATH).await;
}

#[cfg(test)]
mod tests;
