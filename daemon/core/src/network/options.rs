//! What drivers are told, read from Docker's option names once.

use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Docker's names of driver options (docs.docker.com, "Bridge network driver", "Macvlan", "IPvlan", "Overlay").
pub mod option {
    pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
    pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
    pub const ICC: &str = "com.docker.network.bridge.enable_icc";
    pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    pub const BINDING_IPV4: &str = "com.docker.network.bridge.host_binding_ipv4";
    pub const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
    pub const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
    pub const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
    pub const IFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
    pub const MTU: &str = "com.docker.network.driver.mtu";
    pub const HOST_IPV4: &str = "com.docker.network.host_ipv4";
    pub const PARENT: &str = "parent";
    pub const MACVLAN_MODE: &str = "macvlan_mode";
    pub const IPVLAN_MODE: &str = "ipvlan_mode";
    pub const IPVLAN_FLAG: &str = "ipvlan_flag";
    pub const VXLAN_IDS: &str = "com.docker.network.driver.overlay.vxlanid_list";
    pub const ENCRYPTED: &str = "encrypted";
    /// The name of a CNI configuration; unsaid, the network's own.
    pub const CNI_NAME: &str = "gantry.cni.name";
    /// The configuration itself.
    pub const CNI_CHAIN: &str = "gantry.cni.conflist";
}

/// How packets pass between a bridge network and the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Masqueraded, ports mapped.
    #[default]
    Nat,
    /// Masqueraded, and the container's own addresses are open too.
    NatUnprotected,
    /// Neither; published ports are let through to the container's own address.
    Routed,
    /// The bridge has no address.
    Isolated,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Empty = `br-` and the short id.
    pub name: String,
    pub icc: bool,
    pub masquerade: bool,
    /// Where ports are published that name no address.
    pub binding: Option<IpAddr>,
    pub mode4: GatewayMode,
    pub mode6: GatewayMode,
    /// The bridge gets no IPv4 address.
    pub inhibit_ipv4: bool,
    /// The source address of what leaves, instead of masquerading.
    pub host_ipv4: Option<IpAddr>,
    pub link: LinkOptions,
}

/// What every driver with interfaces knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// 0 = the kernel's choice.
    pub mtu: u32,
    /// Of the interface's name in the container.
    pub prefix: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
    Passthru,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanMode {
    #[default]
    L2,
    L3,
    L3s,
}

impl LinkOptions {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let mtu = match options.get(option::MTU) {
            None => 0,
            Some(text) => text
                .parse::<u32>()
                .ok()
                .filter(|mtu| *mtu == 0 || (68..=65_535).contains(mtu))
                .ok_or_else(|| bad(option::MTU, text))?,
        };
        let prefix = options.get(option::IFACE_PREFIX).cloned().unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        if prefix.len() > 12 || !prefix.bytes().all(plain) || prefix == "lo" {
            return Err(bad(option::IFACE_PREFIX, &prefix));
        }
        let prefix = if prefix.is_empty() { "eth".to_owned() } else { prefix };
        Ok(Self { mtu, prefix })
    }
}

impl BridgeOptions {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let known = [
            option::BRIDGE_NAME,
            option::DEFAULT_BRIDGE,
            option::ICC,
            option::MASQUERADE,
            option::BINDING_IPV4,
            option::GATEWAY_MODE_IPV4,
            option::GATEWAY_MODE_IPV6,
            option::INHIBIT_IPV4,
            option::HOST_IPV4,
        ];
        refuse_others("bridge", options, &known)?;
        let name = options.get(option::BRIDGE_NAME).cloned().unwrap_or_default();
        check_interface(option::BRIDGE_NAME, &name)?;
        Ok(Self {
            name,
            icc: flag(options, option::ICC, true)?,
            masquerade: flag(options, option::MASQUERADE, true)?,
            binding: address(options, option::BINDING_IPV4)?,
            mode4: gateway_mode(options, option::GATEWAY_MODE_IPV4)?,
            mode6: gateway_mode(options, option::GATEWAY_MODE_IPV6)?,
            inhibit_ipv4: flag(options, option::INHIBIT_IPV4, false)?,
            host_ipv4: address(options, option::HOST_IPV4)?,
            link: LinkOptions::read(options)?,
        })
    }
}

/// What an overlay network is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayOptions {
    /// The number of its VXLAN segment; `None` = the cluster gives one.
    pub vni: Option<u32>,
    /// What goes between hosts is encrypted.
    pub encrypted: bool,
    pub link: LinkOptions,
}

impl OverlayOptions {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        refuse_others("overlay", options, &[option::VXLAN_IDS, option::ENCRYPTED])?;
        let vni = match options.get(option::VXLAN_IDS).map(String::as_str) {
            None | Some("") => None,
            Some(text) => {
                let number = text.parse::<u32>().ok().filter(|vni| (1..1 << 24).contains(vni));
                Some(number.ok_or_else(|| bad(option::VXLAN_IDS, text))?)
            }
        };
        Ok(Self {
            vni,
            // Docker: that it is there is enough.
            encrypted: options.contains_key(option::ENCRYPTED) && flag(options, option::ENCRYPTED, true)?,
            link: LinkOptions::read(options)?,
        })
    }
}

impl MacvlanMode {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        match options.get(option::MACVLAN_MODE).map(String::as_str) {
            None | Some("" | "bridge") => Ok(Self::Bridge),
            Some("private") => Ok(Self::Private),
            Some("vepa") => Ok(Self::Vepa),
            Some("passthru") => Ok(Self::Passthru),
            Some(other) => Err(bad(option::MACVLAN_MODE, other)),
        }
    }
}

impl IpvlanMode {
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        match options.get(option::IPVLAN_MODE).map(String::as_str) {
            None | Some("" | "l2") => Ok(Self::L2),
            Some("l3") => Ok(Self::L3),
            Some("l3s") => Ok(Self::L3s),
            Some(other) => Err(bad(option::IPVLAN_MODE, other)),
        }
    }
}

/// Options that no driver would obey are refused by name; those every driver with interfaces knows are let through.
pub(crate) fn refuse_others(driver: &str, options: &BTreeMap<String, String>, known: &[&str]) -> Result<()> {
    let every = [option::MTU, option::IFACE_PREFIX];
    match options
        .keys()
        .find(|name| !known.contains(&name.as_str()) && !every.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("unknown option {name} of the {driver} network driver"),
        )),
    }
}

/// An interface's name as the kernel takes it (`dev_valid_name`); empty is left to the caller.
pub(crate) fn check_interface(what: &str, name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if name.len() > 15 || !name.bytes().all(plain) || matches!(name, "." | "..") {
        return Err(bad(what, name));
    }
    Ok(())
}

fn flag(options: &BTreeMap<String, String>, name: &str, unsaid: bool) -> Result<bool> {
    // What Go's ParseBool takes.
    match options.get(name).map(String::as_str) {
        None | Some("") => Ok(unsaid),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(bad(name, other)),
    }
}

fn address(options: &BTreeMap<String, String>, name: &str) -> Result<Option<IpAddr>> {
    match options.get(name).map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| bad(name, text)),
    }
}

fn gateway_mode(options: &BTreeMap<String, String>, name: &str) -> Result<GatewayMode> {
    match options.get(name).map(String::as_str) {
        None | Some("" | "nat") => Ok(GatewayMode::Nat),
        Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
        Some("routed") => Ok(GatewayMode::Routed),
        Some("isolated") => Ok(GatewayMode::Isolated),
        Some(other) => Err(bad(name, other)),
    }
}

fn bad(name: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for network option {name}: \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_bridge_left_alone_is_docker_s() {
        let read = BridgeOptions::read(&BTreeMap::new()).unwrap();
        assert!(read.icc && read.masquerade && read.name.is_empty());
        assert_eq!(
            (read.mode4, read.link.mtu, read.link.prefix.as_str()),
            (GatewayMode::Nat, 0, "eth")
        );
    }

    #[test]
    fn what_cannot_be_obeyed_is_named() {
        for (name, value) in [
            (option::ICC, "yes"),
            (option::MTU, "12"),
            (option::BRIDGE_NAME, "a-name-of-sixteen"),
            (option::BINDING_IPV4, "here"),
            (option::GATEWAY_MODE_IPV4, "open"),
            (option::IFACE_PREFIX, "a/b"),
            ("com.example.unknown", "1"),
        ] {
            let error = BridgeOptions::read(&given(&[(name, value)])).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn an_overlay_s_number_has_24_bits() {
        let read = |pairs: &[(&str, &str)]| OverlayOptions::read(&given(pairs));
        assert_eq!(read(&[]).unwrap().vni, None);
        let all = read(&[(option::VXLAN_IDS, "4097"), (option::ENCRYPTED, "")]).unwrap();
        assert!(all.vni == Some(4097) && all.encrypted);
        assert!(!read(&[(option::ENCRYPTED, "false")]).unwrap().encrypted);
        for bad in ["0", "16777216", "4097,4098", "x"] {
            assert!(read(&[(option::VXLAN_IDS, bad)]).is_err(), "{bad}");
        }
        assert!(read(&[("parent", "eth0")]).is_err());
    }

    #[test]
    fn modes() {
        assert_eq!(
            MacvlanMode::read(&given(&[("macvlan_mode", "vepa")])).unwrap(),
            MacvlanMode::Vepa
        );
        assert_eq!(
            IpvlanMode::read(&given(&[("ipvlan_mode", "l3s")])).unwrap(),
            IpvlanMode::L3s
        );
        assert!(IpvlanMode::read(&given(&[("ipvlan_mode", "l4")])).is_err());
    }
}
