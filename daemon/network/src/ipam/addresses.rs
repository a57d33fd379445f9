//! Which addresses of each network's pools are given.

use super::choose::usable;
use super::in_use;
use super::number::{address, ends, number};
use super::ranges::Ranges;
use crate::Result;
use gantry_core::network::{NetworkId, Pool};
use gantry_core::{Error, ErrorKind};
use ipnet::IpNet;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of all networks of this daemon. Clones are the same one.
///
/// The lowest free one is given, as Docker does: who comes back finds itself where it was.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<Mutex<HashMap<NetworkId, Vec<State>>>>);

/// One pool.
#[derive(Debug)]
struct State {
    subnet: IpNet,
    /// What is given without being asked for by name.
    first: u128,
    last: u128,
    /// Everything that cannot be given: `given`, the gateway, what is someone else's, the ends of the subnet.
    held: Ranges,
    /// To endpoints.
    given: Ranges,
}

impl State {
    fn new(pool: &Pool) -> Self {
        let (low, high) = usable(&pool.subnet);
        let (first, last) = ends(&pool.range.unwrap_or(pool.subnet));
        let mut held = Ranges::default();
        for address in pool.gateway.iter().chain(pool.auxiliary.values()) {
            held.insert(number(*address));
        }
        Self {
            subnet: pool.subnet,
            first: first.max(low),
            last: last.min(high),
            held,
            given: Ranges::default(),
        }
    }

    fn give(&mut self, wanted: Option<IpAddr>) -> Result<IpAddr> {
        let at = match wanted {
            Some(wanted) => self.wanted(wanted)?,
            None => self.any()?,
        };
        if !self.held.insert(at) {
            return Err(in_use(address(at, &self.subnet)).into());
        }
        self.given.insert(at);
        Ok(address(at, &self.subnet))
    }

    /// An address may be asked for outside the range, but not outside the subnet.
    fn wanted(&self, wanted: IpAddr) -> Result<u128> {
        let (low, high) = usable(&self.subnet);
        if !self.subnet.contains(&wanted) || !(low..=high).contains(&number(wanted)) {
            return Err(Error::invalid(format!(
                "requested address {wanted} is out of range of subnet {}",
                self.subnet
            ))
            .into());
        }
        Ok(number(wanted))
    }

    fn any(&self) -> Result<u128> {
        self.held.first_free(self.first, self.last).ok_or_else(|| {
            let text = format!("no available addresses on this pool: {}", self.subnet);
            Error::new(ErrorKind::ResourceExhausted, text).into()
        })
    }

    fn release(&mut self, address: IpAddr) -> bool {
        let at = number(address);
        self.given.remove(at) && self.held.remove(at)
    }
}

impl Addresses {
    /// Makes a network's pools known. Those that are known already keep what is given from them.
    pub fn add(&self, network: &NetworkId, pools: &[Pool]) {
        let mut networks = self.0.lock();
        let states = networks.entry(network.clone()).or_default();
        let known: Vec<IpNet> = states.iter().map(|state| state.subnet).collect();
        if known != pools.iter().map(|pool| pool.subnet).collect::<Vec<_>>() {
            *states = pools.iter().map(State::new).collect();
        }
    }

    /// Forgets a network and all that was given from it.
    pub fn remove(&self, network: &NetworkId) {
        self.0.lock().remove(network);
    }

    /// An address of the network's pool of that index: the one wanted, or the lowest that is free.
    pub fn reserve(&self, network: &NetworkId, pool: usize, wanted: Option<IpAddr>) -> Result<Reservation> {
        let mut networks = self.0.lock();
        let state = networks.get_mut(network).and_then(|states| states.get_mut(pool));
        let state = state.ok_or_else(|| Error::not_found(format!("network {network} has no address pool {pool}")))?;
        Ok(Reservation {
            address: state.give(wanted)?,
            subnet: state.subnet,
            network: network.clone(),
            of: Some(self.clone()),
        })
    }

    /// At start: an address that a record says is given. Taken twice is an error, and so is one of no pool of the network's.
    pub fn claim(&self, network: &NetworkId, address: IpAddr) -> Result<()> {
        let mut networks = self.0.lock();
        let states = networks.get_mut(network).into_iter().flatten();
        let state = states.into_iter().find(|state| state.subnet.contains(&address));
        let state = state.ok_or_else(|| Error::not_found(format!("no pool of network {network} has {address}")))?;
        state.give(Some(address)).map(drop)
    }

    /// Whether it was given: it is released exactly once.
    pub fn release(&self, network: &NetworkId, address: IpAddr) -> bool {
        let mut networks = self.0.lock();
        let states = networks.get_mut(network).into_iter().flatten();
        let state = states.into_iter().find(|state| state.subnet.contains(&address));
        state.is_some_and(|state| state.release(address))
    }
}

/// An address that is taken back when this is dropped, unless [`Reservation::keep`] was called.
#[derive(Debug)]
#[must_use = "an address is released when its reservation is dropped"]
pub struct Reservation {
    address: IpAddr,
    subnet: IpNet,
    network: NetworkId,
    of: Option<Addresses>,
}

impl Reservation {
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// With the length of its subnet, as an interface gets it.
    pub fn with_length(&self) -> IpNet {
        IpNet::new(self.address, self.subnet.prefix_len()).expect("an address of a subnet takes the subnet's length")
    }

    /// From now on it belongs to a record, and is given back by [`Addresses::release`].
    pub fn keep(mut self) -> IpAddr {
        self.of = None;
        self.address
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(addresses) = self.of.take() {
            addresses.release(&self.network, self.address);
        }
    }
}

#[cfg(test)]
mod tests;
