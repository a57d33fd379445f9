//! Networks that CNI plugins make ([`crate::cni`]). A network keeps the configuration that it was made with; what plugins answered for an
//! endpoint is kept in a file until it is taken back, so that a kill between the two loses nothing.

use super::Driver;
use crate::cni::{Attachment, Chain, Outcome, Programs};
use crate::{Error, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{Endpoint, Learned, LinkOptions, NameServers, NetworkRecord, option};
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// The driver of networks by plugins.
#[derive(Debug, Clone)]
pub struct Cni {
    configurations: PathBuf,
    programs: Programs,
    /// Where sandboxes' namespaces are bound, by short id.
    sandboxes: PathBuf,
    answers: PathBuf,
}

/// Whether a network of plugins publishes ports.
pub fn is_publishing(network: &NetworkRecord) -> bool {
    network.driver == "cni" && chain(network).is_ok_and(|chain| chain.is_capable("portMappings"))
}

/// The configuration that the network was made with.
fn chain(network: &NetworkRecord) -> Result<Chain> {
    match network.options.get(option::CNI_CHAIN) {
        Some(text) => Chain::parse(text),
        None => Err(Fault::internal(format!("network {} has no CNI configuration", network.name)).into()),
    }
}

impl Cni {
    /// `configurations` and `plugins` are directories; `sandboxes` is where namespaces are, `answers` where what plugins said is kept.
    pub fn new(configurations: PathBuf, plugins: Vec<PathBuf>, sandboxes: PathBuf, answers: PathBuf) -> Self {
        Self {
            configurations,
            programs: Programs(plugins),
            sandboxes,
            answers,
        }
    }

    fn answer(&self, endpoint: &Endpoint) -> PathBuf {
        self.answers.join(format!("{}.json", endpoint.id))
    }

    /// What plugins said when the endpoint was joined; `Null` = nothing, or it was cut short.
    fn said(&self, endpoint: &Endpoint) -> Result<Value> {
        let path = self.answer(endpoint);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
            Err(source) => Err(Error::File {
                what: format!("read {}", path.display()),
                source,
            }),
        }
    }

    fn keep(&self, endpoint: &Endpoint, said: &Value) -> Result<()> {
        let path = self.answer(endpoint);
        let write = || {
            fs::create_dir_all(&self.answers)?;
            let fresh = path.with_extension("new");
            fs::write(&fresh, said.to_string())?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|source| Error::File {
            what: format!("write {}", path.display()),
            source,
        })
    }

    fn forget(&self, endpoint: &Endpoint) -> Result<()> {
        let path = self.answer(endpoint);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
                what: format!("remove {}", path.display()),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn take_back(&self, network: &NetworkRecord, endpoint: &Endpoint, there: bool) -> Result<()> {
        let sandbox = self.sandboxes.join(endpoint.sandbox.short());
        let to = Attachment {
            netns: there.then_some(sandbox.as_path()),
            ..attachment(endpoint)
        };
        chain(network)?.del(&self.programs, &to, &self.said(endpoint)?)?;
        self.forget(endpoint)
    }
}

fn attachment(endpoint: &Endpoint) -> Attachment<'_> {
    let mut capabilities = Map::new();
    let mut mappings: Vec<Value> = Vec::new();
    for port in &endpoint.ports {
        let host = if port.host.is_unspecified() {
            String::new()
        } else {
            port.host.to_string()
        };
        let mapping = json!({"hostPort": port.host_port, "containerPort": port.container.number,
            "protocol": port.container.protocol.name(), "hostIP": host});
        // No address stands for all of both families.
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    if !mappings.is_empty() {
        capabilities.insert("portMappings".to_owned(), mappings.into());
    }
    if let Some(mac) = endpoint.settings.mac {
        capabilities.insert("mac".to_owned(), mac.to_string().into());
    }
    Attachment {
        container: endpoint.sandbox.as_str(),
        netns: None,
        interface: &endpoint.interface,
        args: vec![("IgnoreUnknown", "1".to_owned())],
        capabilities,
    }
}

impl Driver for Cni {
    fn name(&self) -> &str {
        "cni"
    }

    fn addresses(&self) -> bool {
        false
    }

    fn check(&self, network: &mut NetworkRecord, _: &[NetworkRecord]) -> Result<()> {
        let known = [option::CNI_NAME, option::CNI_CHAIN, option::IFACE_PREFIX];
        if let Some(other) = network.options.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(Fault::invalid(format!("unknown option {other} of the cni network driver")).into());
        }
        LinkOptions::read(&network.options)?;
        if network.internal {
            return Err(Fault::invalid("whether a CNI network leads out is for its configuration to say").into());
        }
        let chain = match network.options.get(option::CNI_CHAIN) {
            Some(text) => Chain::parse(text)?,
            None => {
                let name = network.options.get(option::CNI_NAME).unwrap_or(&network.name);
                Chain::find(&self.configurations, name)?
            }
        };
        chain.look(&self.programs)?;
        network.options.insert(option::CNI_CHAIN.to_owned(), chain.text());
        Ok(())
    }

    /// Plugins make what they need with the first endpoint.
    fn create(&self, network: &NetworkRecord) -> Result<()> {
        chain(network)?.look(&self.programs)
    }

    fn remove(&self, _: &NetworkRecord) -> Result<()> {
        Ok(())
    }

    fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, _: BorrowedFd<'_>) -> Result<()> {
        let chain = chain(network)?;
        let sandbox = self.sandboxes.join(endpoint.sandbox.short());
        let to = Attachment {
            netns: Some(&sandbox),
            ..attachment(endpoint)
        };
        let before = self.said(endpoint)?;
        if !before.is_null() && matches!(chain.check(&self.programs, &to, &before), Ok(true)) {
            // It is joined already, and all of it is there.
            return Ok(());
        }
        // Whatever a kill left of the same endpoint.
        self.take_back(network, endpoint, true)?;
        let said = chain.add(&self.programs, &to)?;
        fail::fail_point!("network::cni");
        self.keep(endpoint, &said)
    }

    fn learned(&self, _: &NetworkRecord, endpoint: &Endpoint) -> Result<Option<Learned>> {
        let said = self.said(endpoint)?;
        if said.is_null() {
            return Ok(None);
        }
        let outcome = Outcome::read(&said, &endpoint.interface);
        let mut learned = Learned {
            mac: outcome.mac,
            ipv4: outcome.address(true),
            ipv6: outcome.address(false),
            ..Learned::default()
        };
        for gateway in outcome.gateways {
            match gateway {
                IpAddr::V4(address) => learned.gateway4 = learned.gateway4.or(Some(address)),
                IpAddr::V6(address) => learned.gateway6 = learned.gateway6.or(Some(address)),
            }
        }
        learned.dns = NameServers {
            servers: outcome.servers,
            search: outcome.search,
            options: outcome.options,
        };
        Ok(Some(learned))
    }

    fn leave(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        self.take_back(network, endpoint, netns.is_some())
    }
}
