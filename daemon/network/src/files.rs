//! The texts of a container's `hostname`, `hosts` and `resolv.conf`. Only the host's own resolver file is read here; who
//! writes, and where, is the engine's affair.

mod hosts;
mod resolv;

pub use hosts::{Hosts, hosts};
pub use resolv::{DnsSettings, HostResolver, ResolvConf, Upstream, Way, resolv_conf};

/// Where a container with embedded names asks.
pub const EMBEDDED: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);

pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}
