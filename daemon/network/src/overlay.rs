//! What the hosts of an overlay network tell each other, kept in etcd.
//!
//! [`Cluster`] holds all of it in memory and follows etcd's changes; reads never wait. Writes are etcd transactions, so two
//! hosts never take one name, VXLAN number, subnet or address; without etcd they say `unavailable`.
//!
//! Only membership ([`Host`]) hangs on a lease. What containers stand on (networks, addresses, endpoints) stays until it is taken
//! back by name: a host that loses etcd goes on talking, and its addresses are given to nobody. When it returns it catches
//! up ([`Cluster::reconcile`]); a host that never returns is cleared by hand ([`Cluster::evict`]).
//!
//! Devices, forwarding entries and neighbours are the overlay driver's, from [`Cluster::watch`].

mod claims;
mod client;
mod cluster;
mod follow;
mod keys;
mod networks;
mod records;
mod state;
mod wire;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use cluster::Cluster;
pub use records::{AddressClaim, ClusterEndpoint, ClusterNetwork, Host};
pub use state::{Change, Changes, News, State};

/// How to reach etcd, and who we are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://10.0.0.1:2379`, `https://...`; tried in turn.
    pub endpoints: Vec<String>,
    pub user: Option<User>,
    /// Certificates for `https` endpoints; without it the system's authorities are trusted.
    pub tls: Option<Tls>,
    /// This host's id: it stays the same over restarts.
    pub host: String,
    /// Where other hosts send VXLAN packets for us.
    pub vtep: IpAddr,
    /// How long we count as a member without a word of ours.
    pub lease: Duration,
}

#[derive(Clone)]
pub struct User {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// PEM files.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub authorities: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Settings {
    /// One endpoint and no secrets.
    pub fn plain(endpoint: impl Into<String>, host: impl Into<String>, vtep: IpAddr) -> Self {
        Self {
            endpoints: vec![endpoint.into()],
            user: None,
            tls: None,
            host: host.into(),
            vtep,
            lease: Duration::from_secs(30),
        }
    }
}
