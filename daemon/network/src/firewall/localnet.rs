//! Whether a bridge may carry what comes from 127.0.0.1: only while a port is published on its network, since from then on nothing
//! but the firewall's first rule keeps containers away from what listens there.

use super::Rules;
use super::published::Version;
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Sets `route_localnet` where it is not the same in both descriptions.
pub(super) fn set(before: &Rules, after: &Rules) {
    let was = wanted(before);
    for (device, on) in wanted(after) {
        if was.get(device) != Some(&on) {
            write(device, on);
        }
    }
}

fn wanted(rules: &Rules) -> BTreeMap<&str, bool> {
    let mut devices: BTreeMap<&str, bool> = rules
        .networks
        .values()
        .map(|network| (network.device.as_str(), false))
        .collect();
    for endpoint in rules.endpoints.values() {
        let Some(network) = rules.networks.get(&endpoint.network) else {
            continue;
        };
        let published = |host: std::net::IpAddr| Version::of(&host) == Version::V4;
        if endpoint.ipv4.is_some()
            && network.translated(Version::V4)
            && endpoint.ports.iter().any(|port| published(port.host))
        {
            devices.insert(&network.device, true);
        }
    }
    devices
}

fn write(device: &str, on: bool) {
    let path = Path::new("/proc/sys/net/ipv4/conf").join(device).join("route_localnet");
    match fs::write(&path, if on { "1" } else { "0" }) {
        Ok(()) => {}
        // A bridge that is not there yet, or not any more, has nothing to carry.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(device, %error, "published ports cannot be reached from 127.0.0.1"),
    }
}
