//! Sockets made inside sandboxes, for everybody by one thread: a socket belongs to the namespace that its maker was in.

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use tokio::sync::oneshot;

/// More wait at once only where something is wrong: making one takes microseconds.
const WAITING: usize = 256;

struct Order {
    namespace: Arc<OwnedFd>,
    family: AddressFamily,
    kind: SocketType,
    made: oneshot::Sender<io::Result<OwnedFd>>,
}

/// A socket that does not block, for speaking to `peer` from inside the namespace.
pub async fn socket(namespace: &Arc<OwnedFd>, peer: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let (made, answer) = oneshot::channel();
    let order = Order {
        namespace: namespace.clone(),
        family: family(peer),
        kind,
        made,
    };
    match maker()?.try_send(order) {
        Ok(()) => answer.await.map_err(|_| io::ErrorKind::BrokenPipe)?,
        Err(TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// The same in the calling thread's namespace.
pub fn socket_here(peer: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    make(family(peer), kind)
}

fn family(peer: SocketAddr) -> AddressFamily {
    match peer {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn make(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    let protocol = if kind == SocketType::STREAM {
        ipproto::TCP
    } else {
        ipproto::UDP
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, kind, flags, Some(protocol))?)
}

fn maker() -> io::Result<&'static SyncSender<Order>> {
    static MAKER: OnceLock<io::Result<SyncSender<Order>>> = OnceLock::new();
    let started = MAKER.get_or_init(|| {
        let home = File::open("/proc/thread-self/ns/net")?;
        let (orders, inbox) = sync_channel(WAITING);
        thread::Builder::new()
            .name("sandbox-sockets".to_owned())
            .spawn(move || work(&home, &inbox))?;
        Ok(orders)
    });
    started.as_ref().map_err(|error| error.kind().into())
}

fn work(home: &File, inbox: &Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        let made = enter(order.namespace.as_fd()).and_then(|()| make(order.family, order.kind));
        // A sandbox must not live on because this thread is still in it.
        if enter(home.as_fd()).is_err() {
            let _ = order.made.send(made);
            return;
        }
        let _ = order.made.send(made);
    }
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}
