//! Ports: what a container exposes, what is asked to be published, what is.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid protocol: {text}"))),
        }
    }
}

/// A port of a container: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self {
            number: port(number)?,
            protocol: protocol.parse()?,
        })
    }
}

impl TryFrom<String> for Port {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
    }
}

fn port(text: &str) -> Result<u16> {
    match text.parse::<u16>() {
        Ok(number) if number > 0 && !text.starts_with('+') => Ok(number),
        _ => Err(Error::invalid(format!("invalid port: {text}"))),
    }
}

/// One or several host ports, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(Error::invalid(format!("invalid port range: {text}")));
        }
        Ok(Self { first, last })
    }
}

/// What is asked to be published (`PortBinding` of the API beside its key).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub container: Port,
    /// `None` = every address of the host, IPv4 and IPv6.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// One free port of these; `None` = any free one of the ephemeral range.
    #[serde(default)]
    pub ports: Option<PortRange>,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    pub container: Port,
    /// An unspecified address stands for all of its family.
    pub host: IpAddr,
    pub host_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_as_docker_reads_them() {
        let read = |text: &str| text.parse::<Port>().map(|port| port.to_string()).ok();
        assert_eq!(read("80").as_deref(), Some("80/tcp"));
        assert_eq!(read("53/UDP").as_deref(), Some("53/udp"));
        for bad in ["", "0", "65536", "80/icmp", "+80", "-1", "http"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_run_upwards() {
        assert_eq!("80-82".parse::<PortRange>().unwrap(), PortRange { first: 80, last: 82 });
        assert_eq!("80".parse::<PortRange>().unwrap(), PortRange::one(80));
        assert!("82-80".parse::<PortRange>().is_err());
        assert!("80-".parse::<PortRange>().is_err());
    }
}
