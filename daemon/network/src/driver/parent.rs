//! The device on the host that macvlan and ipvlan endpoints sit on.

use super::{is_ours, mark};
use crate::netlink::{Batch, Change, Kind, Netlink, NewLink};
use crate::{Error, Instance, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{NetworkRecord, option};

/// An interface's name has at most this many bytes.
const NAME: usize = 15;

/// Options that the driver would not obey are refused.
pub(super) fn refuse_others(driver: &str, network: &NetworkRecord, known: &[&str]) -> Result<()> {
    let every = [option::PARENT, option::MTU, option::IFACE_PREFIX];
    let unknown = |name: &&String| !known.contains(&name.as_str()) && !every.contains(&name.as_str());
    match network.options.keys().find(unknown) {
        None => Ok(()),
        Some(name) => Err(Fault::invalid(format!("unknown option {name} of the {driver} network driver")).into()),
    }
}

/// The device's name. Without a parent the network has a device of its own that leads nowhere, and so is internal.
pub(super) fn choose(network: &mut NetworkRecord, prefix: &str) -> Result<()> {
    match network.options.get(option::PARENT).map(String::as_str) {
        None | Some("") => {
            network.device = own(network, prefix);
            network.internal = true;
        }
        Some(name) if name.len() > NAME || name.contains(['/', ':']) || name.contains(char::is_whitespace) => {
            return Err(Fault::invalid(format!("invalid value for network option parent: \"{name}\"")).into());
        }
        Some(name) => network.device = name.to_owned(),
    }
    Ok(())
}

fn own(network: &NetworkRecord, prefix: &str) -> String {
    format!("{prefix}{}", network.id.short())
}

/// Whether the parent is there or can be made.
pub(super) fn check(netlink: &mut Netlink, network: &NetworkRecord, prefix: &str) -> Result<()> {
    if network.device == own(network, prefix) {
        return Ok(());
    }
    match netlink.link(&network.device)? {
        Some(link) if link.loopback => {
            Err(Fault::invalid(format!("the loopback interface {} cannot be a parent", link.name)).into())
        }
        Some(_) => Ok(()),
        None => {
            let (base, id) = vlan(&network.device)?;
            netlink.index(base)?;
            if !netlink.has_kind(&Kind::Vlan(id))? {
                let message = format!("parent {}: the kernel has no vlan devices", network.device);
                return Err(Error::Unsupported(message));
            }
            Ok(())
        }
    }
}

/// `eth0.100` is VLAN 100 on `eth0`.
fn vlan(name: &str) -> Result<(&str, u16)> {
    let parts = name.rsplit_once('.').filter(|(base, _)| !base.is_empty());
    let Some((base, id)) = parts else {
        let hint = format!("there is no network interface {name} (a VLAN on one is named as in eth0.10)");
        return Err(Fault::not_found(hint).into());
    };
    match id.parse::<u16>() {
        Ok(id) if (1..=4094).contains(&id) => Ok((base, id)),
        _ => Err(Fault::invalid(format!("parent {name}: a VLAN id is a number from 1 to 4094")).into()),
    }
}

/// Makes the parent if it is not there.
pub(super) fn make(instance: &Instance, network: &NetworkRecord, prefix: &str) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let name = network.device.as_str();
    match netlink.link(name)? {
        // Made by us, and perhaps not up yet.
        Some(link) if is_ours(instance, &link.alias) => {
            let mut batch = Batch::new();
            batch.set_link(name, &marked(&mark(instance, network)));
            netlink.run(batch)
        }
        Some(_) => Ok(()),
        None if name == own(network, prefix) => {
            match add(&mut netlink, instance, network, Kind::Dummy, None) {
                // A bridge without ports leads nowhere just as well.
                Err(Error::Unsupported(_)) => add(&mut netlink, instance, network, Kind::Bridge, None),
                other => other,
            }
        }
        None => {
            let (base, id) = vlan(name)?;
            let base = netlink.index(base)?;
            add(&mut netlink, instance, network, Kind::Vlan(id), Some(base))
        }
    }
}

fn add(
    netlink: &mut Netlink,
    instance: &Instance,
    network: &NetworkRecord,
    kind: Kind<'_>,
    parent: Option<u32>,
) -> Result<()> {
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name: &network.device,
        kind,
        parent,
        namespace: None,
        mac: None,
        mtu: 0,
    });
    batch.set_link(&network.device, &marked(&mark(instance, network)));
    netlink.run(batch)
}

fn marked(mark: &str) -> Change<'_> {
    Change {
        alias: Some(mark),
        up: Some(true),
        plain_ipv6: true,
        ..Change::default()
    }
}

/// Deletes it if it was made for this network.
pub(super) fn remove(instance: &Instance, network: &NetworkRecord) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let made = mark(instance, network);
    let Some(link) = netlink.link(&network.device)?.filter(|link| link.alias == made) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    batch.delete_link(link.index);
    netlink.run(batch)
}

/// Another network that has the same parent.
pub(super) fn sharers<'a>(
    network: &NetworkRecord,
    others: &'a [NetworkRecord],
) -> impl Iterator<Item = &'a NetworkRecord> {
    let (id, device) = (network.id.clone(), network.device.clone());
    others.iter().filter(move |other| {
        other.id != id && other.device == device && matches!(other.driver.as_str(), "macvlan" | "ipvlan")
    })
}

pub(super) fn taken(network: &NetworkRecord, other: &NetworkRecord, why: &str) -> Error {
    let (device, name, driver) = (&network.device, &other.name, &other.driver);
    Fault::conflict(format!("parent {device} is used by {driver} network {name}{why}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_named_after_their_parent() {
        assert_eq!(vlan("eth0.100").unwrap(), ("eth0", 100));
        assert_eq!(vlan("a.b.4094").unwrap(), ("a.b", 4094));
        for bad in ["eth0", ".5", "eth0.", "eth0.0", "eth0.4095", "eth0.x"] {
            assert!(vlan(bad).is_err(), "{bad}");
        }
    }
}
