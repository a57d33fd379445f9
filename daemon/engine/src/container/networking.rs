//! What a container asks of networks, checked when it is created.

use crate::context::Context;
use crate::files;
use crate::network::{options, plan};
use gantry_core::container::{ContainerConfig, ContainerRecord, HostConfig, NetworkMode};
use gantry_core::{Error, Result};
use gantry_network::files::{Hosts, hosts};
use std::sync::Arc;

/// Fills in the network of the mode, and refuses what cannot be together (Docker's rules). Answers warnings. Whether the
/// networks are there is seen when it is started.
pub(super) fn check(context: &Arc<Context>, record: &mut ContainerRecord) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_hosts(record)?;
    for exposed in &record.config.exposed_ports {
        plan::exposed_ports(exposed)?;
    }
    record.networks.values().try_for_each(options::check)?;
    match record.host.network_mode.clone() {
        NetworkMode::Container(other) => {
            // It is no image that is missing, which a client would fetch.
            let found = context.registry.find(&other);
            let keeper = found.map_err(|error| Error::invalid(error.to_string()))?;
            if *keeper.id() == record.id {
                return Err(Error::invalid("a container cannot join its own network"));
            }
            if !record.networks.is_empty() {
                return Err(Error::invalid(
                    "conflicting options: a container that shares another's network cannot join networks of its own",
                ));
            }
            files::hostname(&keeper.record()).clone_into(&mut record.config.hostname);
            record.host.network_mode = NetworkMode::Container(keeper.id().to_string());
        }
        NetworkMode::Host | NetworkMode::None => {
            if record.host.network_mode == NetworkMode::Host && record.config.hostname.is_empty() {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
                    .map_err(|error| Error::internal(format!("read the host's name: {error}")))?;
                name.trim_end().clone_into(&mut record.config.hostname);
            }
            let mode = record.host.network_mode.to_string();
            let several = record.networks.keys().any(|name| *name != mode);
            if several {
                return Err(Error::invalid(format!(
                    "conflicting options: cannot attach a container of network mode {mode} to user-defined networks"
                )));
            }
            if record.host.network_mode == NetworkMode::Host && publishes(record) {
                warnings.push("Published ports are discarded when using host network mode".to_owned());
            }
        }
        NetworkMode::Bridge => resolve_links(context, record)?,
        NetworkMode::Network(_) => {}
    }
    if let Some(name) = record.host.network_mode.network() {
        let name = name.to_owned();
        record.networks.entry(name).or_default();
    }
    if record.host.network_mode == NetworkMode::Bridge
        && record
            .networks
            .get("bridge")
            .is_some_and(|settings| !settings.aliases.is_empty())
    {
        return Err(Error::invalid(
            "network-scoped aliases are only supported for user-defined networks",
        ));
    }
    Ok(warnings)
}

/// Whom links name is kept by id: they follow a container that gets another name, and one that shares another's network to that one.
fn resolve_links(context: &Context, record: &mut ContainerRecord) -> Result<()> {
    for text in &mut record.host.links {
        let (name, alias) = plan::link(text);
        let missing = |error: Error| Error::invalid(format!("could not get container for {name}: {error}"));
        let mut keeper = context.registry.find(name).map_err(missing)?;
        while let NetworkMode::Container(other) = &keeper.record().host.network_mode {
            keeper = context.registry.find(other).map_err(missing)?;
        }
        if keeper.record().host.network_mode == NetworkMode::Host {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        *text = format!("{}:{alias}", keeper.id());
    }
    Ok(())
}

fn check_hosts(record: &ContainerRecord) -> Result<()> {
    // The same text that a start will write, for its errors.
    let gateways = [std::net::IpAddr::from([127, 0, 0, 1])];
    hosts(&Hosts {
        extra: &record.host.extra_hosts,
        host_gateways: &gateways,
        ..Hosts::default()
    })?;
    Ok(())
}

fn publishes(record: &ContainerRecord) -> bool {
    !record.host.port_bindings.is_empty() || record.host.publish_all_ports
}

/// What cannot be together, in what was asked for: what an image brings is let pass. Nothing needs to be there for it.
pub(super) fn refuse_conflicts(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let invalid = |text: &str| Err(Error::invalid(format!("conflicting options: {text}")));
    let joins = matches!(host.network_mode, NetworkMode::Container(_));
    let of_host = host.network_mode == NetworkMode::Host;
    let undefined = "be used with links. This would result in undefined behavior";
    let links = !host.links.is_empty();
    let publishes = !host.port_bindings.is_empty() || host.publish_all_ports;
    let conflicts = [
        (
            joins && !config.hostname.is_empty(),
            "hostname and the network mode".to_owned(),
        ),
        (joins && links, format!("container type network can't {undefined}")),
        (joins && !host.dns.is_empty(), "dns and the network mode".to_owned()),
        (
            joins && !host.extra_hosts.is_empty(),
            "custom host-to-IP mapping and the network mode".to_owned(),
        ),
        (
            (joins || of_host) && host.mac_address.is_some(),
            "mac-address and the network mode".to_owned(),
        ),
        (
            joins && publishes,
            "port publishing and the container type network mode".to_owned(),
        ),
        (
            joins && !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode".to_owned(),
        ),
        (of_host && links, format!("host type networking can't {undefined}")),
    ];
    match conflicts.iter().find(|(given, _)| *given) {
        Some((_, text)) => invalid(text),
        None => Ok(()),
    }
}
