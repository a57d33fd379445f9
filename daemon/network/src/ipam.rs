//! Address management: which subnets a network has ([`choose`]), which addresses are given ([`Addresses`]), and MACs.
//!
//! Nothing here is written down: at start the engine brings back what its records name ([`Addresses::claim`]). Rules and
//! words of refusals are Docker's (docs.docker.com/reference/cli/docker/network/create, "networking overview").

mod addresses;
mod choose;
mod number;
mod ranges;

use crate::Result;
use gantry_core::network::{EndpointSettings, MacAddress, Pool};
use gantry_core::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};

pub use addresses::{Addresses, Reservation};
pub use choose::{AddressPool, choose, docker_pools, unique_local};

/// The MAC of an endpoint: the one asked for, one that follows from its IPv4 address (`02:42` and the address, so that a
/// neighbour's memory of an address stays right), or a random one.
pub fn mac(wanted: Option<MacAddress>, ipv4: Option<Ipv4Addr>) -> Result<MacAddress> {
    match (wanted, ipv4) {
        (Some(mac), _) if mac.0[0] & 1 == 1 || mac.0 == [0; 6] => Err(Error::invalid(format!(
            "invalid MAC address: {mac} is not the address of one interface"
        ))
        .into()),
        (Some(mac), _) => Ok(mac),
        (None, Some(ipv4)) => {
            let [a, b, c, d] = ipv4.octets();
            Ok(MacAddress([0x02, 0x42, a, b, c, d]))
        }
        (None, None) => Ok(MacAddress::from_random(rand::random())),
    }
}

/// Whether the addresses that a container asks for can be had in a network of these pools; `configured` says that the
/// user gave the network its subnets.
pub fn check_static(pools: &[Pool], configured: bool, settings: &EndpointSettings) -> Result<()> {
    let wanted = [settings.ipv4.map(IpAddr::V4), settings.ipv6.map(IpAddr::V6)];
    for address in wanted.into_iter().flatten() {
        if !configured {
            return Err(Error::invalid(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            )
            .into());
        }
        if pool_of(pools, address).is_none() {
            return Err(Error::invalid(format!(
                "invalid endpoint settings: no configured subnet or ip-range contain the IP address {address}"
            ))
            .into());
        }
    }
    Ok(())
}

/// The pool whose subnet holds the address.
pub fn pool_of(pools: &[Pool], address: IpAddr) -> Option<usize> {
    pools.iter().position(|pool| pool.subnet.contains(&address))
}

/// `Address already in use`, and which.
fn in_use(address: IpAddr) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        format!("Address already in use: {address}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        let derived = mac(None, Some("172.17.0.2".parse().unwrap())).unwrap();
        assert_eq!(derived.to_string(), "02:42:ac:11:00:02");
        let given: MacAddress = "02:11:22:33:44:55".parse().unwrap();
        assert_eq!(mac(Some(given), Some("172.17.0.2".parse().unwrap())).unwrap(), given);
        assert_eq!(mac(None, None).unwrap().0[0] & 3, 2);
        for bad in ["01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            assert!(mac(Some(bad.parse().unwrap()), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_static_address_needs_a_subnet_of_the_user_s() {
        let pools = [Pool {
            subnet: "10.9.0.0/24".parse().unwrap(),
            range: None,
            gateway: None,
            auxiliary: Default::default(),
        }];
        let mut settings = EndpointSettings::default();
        assert!(check_static(&pools, false, &settings).is_ok());
        settings.ipv4 = Some("10.9.0.7".parse().unwrap());
        assert!(check_static(&pools, true, &settings).is_ok());
        let error = check_static(&pools, false, &settings).unwrap_err().to_string();
        assert!(
            error.starts_with("user specified IP address is supported only"),
            "{error}"
        );
        settings.ipv4 = Some("10.9.1.7".parse().unwrap());
        let error = check_static(&pools, true, &settings).unwrap_err().to_string();
        assert!(error.contains("contain the IP address 10.9.1.7"), "{error}");
    }
}
