//! Subnets of `network create`, and which range, gateway and auxiliary address belongs to which.

use std::net::IpAddr;

use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::error::{Error, Result};

/// What the flags say of a network's addresses.
pub(crate) fn ipam(parsed: &Parsed) -> Result<pb::Ipam> {
    Ok(pb::Ipam {
        driver: parsed.text("ipam-driver").unwrap_or_default().to_owned(),
        options: super::pairs(parsed.all("ipam-opt")),
        pools: pools(parsed).map_err(Error::refused)?,
    })
}

fn pools(parsed: &Parsed) -> Result<Vec<pb::AddressPool>, String> {
    let (subnets, ranges, gateways) = (
        split(parsed, "subnet"),
        split(parsed, "ip-range"),
        split(parsed, "gateway"),
    );
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut pools = apart(subnets)?;
    for range in ranges {
        let mut found = false;
        for pool in &mut pools {
            if !Subnet::read(&pool.subnet)?.holds_text(&range)? {
                continue;
            }
            if !pool.range.is_empty() {
                return Err(format!(
                    "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                    pool.range, pool.subnet
                ));
            }
            pool.range.clone_from(&range);
            found = true;
        }
        if !found {
            return Err(format!("no matching subnet for range {range}"));
        }
    }
    for gateway in gateways {
        let mut found = false;
        for pool in &mut pools {
            if !Subnet::read(&pool.subnet)?.holds_text(&gateway)? {
                continue;
            }
            if !pool.gateway.is_empty() {
                return Err(format!(
                    "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                    pool.gateway, pool.subnet
                ));
            }
            pool.gateway.clone_from(&gateway);
            found = true;
        }
        if !found {
            return Err(format!("no matching subnet for gateway {gateway}"));
        }
    }
    for (name, address) in super::pairs(parsed.all("aux-address")) {
        let mut found = false;
        for pool in &mut pools {
            if Subnet::read(&pool.subnet)?.holds_text(&address)? {
                pool.auxiliary.insert(name.clone(), address.clone());
                found = true;
            }
        }
        if !found {
            return Err(format!("no matching subnet for aux-address {address}"));
        }
    }
    Ok(pools)
}

/// The values of a flag that may be given several times, or once with commas.
fn split(parsed: &Parsed, flag: &str) -> Vec<String> {
    let parts = parsed.all(flag).iter().flat_map(|text| text.split(','));
    parts.map(|part| part.trim().to_owned()).collect()
}

/// A pool per subnet; no two of which may share addresses.
fn apart(subnets: Vec<String>) -> Result<Vec<pb::AddressPool>, String> {
    let mut pools: Vec<pb::AddressPool> = Vec::new();
    for subnet in subnets {
        for other in &pools {
            if Subnet::read(&subnet)?.holds_text(&other.subnet)? || Subnet::read(&other.subnet)?.holds_text(&subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".into());
            }
        }
        pools.push(pb::AddressPool {
            subnet,
            ..pb::AddressPool::default()
        });
    }
    Ok(pools)
}

/// An address and how many of its bits are the subnet's.
struct Subnet {
    address: IpAddr,
    length: u32,
}

impl Subnet {
    fn read(text: &str) -> Result<Self, String> {
        Self::of(text).ok_or_else(|| format!("invalid subnet: invalid CIDR address: {text}"))
    }

    fn of(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = length.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (length <= most).then_some(Self { address, length })
    }

    /// Whether an address, or the first of a subnet, lies in it; what cannot be read lies nowhere.
    fn holds_text(&self, text: &str) -> Result<bool, String> {
        if !text.contains('/') {
            return Ok(text.parse().is_ok_and(|address| self.holds(address)));
        }
        let other = Self::of(text).ok_or_else(|| format!("invalid CIDR address: {text}"))?;
        Ok(self.holds(other.address))
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (ours, theirs, bits) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        let shift = bits - self.length;
        // A shift by all bits leaves nothing to compare.
        ours.checked_shr(shift).unwrap_or(0) == theirs.checked_shr(shift).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Outcome};

    fn read(flags: &str) -> Result<pb::Ipam> {
        let line = format!("network create {flags} web");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match cli::parse(&words, None, 80) {
            Outcome::Run { parsed, .. } => ipam(&parsed),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn ranges_and_gateways_find_their_subnets() {
        let flags = "--subnet 10.1.0.0/16 --subnet fd00:1::/64,10.2.0.0/16 --gateway 10.2.0.1 --gateway fd00:1::1 \
                     --ip-range 10.1.5.0/24 --aux-address a=10.1.0.9 --aux-address b=fd00:1::9 --ipam-opt k=v";
        let ipam = read(flags).unwrap();
        let shown: Vec<_> = ipam
            .pools
            .iter()
            .map(|pool| (pool.subnet.as_str(), pool.range.as_str(), pool.gateway.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("10.1.0.0/16", "10.1.5.0/24", ""),
                ("fd00:1::/64", "", "fd00:1::1"),
                ("10.2.0.0/16", "", "10.2.0.1")
            ]
        );
        assert_eq!(ipam.pools[0].auxiliary["a"], "10.1.0.9");
        assert_eq!(ipam.pools[1].auxiliary["b"], "fd00:1::9");
        assert_eq!(ipam.options["k"], "v");
        assert!(read("").unwrap().pools.is_empty());
        assert_eq!(
            read("--subnet 0.0.0.0/0 --gateway 9.9.9.9").unwrap().pools[0].gateway,
            "9.9.9.9"
        );
    }

    #[test]
    fn errors_are_docker_s() {
        for (flags, want) in [
            (
                "--gateway 10.0.0.1",
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                "--subnet 10.0.0.0/8 --subnet 10.1.0.0/16",
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                "--subnet 10.0.0.0/24 --gateway 10.0.1.1",
                "no matching subnet for gateway 10.0.1.1",
            ),
            (
                "--subnet 10.0.0.0/24 --ip-range 10.0.1.0/28",
                "no matching subnet for range 10.0.1.0/28",
            ),
            (
                "--subnet 10.0.0.0/24 --aux-address a=1.1.1.1",
                "no matching subnet for aux-address 1.1.1.1",
            ),
            (
                "--subnet x --gateway 10.0.0.1",
                "invalid subnet: invalid CIDR address: x",
            ),
            (
                "--subnet 10.0.0.0/24 --ip-range 10.0.0.0/99",
                "invalid CIDR address: 10.0.0.0/99",
            ),
            (
                "--subnet 10.0.0.0/24 --subnet 10.9.0.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2",
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)",
            ),
            (
                "--subnet 10.0.0.0/24 --subnet 10.9.0.0/24 --ip-range 10.0.0.0/28 --ip-range 10.0.0.16/28",
                "cannot configure multiple ranges (10.0.0.16/28, 10.0.0.0/28) on the same subnet (10.0.0.0/24)",
            ),
        ] {
            assert_eq!(read(flags).unwrap_err().to_string(), want, "{flags}");
        }
    }
}
