//! Options of one endpoint (`--driver-opt` of a connect, under Docker's names). What is not obeyed is refused.

use super::Networks;
use gantry_core::network::{Endpoint, EndpointSettings};
use gantry_core::{Error, Result};
use gantry_network::netlink::{Batch, Netlink};
use gantry_network::{netns, sysctl};
use ipnet::IpNet;
use std::os::fd::BorrowedFd;

/// `net.ipv4.conf.IFNAME.log_martians=1,...`, `IFNAME` being the interface's name.
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
/// What the interface is called in the container.
const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// What begins so is to have an effect here.
const OWN: &str = "com.docker.network.";

/// Everything that can be said of them before the endpoint is made.
pub fn check(settings: &EndpointSettings) -> Result<()> {
    for (name, value) in &settings.driver_options {
        match name.as_str() {
            SYSCTLS => drop(sysctls(value, "eth0")?),
            IFNAME => check_name(value)?,
            // What is no name of Docker's speaks to another driver than these, as a label does: it is kept and shown.
            other if !other.starts_with(OWN) => {}
            other => {
                return Err(Error::invalid(format!(
                    "unknown endpoint option {other}; known are {IFNAME}, {SYSCTLS}"
                )));
            }
        }
    }
    Ok(())
}

/// The name that is wanted for the interface.
pub fn interface(settings: &EndpointSettings) -> Option<&str> {
    settings.driver_options.get(IFNAME).map(String::as_str)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':');
    let good = (1..=15).contains(&name.len()) && name.bytes().all(plain) && !matches!(name, "lo" | "." | "..");
    match good {
        true => Ok(()),
        false => Err(Error::invalid(format!("invalid value for {IFNAME}: \"{name}\""))),
    }
}

fn sysctls(text: &str, interface: &str) -> Result<Vec<(String, String)>> {
    let settings = text.split(',').filter(|setting| !setting.is_empty());
    let one = |setting: &str| match setting.split_once('=') {
        Some((name, value)) if name.starts_with("net.") && name.contains(".IFNAME.") && !name.contains('/') => {
            Ok((name.replace("IFNAME", interface), value.to_owned()))
        }
        _ => Err(Error::invalid(format!(
            "invalid value for {SYSCTLS}: \"{setting}\": net.X.Y.IFNAME.Z=VALUE is expected"
        ))),
    };
    settings.map(one).collect()
}

impl Networks {
    /// Gives an interface that was made what its container asked for beyond its place in the network.
    pub(super) fn furnish(&self, endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
        link_local(endpoint, namespace)?;
        let Some(text) = endpoint.settings.driver_options.get(SYSCTLS) else {
            return Ok(());
        };
        let all = sysctls(text, &endpoint.interface)?;
        let set = || all.iter().try_for_each(|(name, value)| sysctl::set(name, value));
        Ok(netns::enter(namespace, set)?)
    }
}

/// Adds the link-local addresses that were asked for (RFC 3927, RFC 4291).
fn link_local(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    if endpoint.settings.link_local.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::open_in(namespace)?;
    let index = netlink.index(&endpoint.interface)?;
    let mut batch = Batch::new();
    for address in &endpoint.settings.link_local {
        let length = if address.is_ipv4() { 16 } else { 64 };
        batch.set_address(index, IpNet::new(*address, length).expect("the length fits the family"));
    }
    Ok(netlink.run(batch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: &str) -> EndpointSettings {
        EndpointSettings {
            driver_options: [(name.to_owned(), value.to_owned())].into(),
            ..EndpointSettings::default()
        }
    }

    #[test]
    fn what_is_not_obeyed_is_refused_by_name() {
        for (name, value) in [
            (
                SYSCTLS,
                "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.mtu=1400",
            ),
            (IFNAME, "front0"),
            ("com.example.speed", "11"),
        ] {
            assert!(check(&given(name, value)).is_ok(), "{name}={value}");
        }
        for (name, value) in [
            (SYSCTLS, "net.ipv4.ip_forward=1"),
            (SYSCTLS, "net.ipv4.conf.IFNAME.log_martians"),
            (IFNAME, "a-name-of-sixteen"),
            (IFNAME, "lo"),
            ("com.docker.network.speed", "11"),
        ] {
            let error = check(&given(name, value)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert_eq!(
            sysctls("net.ipv4.conf.IFNAME.log_martians=1", "eth3").unwrap(),
            [("net.ipv4.conf.eth3.log_martians".to_owned(), "1".to_owned())]
        );
    }
}
