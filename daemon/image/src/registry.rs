//! Registries: where an image comes from.
//!
//! A [`Repository`] is one repository for the time of one pull: it knows the endpoints to try (mirrors, then the registry
//! itself), keeps the token it was given, checks every digest, and reads blobs on after a broken connection.
//! (OCI distribution specification 1.1; Docker's token authentication.)

mod auth;
mod blob;
mod http;
mod manifest;
mod tls;

pub use auth::Credentials;
pub(crate) use blob::{Chunk, Step};

use self::http::{Client, Endpoint};
use crate::error::{ImageError, Result};
use gantry_core::reference::{DEFAULT_DOMAIN, Reference};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where Docker's own registry really answers.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// `host[:port]` or CIDR: unverified https, then http. Loopback always is.
    pub insecure: Vec<String>,
    /// Registry domain to URLs (`http://host:port`) tried before it, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// PEM files with certificate authorities beside the system's.
    pub ca_files: Vec<PathBuf>,
    pub connect_timeout: Duration,
    /// Longest silence in an answer.
    pub stall_timeout: Duration,
    /// Attempts without a single new byte before giving up.
    pub attempts: u32,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            ca_files: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            attempts: 5,
        }
    }
}

/// The client of all registries; shared.
pub struct Registries {
    config: RegistryConfig,
    client: Client,
}

impl Registries {
    pub fn new(config: RegistryConfig) -> Result<Self> {
        for url in config.mirrors.values().flatten() {
            Endpoint::mirror(url, false)?;
        }
        for entry in &config.insecure {
            if entry.is_empty() || entry.contains("://") {
                return Err(ImageError::Settings {
                    detail: format!("insecure registry \"{entry}\" must be host[:port] or an address range"),
                });
            }
        }
        let client = Client::new(&config);
        Ok(Self { config, client })
    }

    pub(crate) fn repository(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Repository> {
        let domain = reference.domain();
        let mut endpoints = Vec::new();
        for url in self.config.mirrors.get(domain).into_iter().flatten() {
            let mut endpoint = Endpoint::mirror(url, false)?;
            endpoint.lax = self.is_insecure(&endpoint.host);
            endpoints.push(endpoint);
        }
        let host = if domain == DEFAULT_DOMAIN { DOCKER_HOST } else { domain };
        endpoints.extend(Endpoint::origin(host, self.is_insecure(host)));
        Ok(Repository {
            registries: self.clone(),
            reference: reference.clone(),
            endpoints,
            credentials,
            tokens: Mutex::new(BTreeMap::new()),
        })
    }

    fn is_insecure(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => host.split(':').next().unwrap_or(host),
        };
        let address: Option<IpAddr> = name.parse().ok();
        name == "localhost"
            || address.is_some_and(|address| address.is_loopback())
            || self.config.insecure.iter().any(|entry| match entry.split_once('/') {
                Some((net, bits)) => address.is_some_and(|address| is_within(address, net, bits)),
                None => entry == host || entry == name,
            })
    }
}

/// One repository, for the time of one pull.
pub(crate) struct Repository {
    registries: Arc<Registries>,
    reference: Reference,
    endpoints: Vec<Endpoint>,
    credentials: Option<Credentials>,
    /// `Authorization` values by endpoint.
    tokens: Mutex<BTreeMap<String, String>>,
}

impl Repository {
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    fn config(&self) -> &RegistryConfig {
        &self.registries.config
    }
}

fn is_within(address: IpAddr, net: &str, bits: &str) -> bool {
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (a, b, width) = match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
}

/// Whether an address answers, certificates checked.
#[cfg(test)]
pub(crate) async fn reach(config: &RegistryConfig, url: &str) -> Result<u16> {
    let ask = http::Ask {
        method: ::http::Method::GET,
        url: url.to_owned(),
        headers: ::http::HeaderMap::new(),
        authorization: None,
        body: bytes::Bytes::new(),
    };
    Ok(Client::new(config).send(&ask, false).await?.status().as_u16())
}

#[cfg(test)]
mod tests;
