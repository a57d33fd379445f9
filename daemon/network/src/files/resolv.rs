//! `/etc/resolv.conf` (resolv.conf(5)): the host's, fitted to a container.

use super::EMBEDDED;
use crate::{Error, Result};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// Where systemd-resolved says which servers it asks itself.
const RESOLVED_FILE: &str = "/run/systemd/resolve/resolv.conf";
const RESOLVED_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// Docker's, when there is no other.
const LAST_RESORT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
];
const LAST_RESORT_IPV6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];

/// What is asked by `--dns`, `--dns-search` and `--dns-option`; empty = the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsSettings {
    pub servers: Vec<IpAddr>,
    /// A single `.` = none.
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// How a container asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It shares the host's network, and so its servers.
    Host,
    /// The default bridge: straight to servers that it can reach.
    Direct { ipv6: bool },
    /// User-defined networks: the embedded server, which asks on.
    Embedded { ipv6: bool },
}

/// A server that the embedded one asks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Upstream {
    pub address: SocketAddr,
    /// It is the host's and can be reached only from there (a loopback server, a scoped address, IPv6 when the
    /// container has none).
    pub from_host: bool,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    pub text: String,
    /// For the embedded server; empty when there is none.
    pub upstreams: Vec<Upstream>,
    /// Whether a name without a dot is never asked of others: `ndots` was set above 0 by the user or the host.
    pub ndots_set: bool,
    /// The default servers were taken for want of others.
    pub warning: Option<String>,
}

/// What the host's file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostResolver {
    path: PathBuf,
    servers: Vec<Server>,
    search: Vec<String>,
    options: Vec<String>,
    other: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    address: IpAddr,
    /// The interface of a link-local address.
    zone: Option<String>,
}

impl HostResolver {
    /// The host's file, or systemd-resolved's own where the host's only points at its stub.
    pub fn find() -> Result<Self> {
        Self::find_in(Path::new("/etc/resolv.conf"), Path::new(RESOLVED_FILE))
    }

    fn find_in(usual: &Path, resolved: &Path) -> Result<Self> {
        let host = Self::read(usual)?;
        let stub = |server: &Server| server.address == RESOLVED_STUB;
        if !host.servers.is_empty() && host.servers.iter().all(stub) && resolved.exists() {
            return Self::read(resolved);
        }
        Ok(host)
    }

    /// A host without the file has no servers.
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self::parse(path, &String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::parse(path, "")),
            Err(source) => Err(Error::File {
                what: format!("read {}", path.display()),
                source,
            }),
        }
    }

    pub fn parse(path: &Path, text: &str) -> Self {
        let mut read = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            let rest = words.map(str::to_owned);
            match keyword {
                "nameserver" => read
                    .servers
                    .extend(rest.take(1).filter_map(|word| Server::parse(&word))),
                // The last one holds.
                "search" | "domain" => read.search = rest.collect(),
                "options" => read.options.extend(rest),
                _ => read.other.push(line.to_owned()),
            }
        }
        read
    }
}

impl Server {
    fn parse(text: &str) -> Option<Self> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone.to_owned())),
            None => (text, None),
        };
        Some(Self {
            address: address.parse().ok()?,
            zone,
        })
    }

    fn plain(address: IpAddr) -> Self {
        Self { address, zone: None }
    }

    fn text(&self) -> String {
        match &self.zone {
            Some(zone) => format!("{}%{zone}", self.address),
            None => self.address.to_string(),
        }
    }

    /// `None` = its interface is gone.
    fn socket_address(&self) -> Option<SocketAddr> {
        match (self.address, &self.zone) {
            (IpAddr::V6(address), Some(zone)) => {
                let scope = nix::net::if_::if_nametoindex(zone.as_str()).ok()?;
                Some(SocketAddrV6::new(address, 53, 0, scope).into())
            }
            (address, _) => Some(SocketAddr::new(address, 53)),
        }
    }
}

/// The container's file, and what its embedded server needs to know.
pub fn resolv_conf(host: &HostResolver, wanted: &DnsSettings, way: Way) -> ResolvConf {
    let overridden = !wanted.servers.is_empty();
    let (mut servers, warning) = match overridden {
        true => (wanted.servers.iter().copied().map(Server::plain).collect(), None),
        false => servers_of_host(host, way),
    };
    let mut options = match wanted.options.is_empty() {
        true => host.options.clone(),
        false => wanted.options.clone(),
    };
    let search = match wanted.search.as_slice() {
        [] => host.search.clone(),
        [dot] if dot == "." => Vec::new(),
        given => given.to_vec(),
    };
    let ndots = options.iter().find_map(|option| option.strip_prefix("ndots:"));
    let ndots_set = ndots.and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 0);
    let ndots_from = match (ndots, wanted.options.is_empty()) {
        (Some(_), true) => Some("host"),
        (Some(_), false) => Some("override"),
        (None, _) => matches!(way, Way::Embedded { .. }).then_some("internal"),
    };
    if ndots_from == Some("internal") {
        options.push("ndots:0".to_owned());
    }
    let mut upstreams = Vec::new();
    let mut external = Vec::new();
    if let Way::Embedded { ipv6 } = way {
        for server in &servers {
            let from_host = !overridden
                && (server.address.is_loopback() || server.zone.is_some() || (server.address.is_ipv6() && !ipv6));
            upstreams.extend(server.socket_address().map(|address| Upstream { address, from_host }));
            external.push(if from_host {
                format!("host({})", server.text())
            } else {
                server.text()
            });
        }
        servers = vec![Server::plain(EMBEDDED.into())];
    }

    let mut lines = vec![
        "# Generated by gantry; left alone from the moment it is edited.".to_owned(),
        String::new(),
    ];
    lines.extend(servers.iter().map(|server| format!("nameserver {}", server.text())));
    if !search.is_empty() {
        lines.push(format!("search {}", search.join(" ")));
    }
    if !options.is_empty() {
        lines.push(format!("options {}", options.join(" ")));
    }
    lines.extend(host.other.iter().cloned());
    let resolver = match way {
        Way::Embedded { .. } => "internal resolver",
        Way::Host | Way::Direct { .. } => "legacy",
    };
    lines.push(String::new());
    lines.push(format!("# Based on host file: '{}' ({resolver})", host.path.display()));
    if matches!(way, Way::Embedded { .. }) {
        lines.push(format!("# ExtServers: [{}]", external.join(" ")));
    }
    lines.push(format!("# Overrides: [{}]", overrides(wanted).join(" ")));
    lines.extend(ndots_from.map(|from| format!("# Option ndots from: {from}")));
    lines.push(String::new());
    ResolvConf {
        text: lines.join("\n"),
        upstreams,
        ndots_set,
        warning,
    }
}

fn overrides(wanted: &DnsSettings) -> Vec<&'static str> {
    let given = [
        ("nameservers", !wanted.servers.is_empty()),
        ("search", !wanted.search.is_empty()),
        ("options", !wanted.options.is_empty()),
    ];
    given.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
}

/// Of the host's servers those that can be used this way, or the last resort and a warning.
fn servers_of_host(host: &HostResolver, way: Way) -> (Vec<Server>, Option<String>) {
    let usable = |server: &&Server| match way {
        Way::Host | Way::Embedded { .. } => true,
        Way::Direct { ipv6 } => !server.address.is_loopback() && (ipv6 || server.address.is_ipv4()),
    };
    let servers: Vec<Server> = host.servers.iter().filter(usable).cloned().collect();
    let ipv6 = match way {
        Way::Host => return (servers, None),
        Way::Direct { ipv6 } | Way::Embedded { ipv6 } => ipv6,
    };
    if !servers.is_empty() {
        return (servers, None);
    }
    let mut servers = LAST_RESORT.to_vec();
    if ipv6 {
        servers.extend(LAST_RESORT_IPV6);
    }
    let names: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    let warning = format!(
        "no name server in {} can be reached from a container: using {}; set others with --dns",
        host.path.display(),
        names.join(" ")
    );
    (servers.into_iter().map(Server::plain).collect(), Some(warning))
}

#[cfg(test)]
mod tests;
