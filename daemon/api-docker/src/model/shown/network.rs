//! Networks, and what a container has of them.

use super::{HostPort, Table, blank, none};
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    pub bridge: &'static str,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    pub sandbox_key: String,
    pub ports: Table<Option<Vec<HostPort>>>,
    pub hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_prefix: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary4: Option<Vec<Value>>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary6: Option<Vec<Value>>,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub ipv6: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub ipv6_prefix: u8,
    #[serde(rename = "IPAddress")]
    pub ipv4: String,
    #[serde(rename = "IPPrefixLen")]
    pub ipv4_prefix: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    pub mac_address: String,
    pub networks: Table<Endpoint>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    #[serde(rename = "IPAMConfig")]
    pub ipam: Option<EndpointIpam>,
    pub links: Option<Vec<String>>,
    pub aliases: Option<Vec<String>>,
    pub mac_address: String,
    pub driver_opts: Option<Table<String>>,
    #[serde(skip_serializing_if = "none")]
    pub gw_priority: Option<i32>,
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ipv4: String,
    #[serde(rename = "IPPrefixLen")]
    pub ipv4_prefix: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub ipv6: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub ipv6_prefix: u8,
    #[serde(rename = "DNSNames", skip_serializing_if = "none")]
    pub names: Option<Option<Vec<String>>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct EndpointIpam {
    #[serde(rename = "IPv4Address", skip_serializing_if = "blank")]
    pub ipv4: String,
    #[serde(rename = "IPv6Address", skip_serializing_if = "blank")]
    pub ipv6: String,
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    pub name: String,
    pub id: String,
    pub created: String,
    pub scope: &'static str,
    pub driver: String,
    #[serde(rename = "EnableIPv4", skip_serializing_if = "none")]
    pub ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    pub ipv6: bool,
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_from: ConfigFrom,
    pub config_only: bool,
    pub containers: Table<Member>,
    pub options: Table<String>,
    pub labels: Table<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    pub driver: String,
    pub options: Option<Table<String>>,
    pub config: Vec<IpamPool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamPool {
    pub subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "blank")]
    pub range: String,
    #[serde(skip_serializing_if = "blank")]
    pub gateway: String,
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Table::is_empty")]
    pub auxiliary: Table<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigFrom {
    pub network: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Member {
    #[serde(rename = "Name")]
    pub name: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(rename = "MacAddress")]
    pub mac: String,
    #[serde(rename = "IPv4Address")]
    pub ipv4: String,
    #[serde(rename = "IPv6Address")]
    pub ipv6: String,
}
