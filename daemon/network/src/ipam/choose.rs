//! Which subnets, ranges and gateways a network gets.

use super::in_use;
use super::number::{address, ends, number, overlap, same_family};
use crate::Result;
use gantry_core::network::{Pool, PoolRequest};
use gantry_core::{Error, ErrorKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where subnets of one size are taken from when a network names none (`default-address-pools`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    base: IpNet,
    size: u8,
}

impl AddressPool {
    /// `size` is the prefix length of each subnet.
    pub fn new(base: IpNet, size: u8) -> Result<Self> {
        let base = base.trunc();
        if size < base.prefix_len() || size > base.max_prefix_len() {
            return Err(Error::invalid(format!(
                "invalid default address pool {base}: its subnets cannot have the size /{size}"
            ))
            .into());
        }
        Ok(Self { base, size })
    }

    pub fn base(&self) -> IpNet {
        self.base
    }

    pub fn size(&self) -> u8 {
        self.size
    }
}

/// Docker's predefined pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in /20s.
pub fn docker_pools() -> Vec<AddressPool> {
    let pool = |base: Ipv4Addr, length, size| AddressPool {
        base: Ipv4Net::new_assert(base, length).into(),
        size,
    };
    let mut pools: Vec<_> = (17..=31).map(|n| pool(Ipv4Addr::new(172, n, 0, 0), 16, 16)).collect();
    pools.push(pool(Ipv4Addr::new(192, 168, 0, 0), 16, 20));
    pools
}

/// A daemon's own IPv6 pool: a /48 of `fd00::/8` (RFC 4193) by its 40 random bits, in /64s.
pub fn unique_local(global_id: [u8; 5]) -> AddressPool {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&global_id);
    AddressPool {
        base: Ipv6Net::new_assert(Ipv6Addr::from(octets), 48).into(),
        size: 64,
    }
}

/// The pools of a new network, IPv4 before IPv6, in the order asked for. `taken` are the subnets of other networks; `routes`
/// those that the host has routes to, which only a subnet that we choose ourselves must keep away from. Requests of a
/// family that the network does not have are passed over, as Docker does.
pub fn choose(
    requests: &[PoolRequest],
    ipv4: bool,
    ipv6: bool,
    taken: &[IpNet],
    routes: &[IpNet],
    defaults: &[AddressPool],
) -> Result<Vec<Pool>> {
    if !ipv4 && !ipv6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled").into());
    }
    let mut occupied = taken.to_vec();
    let mut pools = Vec::new();
    let wanted = |request: &&PoolRequest| match request.subnet {
        Some(IpNet::V4(_)) => ipv4,
        Some(IpNet::V6(_)) => ipv6,
        None => true,
    };
    let asked: Vec<&PoolRequest> = requests.iter().filter(wanted).collect();
    check(&asked)?;
    for (any, is_wanted) in [(any4(), ipv4), (any6(), ipv6)] {
        let of_family = |net: &IpNet| same_family(net, &any);
        let given: Vec<_> = asked
            .iter()
            .filter(|r| r.subnet.as_ref().is_some_and(of_family))
            .collect();
        for request in &given {
            let pool = completed(request)?;
            if occupied.iter().any(|other| overlap(other, &pool.subnet)) {
                return Err(overlaps().into());
            }
            occupied.push(pool.subnet);
            pools.push(pool);
        }
        if is_wanted && given.is_empty() {
            let busy = occupied.iter().chain(routes).filter(|net| net.prefix_len() > 0);
            let busy: Vec<IpNet> = busy.copied().collect();
            let subnet = predefined(&any, &busy, defaults)?;
            let request = PoolRequest {
                subnet: Some(subnet),
                ..PoolRequest::default()
            };
            occupied.push(subnet);
            pools.push(completed(&request)?);
        }
    }
    Ok(pools)
}

fn any4() -> IpNet {
    Ipv4Net::default().into()
}

fn any6() -> IpNet {
    Ipv6Net::default().into()
}

fn overlaps() -> Error {
    let text = "invalid pool request: Pool overlaps with other one on this address space";
    Error::new(ErrorKind::PermissionDenied, text)
}

/// The first subnet of the default pools that touches nothing; what is busy is leapt over.
fn predefined(family: &IpNet, busy: &[IpNet], defaults: &[AddressPool]) -> Result<IpNet> {
    for pool in defaults.iter().filter(|pool| same_family(&pool.base, family)) {
        let (mut at, last) = ends(&pool.base);
        while at <= last {
            let subnet = IpNet::new(address(at, &pool.base), pool.size)
                .expect("a pool's size was checked")
                .trunc();
            let Some(other) = busy
                .iter()
                .filter(|other| overlap(other, &subnet))
                .max_by_key(|net| ends(net).1)
            else {
                return Ok(subnet);
            };
            let beyond = ends(other).1.max(ends(&subnet).1);
            let Some(next) = beyond.checked_add(1) else { break };
            at = next;
        }
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        "all predefined address pools have been fully subnetted",
    )
    .into())
}

/// A request with its gateway. Aux addresses are never chosen.
fn completed(request: &PoolRequest) -> Result<Pool> {
    let subnet = request.subnet.expect("a request of a family has a subnet");
    let (first, last) = ends(&subnet);
    if first == last {
        return Err(Error::invalid(format!(
            "invalid subnet {subnet}: it is too small to hold a gateway and a container"
        ))
        .into());
    }
    let gateway = match request.gateway {
        Some(gateway) => gateway,
        None => first_address(request, &subnet)?,
    };
    if let Some((name, address)) = request.auxiliary.iter().find(|(_, address)| **address == gateway) {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            format!(
                "failed to allocate secondary ip address ({name}:{address}): {}",
                in_use(*address)
            ),
        )
        .into());
    }
    Ok(Pool {
        subnet,
        range: request.range,
        gateway: Some(gateway),
        auxiliary: request.auxiliary.clone(),
    })
}

fn first_address(request: &PoolRequest, subnet: &IpNet) -> Result<IpAddr> {
    let (low, high) = usable(subnet);
    let (first, last) = ends(&request.range.unwrap_or(*subnet));
    let (mut at, last) = (first.max(low), last.min(high));
    while at <= last {
        let candidate = address(at, subnet);
        if !request.auxiliary.values().any(|aux| *aux == candidate) {
            return Ok(candidate);
        }
        at += 1;
    }
    Err(Error::new(ErrorKind::ResourceExhausted, "no available addresses on this pool").into())
}

/// The ends of what interfaces may have: IPv4 subnets above /31 have a network and a broadcast address, IPv6 ones above
/// /127 an anycast address of their routers (RFC 4291 2.6.1).
pub fn usable(subnet: &IpNet) -> (u128, u128) {
    let (first, last) = ends(subnet);
    match (subnet, last - first) {
        (_, 0 | 1) => (first, last),
        (IpNet::V4(_), _) => (first + 1, last - 1),
        (IpNet::V6(_), _) => (first + 1, last),
    }
}

/// Everything that is wrong with what was asked, at once.
fn check(requests: &[&PoolRequest]) -> Result<()> {
    let mut faults = Vec::new();
    for request in requests {
        match &request.subnet {
            Some(subnet) => check_one(request, subnet, &mut faults),
            None if **request == PoolRequest::default() => {}
            None => {
                faults.push("every ip-range, gateway or auxiliary address must have a corresponding subnet".to_owned())
            }
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::invalid(one.clone()).into()),
        several => Err(Error::invalid(format!("invalid network config:\n{}", several.join("\n"))).into()),
    }
}

fn check_one(request: &PoolRequest, subnet: &IpNet, faults: &mut Vec<String>) {
    if *subnet != subnet.trunc() {
        faults.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
    }
    let subnet = subnet.trunc();
    if let Some(range) = &request.range
        && let Some(fault) = range_fault(range, &subnet)
    {
        faults.push(format!("invalid ip-range {range}: {fault}"));
    }
    if let Some(gateway) = request.gateway
        && let Some(fault) = address_fault(gateway, &subnet)
    {
        faults.push(format!("invalid gateway {gateway}: {fault}"));
    }
    for (name, address) in &request.auxiliary {
        if let Some(fault) = address_fault(*address, &subnet) {
            faults.push(format!("invalid auxiliary address {name}: {fault}"));
        }
    }
}

fn range_fault(range: &IpNet, subnet: &IpNet) -> Option<String> {
    if !same_family(range, subnet) {
        return Some(wrong_family(subnet));
    }
    if range.prefix_len() < subnet.prefix_len() {
        return Some(format!("CIDR block is bigger than its parent subnet {subnet}"));
    }
    if *range != range.trunc() {
        return Some(format!("it should be {}", range.trunc()));
    }
    (!subnet.contains(range)).then(|| format!("parent subnet {subnet} doesn't contain ip-range"))
}

fn address_fault(address: IpAddr, subnet: &IpNet) -> Option<String> {
    if address.is_ipv4() != matches!(subnet, IpNet::V4(_)) {
        return Some(wrong_family(subnet));
    }
    if !subnet.contains(&address) {
        return Some(format!("parent subnet {subnet} doesn't contain this address"));
    }
    let (low, high) = usable(subnet);
    (!(low..=high).contains(&number(address)))
        .then(|| format!("it is the network or broadcast address of its parent subnet {subnet}"))
}

fn wrong_family(subnet: &IpNet) -> String {
    let version = if matches!(subnet, IpNet::V4(_)) { 4 } else { 6 };
    format!("parent subnet is an IPv{version} block")
}

#[cfg(test)]
mod tests;
