//! Sockets that must outlive the daemon, kept by the container's shim: those that hold ports of the host, and those that
//! names are asked at.

use super::{Networks, names, ports_of};
use crate::context::Context;
use crate::gate::blocking;
use gantry_core::container::ContainerRecord;
use gantry_core::network::PublishedPort;
use gantry_core::{ContainerId, Result};
use gantry_network::names::{Resolver, Sockets};
use gantry_network::netns;
use gantry_network::ports::Held;
use gantry_task::Shim;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tracing::warn;

/// A descriptor and what the shim keeps it as.
type Named = (String, OwnedFd);

const DNS_UDP: &str = "dns/udp";
const DNS_TCP: &str = "dns/tcp";

fn port_name(port: &PublishedPort) -> String {
    format!("port/{}/{}/{}", port.container.protocol, port.host, port.host_port)
}

/// Gives the sockets of a container that is being started to its shim. A shim that keeps none leaves them to the daemon.
pub(crate) async fn hand_over(context: &Arc<Context>, id: &ContainerId, shim: &Shim) -> Result<()> {
    let (worker, subject) = (context.clone(), id.clone());
    let (named, ports) = blocking(move || worker.networks.sockets(&subject)).await?;
    if named.is_empty() {
        return Ok(());
    }
    // The shim's copies hold the ports from now on: there are not descriptors enough for two of each.
    if let Err(error) = shim.put_descriptors(named).await {
        warn!(container = %id, err = %error, "the shim does not keep sockets: ports are held and names are answered only while the daemon runs");
        let (worker, subject) = (context.clone(), id.clone());
        blocking(move || worker.networks.hold_again(&subject, &ports)).await?;
    }
    Ok(())
}

/// After a restart of the daemon: takes up what a running container has in its networks.
pub(crate) async fn take_up(context: &Arc<Context>, record: &Arc<ContainerRecord>, shim: &Shim) -> Result<()> {
    context.networks.stays(&record.id);
    let Some(sandbox) = context.networks.sandbox(&record.id) else {
        return Ok(());
    };
    let ports = ports_of(&sandbox);
    let mut wanted: Vec<String> = ports.iter().map(port_name).collect();
    wanted.extend([DNS_UDP.to_owned(), DNS_TCP.to_owned()]);
    let kept = shim.take_descriptors(wanted).await.unwrap_or_else(|error| {
        warn!(container = %record.id, err = %error, "the shim gives no sockets back");
        Vec::new()
    });
    let (worker, subject) = (context.clone(), record.clone());
    blocking(move || worker.networks.take_up(&worker, &subject, &ports, kept)).await?;
    hand_over(context, &record.id, shim).await
}

impl Networks {
    /// What the shim is to have, by name: the sockets that hold ports themselves, and copies of those that names are asked at.
    /// And which ports.
    fn sockets(&self, id: &ContainerId) -> Result<(Vec<Named>, Vec<PublishedPort>)> {
        let known = self.slots.lock().get(id).cloned();
        let Some(slot) = known else {
            return Ok(Default::default());
        };
        let mut slot = slot.lock();
        let mut named = Vec::new();
        let mut ports = Vec::new();
        for Held { published, socket } in std::mem::take(&mut slot.sockets) {
            named.extend(published.first().map(|first| (port_name(first), socket)));
            ports.extend(published);
        }
        if let Some(resolver) = &slot.resolver {
            let Sockets { udp, tcp } = resolver.sockets()?;
            named.extend([(DNS_UDP.to_owned(), udp), (DNS_TCP.to_owned(), tcp)]);
        }
        Ok((named, ports))
    }

    /// Binds ports again whose sockets nobody took.
    fn hold_again(&self, id: &ContainerId, ports: &[PublishedPort]) -> Result<()> {
        let known = self.slots.lock().get(id).cloned();
        let Some(slot) = known.filter(|_| !ports.is_empty()) else {
            return Ok(());
        };
        slot.lock().sockets = self.ports.rebind(ports)?;
        Ok(())
    }

    fn take_up(
        &self,
        context: &Context,
        container: &ContainerRecord,
        ports: &[PublishedPort],
        kept: Vec<(String, OwnedFd)>,
    ) -> Result<()> {
        let slot = self.slot(&container.id);
        let mut slot = slot.lock();
        let mut missing = ports.to_vec();
        let (mut udp, mut tcp) = (None, None);
        for (name, socket) in kept {
            match name.as_str() {
                DNS_UDP => udp = Some(socket),
                DNS_TCP => tcp = Some(socket),
                _ => {
                    let group = group(&name, ports);
                    match self.ports.adopt(&group, socket.as_fd()) {
                        Ok(()) => missing.retain(|port| !group.contains(port)),
                        Err(error) => {
                            warn!(container = %container.id, err = %error, "a port's socket that was kept cannot be used")
                        }
                    }
                }
            }
        }
        if !missing.is_empty() {
            match self.ports.rebind(&missing) {
                Ok(held) => slot.sockets.extend(held),
                Err(error) => {
                    warn!(container = %container.id, err = %error, "a published port was lost while the daemon was away")
                }
            }
        }
        let sockets = udp.zip(tcp).map(|(udp, tcp)| Sockets { udp, tcp });
        // Names first, at the sockets that were kept: what was asked meanwhile waits there.
        let answered = self.answer_again(context, container, &mut slot, sockets);
        self.finish_changes(context, container, &mut slot)?;
        answered
    }

    /// Ends what a kill left half done of a change of networks.
    fn finish_changes(&self, context: &Context, container: &ContainerRecord, slot: &mut super::Slot) -> Result<()> {
        self.part_unwanted(context, container, slot)?;
        let Some(mut sandbox) = slot.sandbox.clone() else {
            return Ok(());
        };
        let namespace = netns::open(Path::new(&sandbox.key))?;
        let there: Vec<String> = netns::statistics(namespace.as_fd())?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut settled = !sandbox.unsettled;
        for endpoint in sandbox
            .endpoints
            .iter()
            .filter(|endpoint| !there.contains(&endpoint.interface))
        {
            let network = self.by_id(&endpoint.network)?;
            self.join(&network, endpoint, namespace.as_fd())?;
            settled = false;
        }
        if self.learn(&mut sandbox)? {
            super::records::put_sandbox(&self.store, &container.id, &sandbox)?;
            settled = false;
        }
        if !settled {
            self.settle(context, container, &sandbox, slot, namespace.as_fd())?;
        }
        Ok(())
    }

    fn answer_again(
        &self,
        context: &Context,
        container: &ContainerRecord,
        slot: &mut super::Slot,
        sockets: Option<Sockets>,
    ) -> Result<()> {
        let Some(sandbox) = slot.sandbox.clone().filter(|_| slot.resolver.is_none()) else {
            return Ok(());
        };
        let networks = self.networks_of(&sandbox.endpoints)?;
        let texts = names::texts(self, context, container, Some(&sandbox))?;
        let Some(view) = self.view(&texts, container, &networks) else {
            return Ok(());
        };
        let namespace = netns::open(Path::new(&sandbox.key))?;
        let resolver = match sockets {
            Some(sockets) => Resolver::adopt(sockets, namespace.as_fd(), view, self.zone.subscribe(), &self.runtime)?,
            None => Resolver::open(namespace.as_fd(), view, self.zone.subscribe(), &self.runtime)?,
        };
        slot.resolver = Some(resolver);
        Ok(())
    }
}

/// The ports that one socket holds: the one it is named for, and the same of the other family.
fn group(name: &str, ports: &[PublishedPort]) -> Vec<PublishedPort> {
    let Some(first) = ports.iter().find(|port| port_name(port) == name) else {
        return Vec::new();
    };
    let same = |port: &&PublishedPort| {
        *port == first
            || (port.host_port == first.host_port
                && port.container == first.container
                && port.host.is_unspecified()
                && first.host.is_unspecified())
    };
    ports.iter().filter(same).copied().collect()
}
