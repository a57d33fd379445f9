//! Addresses and subnets of both families as numbers.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of this number, in the family of the subnet it was reckoned in.
pub fn address(number: u128, of: &IpNet) -> IpAddr {
    match of {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(
            u32::try_from(number).expect("a number within an IPv4 subnet has 32 bits"),
        )),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// The first and the last number of a subnet.
pub fn ends(net: &IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

pub fn same_family(a: &IpNet, b: &IpNet) -> bool {
    matches!((a, b), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let ((a_first, a_last), (b_first, b_last)) = (ends(a), ends(b));
    same_family(a, b) && a_first <= b_last && b_first <= a_last
}
