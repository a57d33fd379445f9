//! What clients are shown. What a version does not know is `None` and left out.

mod container;
mod host;
mod image;
mod network;

pub use container::{
    Config, Container, GraphDriver, ListedPort, MountPoint, State, Summary, SummaryHost, SummaryNetworks,
};
pub use host::{Host, HostPort, Log, Resources, Restart, Ulimit};
pub use image::{Image, ImageMetadata, ImageRow, RootFs};
pub use network::{ConfigFrom, Endpoint, EndpointIpam, Ipam, IpamPool, Member, Network, NetworkSettings};

use serde::Serialize;
use std::collections::BTreeMap;

/// Keys in order, whatever they are.
pub type Table<T> = BTreeMap<String, T>;
/// `{}` as a value of a set.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Nothing {}

fn none<T>(value: &Option<T>) -> bool {
    value.is_none()
}

fn blank(text: &str) -> bool {
    text.is_empty()
}

fn zero(number: &i64) -> bool {
    *number == 0
}
