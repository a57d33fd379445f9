//! Ports of the host: which are taken by whom, each with a socket that truly holds it.
//!
//! A socket is bound for every port and never used: translation leads packets away before they would reach it. It keeps
//! others from binding the port, also while the daemon is dead, since a descriptor of it goes to the container's shim.
//! A tcp socket that does not listen is enough: another bind fails, and what misses the translation is refused at once. A udp socket
//! has the smallest buffer there is, so that what misses the translation is dropped and does not pile up.

mod range;
mod socket;
mod taken;

use crate::{Error, Result};
use gantry_core::network::{PortBinding, PortRange, Protocol, PublishedPort};
use gantry_core::{Error as CoreError, ErrorKind};
use parking_lot::Mutex;
use socket::Scope;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use taken::Taken;

/// Hands out host ports. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Allocator {
    taken: Arc<Mutex<Taken>>,
}

/// One socket, and the ports that it holds: one, or the same number in both families.
#[derive(Debug)]
pub struct Held {
    pub published: Vec<PublishedPort>,
    pub socket: OwnedFd,
}

/// Ports reserved together; given back when dropped, unless kept.
#[derive(Debug)]
#[must_use = "the ports are given back when this is dropped"]
pub struct Reserved {
    taken: Arc<Mutex<Taken>>,
    held: Vec<Held>,
}

impl Reserved {
    pub fn published(&self) -> Vec<PublishedPort> {
        self.held
            .iter()
            .flat_map(|held| held.published.iter().copied())
            .collect()
    }

    /// They stay taken until [`Allocator::release`].
    pub fn keep(mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let published = self.published();
            self.taken.lock().remove(&published);
        }
    }
}

impl Allocator {
    /// Reserves one port for each binding, or none at all. Those that name no address get `default`, or every address of
    /// the host in both families if there is none (a kernel without IPv6: of IPv4).
    pub fn reserve(&self, bindings: &[PortBinding], default: Option<IpAddr>) -> Result<Reserved> {
        let mut reserved = Reserved {
            taken: Arc::clone(&self.taken),
            held: Vec::with_capacity(bindings.len()),
        };
        // Who names a port has it before those that take any.
        let (named, any): (Vec<_>, Vec<_>) = bindings.iter().partition(|binding| binding.ports.is_some());
        for binding in named.into_iter().chain(any) {
            let scope = Scope::of(binding.host.or(default));
            refuse_loopback(scope)?;
            let mut taken = self.taken.lock();
            let held = match binding.ports {
                Some(ports) => one_of(&mut taken, binding, scope, ports)?,
                None => ephemeral(&mut taken, binding, scope)?,
            };
            taken.insert(&held.published);
            drop(taken);
            reserved.held.push(held);
        }
        Ok(reserved)
    }

    /// At start: ports that a record says are some container's. Its sockets are looked for later.
    pub fn claim(&self, published: &[PublishedPort]) -> Result<()> {
        let mut taken = self.taken.lock();
        for port in published {
            let scope = Scope::of(Some(port.host));
            free(&taken, port.container.protocol, scope, port.host_port)?;
        }
        taken.insert(published);
        Ok(())
    }

    /// Binds again what was claimed and has lost its sockets (they went with a shim that is gone): the very ports, or none at
    /// all. The claim stays either way.
    pub fn rebind(&self, published: &[PublishedPort]) -> Result<Vec<Held>> {
        let again = |group: Vec<PublishedPort>| {
            let first = group[0];
            let scope = match group.len() {
                1 => Scope::of(Some(first.host)),
                _ => Scope::Both,
            };
            Ok(Held {
                socket: bound(first.container.protocol, scope, first.host_port)?,
                published: group,
            })
        };
        taken::groups(published).into_iter().map(again).collect()
    }

    /// Whether `socket`, which a shim gave back, holds ports that were claimed.
    pub fn adopt(&self, published: &[PublishedPort], socket: BorrowedFd<'_>) -> Result<()> {
        let holds = socket::port(socket).map_err(|source| Error::Kernel {
            deed: "look at the socket that holds a port".to_owned(),
            source,
        })?;
        match published.iter().find(|port| port.host_port != holds) {
            None => Ok(()),
            Some(other) => Err(Error::Asked(CoreError::new(
                ErrorKind::DataLoss,
                format!("a socket that should hold port {} holds {holds}", other.host_port),
            ))),
        }
    }

    /// Others may have them. Their sockets are closed by whoever has them.
    pub fn release(&self, published: &[PublishedPort]) {
        self.taken.lock().remove(published);
    }

    pub fn len(&self) -> usize {
        self.taken.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The prefix that clients look for, with the endpoint it went wrong for (Docker's words).
pub fn for_endpoint(name: &str, id: &str, error: Error) -> Error {
    let error = CoreError::from(error);
    Error::Asked(CoreError::new(
        error.kind(),
        format!("driver failed programming external connectivity on endpoint {name} ({id}): {error}"),
    ))
}

/// No answer to ::1 finds its way back from a bridge (see the nftables backend), and there is no proxy.
fn refuse_loopback(scope: Scope) -> Result<()> {
    match scope {
        Scope::One(IpAddr::V6(address)) if address.is_loopback() => Err(Error::Unsupported(
            "cannot publish a port on [::1]: the kernel does not take answers to the loopback address of IPv6 from a \
             bridge; publish it on 127.0.0.1"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn one_of(taken: &mut Taken, binding: &PortBinding, scope: Scope, ports: PortRange) -> Result<Held> {
    let mut refused = None;
    for port in ports.first..=ports.last {
        match hold(taken, binding, scope, port) {
            Ok(held) => return Ok(held),
            Err(error) if is_conflict(&error) => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if ports.first == ports.last => Err(error),
        Some(_) | None => Err(conflict(format!(
            "Bind for {}:{}-{} failed: all ports are allocated",
            scope.text(),
            ports.first,
            ports.last
        ))),
    }
}

fn ephemeral(taken: &mut Taken, binding: &PortBinding, scope: Scope) -> Result<Held> {
    for port in range::ephemeral(taken.last) {
        match hold(taken, binding, scope, port) {
            Ok(held) => {
                taken.last = Some(port);
                return Ok(held);
            }
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Asked(CoreError::new(
        ErrorKind::ResourceExhausted,
        format!(
            "Bind for {}:0 failed: all ports of the ephemeral range are allocated",
            scope.text()
        ),
    )))
}

fn hold(taken: &Taken, binding: &PortBinding, scope: Scope, port: u16) -> Result<Held> {
    let protocol = binding.container.protocol;
    free(taken, protocol, scope, port)?;
    let socket = bound(protocol, scope, port)?;
    let published = |host: IpAddr| PublishedPort {
        container: binding.container,
        host,
        host_port: port,
    };
    let published = match scope {
        Scope::One(host) => vec![published(host)],
        Scope::Both if socket::is_v6(&socket) => vec![
            published(Ipv4Addr::UNSPECIFIED.into()),
            published(Ipv6Addr::UNSPECIFIED.into()),
        ],
        Scope::Both => vec![published(Ipv4Addr::UNSPECIFIED.into())],
    };
    Ok(Held { published, socket })
}

/// A conflict if a container of ours has it.
fn free(taken: &Taken, protocol: Protocol, scope: Scope, port: u16) -> Result<()> {
    if taken.has(protocol, scope, port) {
        return Err(conflict(format!(
            "Bind for {}:{port} failed: port is already allocated",
            scope.text()
        )));
    }
    Ok(())
}

fn bound(protocol: Protocol, scope: Scope, port: u16) -> Result<OwnedFd> {
    socket::bound(protocol, scope, port).map_err(|source| {
        let text = format!("failed to bind host port {}:{port}/{protocol}", scope.text());
        match source.raw_os_error() {
            Some(nix::libc::EADDRINUSE) => conflict(format!("{text}: address already in use")),
            Some(nix::libc::EADDRNOTAVAIL) => Error::Asked(CoreError::new(
                ErrorKind::InvalidArgument,
                format!("{text}: cannot assign requested address"),
            )),
            Some(nix::libc::EPROTONOSUPPORT | nix::libc::ESOCKTNOSUPPORT) => {
                Error::Unsupported(format!("{text}: this kernel has no {protocol}"))
            }
            Some(nix::libc::EMFILE | nix::libc::ENFILE) => Error::Asked(CoreError::new(
                ErrorKind::ResourceExhausted,
                format!("{text}: no more descriptors, each port takes one"),
            )),
            _ => Error::Kernel {
                deed: text,
                source: io::Error::from_raw_os_error(source.raw_os_error().unwrap_or(nix::libc::EIO)),
            },
        }
    })
}

fn conflict(text: String) -> Error {
    Error::Asked(CoreError::new(ErrorKind::Conflict, text))
}

fn is_conflict(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

#[cfg(test)]
mod tests;
