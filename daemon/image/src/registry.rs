//! Registries: where an image comes from, and where it goes.
//!
//! A [`Repository`] is one repository for the time of one pull or push: it knows the endpoints to try (mirrors, then the registry
//! itself), keeps the token it was given, checks every digest, and reads blobs on after a broken connection.
//! (OCI distribution specification 1.1; Docker's token authentication.)

mod access;
mod auth;
mod blob;
mod flow;
mod hosts;
mod http;
mod manifest;
mod tls;
mod upload;

pub use access::{Access, Login, Question, Scheme, WireLog};
pub use auth::Credentials;
pub(crate) use blob::{Chunk, Step};
pub(crate) use upload::{Sent, UploadStep};

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

    /// For pulling, unless said otherwise by [`Repository::for_push`].
    pub(crate) fn repository(self: &Arc<Self>, reference: &Reference, access: Access) -> Result<Repository> {
        Ok(Repository {
            registries: self.clone(),
            reference: reference.clone(),
            endpoints: self.endpoints(reference.domain(), &access)?,
            access,
            pushing: false,
            scopes: Vec::new(),
            asked: tokio::sync::Mutex::new(BTreeMap::new()),
            tokens: Mutex::new(BTreeMap::new()),
        })
    }

    fn endpoints(&self, domain: &str, access: &Access) -> Result<Vec<Endpoint>> {
        let host = if domain == DEFAULT_DOMAIN { DOCKER_HOST } else { domain };
        if let Some(root) = &access.host_dir
            && let Some(endpoints) = hosts::endpoints(root, domain, host, access.scheme, &self.config)?
        {
            return Ok(endpoints);
        }
        let mut endpoints = Vec::new();
        for url in self.config.mirrors.get(domain).into_iter().flatten() {
            let mut endpoint = Endpoint::mirror(url, false)?;
            endpoint.lax = self.is_insecure(&endpoint.host);
            endpoints.push(endpoint);
        }
        let mut origin = Endpoint::origin(host, self.is_insecure(host) || access.scheme == Some(Scheme::Http));
        if let Some(scheme) = access.scheme {
            origin.retain(|one| one.base.starts_with(&format!("{}://", scheme.name())));
        }
        endpoints.extend(origin);
        Ok(endpoints)
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

/// One repository, for the time of one pull or push.
pub(crate) struct Repository {
    registries: Arc<Registries>,
    reference: Reference,
    endpoints: Vec<Endpoint>,
    access: Access,
    pushing: bool,
    /// What tokens are asked for beside what a registry says it wants.
    scopes: Vec<String>,
    /// Logins that were asked for last, by host.
    asked: tokio::sync::Mutex<BTreeMap<String, Option<Credentials>>>,
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

    fn client<'a>(&'a self, endpoint: &'a Endpoint) -> &'a Client {
        endpoint.client.as_deref().unwrap_or(&self.registries.client)
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
        log: None,
    };
    Ok(Client::new(config).send(&ask, false).await?.status().as_u16())
}

#[cfg(test)]
mod tests;
