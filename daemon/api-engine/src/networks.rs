//! The Networks service.

use crate::status::{Answer, answer, finish, refuse};
use crate::{Door, check, config, time};
use gantry_core::network::{Endpoint, EndpointSettings, IpamSettings, NetworkRecord, NewNetwork, Pool, PoolRequest};
use gantry_core::{Error, Result};
use gantry_engine::{Attachment, Connect, ContainerNetworks, Member, NetworkView};
use gantry_proto::gantry::v1 as wire;
use gantry_proto::gantry::v1::networks_server::Networks;
use std::net::IpAddr;
use std::str::FromStr;
use tonic::Request;

#[tonic::async_trait]
impl Networks for Door {
    async fn create(&self, request: Request<wire::CreateNetworkRequest>) -> Answer<wire::CreateNetworkResponse> {
        let new = new_in(request.into_inner()).map_err(refuse)?;
        let engine = self.engine.clone();
        finish(async move {
            let record = engine.create_network(new).await?;
            Ok(wire::CreateNetworkResponse {
                id: record.id.to_string(),
            })
        })
        .await
    }

    async fn list(&self, request: Request<wire::ListNetworksRequest>) -> Answer<wire::ListNetworksResponse> {
        let filters = config::filters(request.into_inner().filters);
        answer(self.engine.networks(&filters).map(|all| wire::ListNetworksResponse {
            networks: all.into_iter().map(network_out).collect(),
        }))
    }

    async fn inspect(&self, request: Request<wire::InspectNetworkRequest>) -> Answer<wire::Network> {
        answer(self.engine.network(&request.into_inner().network).map(network_out))
    }

    async fn remove(&self, request: Request<wire::RemoveNetworkRequest>) -> Answer<wire::RemoveNetworkResponse> {
        let removed = self.engine.remove_network(&request.into_inner().network).await;
        answer(removed.map(|()| wire::RemoveNetworkResponse {}))
    }

    async fn prune(&self, request: Request<wire::PruneNetworksRequest>) -> Answer<wire::PruneNetworksResponse> {
        let filters = config::filters(request.into_inner().filters);
        let removed = self.engine.prune_networks(filters).await;
        answer(removed.map(|removed| wire::PruneNetworksResponse { removed }))
    }

    async fn join(&self, request: Request<wire::ConnectNetworkRequest>) -> Answer<wire::ConnectNetworkResponse> {
        let wire::ConnectNetworkRequest {
            network,
            container,
            settings,
        } = request.into_inner();
        let settings = settings_in("settings", settings.unwrap_or_default()).map_err(refuse)?;
        let wish = Connect {
            network,
            container,
            settings,
        };
        answer(
            self.engine
                .connect_network(wish)
                .await
                .map(|()| wire::ConnectNetworkResponse {}),
        )
    }

    async fn leave(&self, request: Request<wire::DisconnectNetworkRequest>) -> Answer<wire::DisconnectNetworkResponse> {
        let wire::DisconnectNetworkRequest {
            network,
            container,
            force,
        } = request.into_inner();
        let gone = self.engine.disconnect_network(&network, &container, force).await;
        answer(gone.map(|()| wire::DisconnectNetworkResponse {}))
    }
}

/// Empty = not given.
pub fn optional<T: FromStr>(field: &str, text: &str) -> Result<Option<T>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("{field}: invalid value \"{text}\""))),
    }
}

fn new_in(request: wire::CreateNetworkRequest) -> Result<NewNetwork> {
    let ipam = request.ipam.unwrap_or_default();
    Ok(NewNetwork {
        name: check::text("name", request.name)?,
        driver: check::text("driver", request.driver)?,
        pools: ipam.pools.into_iter().map(pool_in).collect::<Result<_>>()?,
        ipam: IpamSettings {
            driver: ipam.driver,
            options: Some(ipam.options.into_iter().collect()),
            configured: false,
        },
        ipv4: request.ipv4,
        ipv6: request.ipv6,
        internal: request.internal,
        attachable: request.attachable,
        options: request.options.into_iter().collect(),
        labels: request.labels.into_iter().collect(),
    })
}

fn pool_in(pool: wire::AddressPool) -> Result<PoolRequest> {
    let auxiliary = pool.auxiliary.into_iter().map(|(name, text)| {
        let address = text
            .parse()
            .map_err(|_| Error::invalid(format!("ipam.pools.auxiliary: invalid address \"{text}\"")))?;
        Ok((name, address))
    });
    Ok(PoolRequest {
        subnet: optional("ipam.pools.subnet", &pool.subnet)?,
        range: optional("ipam.pools.range", &pool.range)?,
        gateway: optional("ipam.pools.gateway", &pool.gateway)?,
        auxiliary: auxiliary.collect::<Result<_>>()?,
    })
}

pub fn settings_in(field: &str, settings: wire::EndpointSettings) -> Result<EndpointSettings> {
    let link_local = settings.link_local.iter().map(|text| {
        text.parse::<IpAddr>()
            .map_err(|_| Error::invalid(format!("{field}.link_local: invalid address \"{text}\"")))
    });
    let link_local: Vec<IpAddr> = link_local.collect::<Result<_>>()?;
    Ok(EndpointSettings {
        ipv4: optional(&format!("{field}.ipv4_address"), &settings.ipv4_address)?,
        ipv6: optional(&format!("{field}.ipv6_address"), &settings.ipv6_address)?,
        link_local,
        mac: optional(&format!("{field}.mac_address"), &settings.mac_address)?,
        aliases: check::texts(&format!("{field}.aliases"), settings.aliases)?,
        links: check::texts(&format!("{field}.links"), settings.links)?,
        driver_options: settings.driver_options.into_iter().collect(),
        gateway_priority: settings.gateway_priority,
    })
}

fn settings_out(settings: &EndpointSettings) -> wire::EndpointSettings {
    let text = |address: Option<String>| address.unwrap_or_default();
    wire::EndpointSettings {
        ipv4_address: text(settings.ipv4.map(|address| address.to_string())),
        ipv6_address: text(settings.ipv6.map(|address| address.to_string())),
        link_local: settings.link_local.iter().map(IpAddr::to_string).collect(),
        mac_address: text(settings.mac.map(|mac| mac.to_string())),
        aliases: settings.aliases.clone(),
        links: settings.links.clone(),
        driver_options: settings.driver_options.clone().into_iter().collect(),
        gateway_priority: settings.gateway_priority,
    }
}

fn network_out(view: NetworkView) -> wire::Network {
    let record: &NetworkRecord = &view.record;
    let driver = match record.ipam.driver.as_str() {
        "" => "default",
        other => other,
    };
    wire::Network {
        id: record.id.to_string(),
        name: record.name.clone(),
        created_at: Some(time::out(record.created_at)),
        scope: record.scope.name().to_owned(),
        driver: record.driver.clone(),
        ipv4: record.ipv4,
        ipv6: record.ipv6,
        ipam: Some(wire::Ipam {
            driver: driver.to_owned(),
            options: record.ipam.options.clone().unwrap_or_default().into_iter().collect(),
            pools: record.pools.iter().map(pool_out).collect(),
        }),
        internal: record.internal,
        attachable: record.attachable,
        options: record.options.clone().into_iter().collect(),
        labels: record.labels.clone().into_iter().collect(),
        members: view.members.iter().map(member_out).collect(),
    }
}

fn pool_out(pool: &Pool) -> wire::AddressPool {
    wire::AddressPool {
        subnet: pool.subnet.to_string(),
        range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary: pool
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    }
}

fn member_out(member: &Member) -> wire::NetworkMember {
    let endpoint = &member.endpoint;
    wire::NetworkMember {
        container: member.container.to_string(),
        name: member.name.clone(),
        endpoint: endpoint.id.clone(),
        mac_address: endpoint.mac.to_string(),
        ipv4_address: endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
        ipv6_address: endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
    }
}

pub fn container_out(networks: &ContainerNetworks, sandbox: &str) -> wire::NetworkSettings {
    let key = networks
        .sandbox
        .as_ref()
        .map(|sandbox| sandbox.key.clone())
        .unwrap_or_default();
    wire::NetworkSettings {
        sandbox_id: if key.is_empty() {
            String::new()
        } else {
            sandbox.to_owned()
        },
        sandbox_key: key,
        endpoints: networks.attachments.iter().map(attachment_out).collect(),
    }
}

fn attachment_out(attachment: &Attachment) -> wire::Endpoint {
    let mut out = wire::Endpoint {
        network: attachment.name.clone(),
        network_id: attachment
            .network
            .as_ref()
            .map(|network| network.id.to_string())
            .unwrap_or_default(),
        settings: Some(settings_out(&attachment.settings)),
        ..wire::Endpoint::default()
    };
    let Some(endpoint): Option<&Endpoint> = attachment.endpoint.as_ref() else {
        return out;
    };
    out.id = endpoint.id.clone();
    out.mac_address = endpoint.mac.to_string();
    if let Some(net) = endpoint.ipv4 {
        (out.ipv4_address, out.ipv4_prefix) = (net.addr().to_string(), net.prefix_len().into());
    }
    if let Some(net) = endpoint.ipv6 {
        (out.ipv6_address, out.ipv6_prefix) = (net.addr().to_string(), net.prefix_len().into());
    }
    out.ipv4_gateway = endpoint.gateway4.map(|gateway| gateway.to_string()).unwrap_or_default();
    out.ipv6_gateway = endpoint.gateway6.map(|gateway| gateway.to_string()).unwrap_or_default();
    out.dns_names = endpoint.names.clone();
    out.interface = endpoint.interface.clone();
    out
}

/// Ports that are published, and those that are only exposed.
pub fn ports_out(networks: &ContainerNetworks) -> Vec<wire::PortMapping> {
    let published = networks.published.iter().map(|port| wire::PortMapping {
        host_ip: port.host.to_string(),
        host_port: port.host_port.into(),
        container_port: port.container.number.into(),
        protocol: port.container.protocol.to_string(),
    });
    let exposed = networks.exposed.iter().map(|port| wire::PortMapping {
        host_ip: String::new(),
        host_port: 0,
        container_port: port.number.into(),
        protocol: port.protocol.to_string(),
    });
    published.chain(exposed).collect()
}
