//! The firewall against a real kernel, in network namespaces of its own; both backends where it applies.

mod foreign;
mod lab;
mod manual;
mod modes;
mod published;
mod wall;

use super::{Backend, Foreign, Iptables, Nftables, Rules, Wall};
use crate::Instance;
use lab::Lab;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Nft,
    Iptables,
}

/// A wall on the lab's host.
fn wall(lab: &Lab, which: Which, rules: Rules) -> Arc<Wall> {
    lab.host.run(|| {
        let instance = Instance::new(None);
        let backend: Box<dyn Backend> = match which {
            Which::Nft => Box::new(Nftables::new(&instance)),
            Which::Iptables => Box::new(Iptables::new(&instance, false).unwrap()),
        };
        let foreign = Foreign::new(&instance, backend.as_ref());
        Arc::new(Wall::new(backend, foreign, rules).unwrap())
    })
}

#[track_caller]
fn reaches(from: &lab::Space, address: &str, answer: &str) {
    let said = from.ask_within(address, lab::LONG);
    assert_eq!(said.as_deref(), Some(answer), "{address}");
}

#[track_caller]
fn misses(from: &lab::Space, address: &str) {
    assert_eq!(from.ask(address), None, "{address}");
}
