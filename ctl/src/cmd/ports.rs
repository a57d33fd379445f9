//! `port`, and the ports of a container as `ps` shows them.

use std::cmp::Ordering;

use gantry_proto::gantry::v1 as pb;

use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::natural;
use crate::out;

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let wanted = parsed.args.get(1).map(|text| wanted(text)).transpose()?;
    let request = pb::PortsRequest {
        container: parsed.arg(0).to_owned(),
    };
    let ports = daemon.take(daemon.containers().ports(request).await)?.ports;
    let lines = lines(&ports, wanted.as_deref());
    if lines.is_empty() && wanted.is_some() {
        return Err(Error::refused(format!(
            "no public port '{}' published for {}",
            parsed.arg(1),
            parsed.arg(0)
        )));
    }
    lines.iter().for_each(out::line);
    Ok(0)
}

/// "80" and "80/tcp" as "80/tcp".
fn wanted(text: &str) -> Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let why = match number.parse::<u16>() {
        Ok(_) if digits => {
            let protocol = if protocol.is_empty() { "tcp" } else { protocol };
            return Ok(format!("{number}/{protocol}"));
        }
        Err(_) if digits => "value out of range",
        _ => "invalid syntax",
    };
    Err(Error::refused(format!(
        "invalid port ({number}): strconv.ParseUint: parsing {number:?}: {why}"
    )))
}

/// Where ports are published; with a port only its own places.
fn lines(ports: &[pb::PortMapping], wanted: Option<&str>) -> Vec<String> {
    let mut out = Vec::new();
    for port in ports.iter().filter(|port| port.host_port != 0) {
        let place = join(&port.host_ip, &port.host_port.to_string());
        let inside = format!("{}/{}", port.container_port, port.protocol);
        match wanted {
            None => out.push(format!("{inside} -> {place}")),
            Some(wanted) if wanted == inside => out.push(place),
            Some(_) => {}
        }
    }
    out.sort_by(|a, b| natural::compare(a, b));
    out
}

fn join(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// Neighbouring ports of one address and protocol whose numbers are the same on both sides.
struct Group {
    address: String,
    protocol: String,
    first: u32,
    last: u32,
}

impl Group {
    fn text(&self) -> String {
        let mut ports = self.first.to_string();
        if self.first != self.last {
            ports.push_str(&format!("-{}", self.last));
        }
        match self.address.as_str() {
            "" => format!("{ports}/{}", self.protocol),
            address => format!("{}->{ports}/{}", join(address, &ports), self.protocol),
        }
    }
}

/// The column PORTS: "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp", "80-81/tcp" if only exposed.
pub(super) fn column(ports: &[pb::PortMapping]) -> String {
    let mut sorted: Vec<&pb::PortMapping> = ports.iter().collect();
    sorted.sort_by(|a, b| order(a, b));
    let (mut done, mut groups, mut moved): (Vec<String>, Vec<Group>, Vec<String>) = Default::default();
    for port in sorted {
        let number = port.container_port;
        // What is only exposed has no place on the host.
        let address = if port.host_port == 0 { "" } else { &port.host_ip };
        if port.host_port != 0 && port.host_port != number {
            let place = join(&port.host_ip, &port.host_port.to_string());
            moved.push(format!("{place}->{number}/{}", port.protocol));
            continue;
        }
        let same = |group: &&mut Group| group.address == address && group.protocol == port.protocol;
        match groups.iter_mut().find(same) {
            Some(group) if number == group.last + 1 => group.last = number,
            Some(group) => {
                done.push(group.text());
                (group.first, group.last) = (number, number);
            }
            None => groups.push(Group {
                address: address.to_owned(),
                protocol: port.protocol.clone(),
                first: number,
                last: number,
            }),
        }
    }
    done.extend(groups.iter().map(Group::text));
    done.append(&mut moved);
    done.join(", ")
}

fn order(a: &pb::PortMapping, b: &pb::PortMapping) -> Ordering {
    let key = |port: &pb::PortMapping| {
        (
            port.container_port,
            port.host_ip.clone(),
            port.host_port,
            port.protocol.clone(),
        )
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "0.0.0.0 8080 80/tcp"; "- 0 80/tcp" is only exposed.
    fn port(text: &str) -> pb::PortMapping {
        let parts: Vec<&str> = text.split([' ', '/']).collect();
        pb::PortMapping {
            host_ip: parts[0].trim_matches('-').to_owned(),
            host_port: parts[1].parse().unwrap(),
            container_port: parts[2].parse().unwrap(),
            protocol: parts[3].to_owned(),
        }
    }

    fn ports(all: &[&str]) -> Vec<pb::PortMapping> {
        all.iter().map(|text| port(text)).collect()
    }

    #[test]
    fn the_column_is_docker_s() {
        for (given, want) in [
            (vec![], ""),
            (vec!["- 0 80/tcp"], "80/tcp"),
            (vec!["- 0 81/tcp", "- 0 80/tcp", "- 0 80/udp"], "80-81/tcp, 80/udp"),
            (
                vec![":: 8080 80/tcp", "0.0.0.0 8080 80/tcp"],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                vec!["0.0.0.0 80 80/tcp", "0.0.0.0 81 81/tcp", "- 0 90/tcp"],
                "0.0.0.0:80-81->80-81/tcp, 90/tcp",
            ),
            (
                vec![
                    "1.1.1.1 9000 9/tcp",
                    "1.1.1.1 5 5/tcp",
                    "1.1.1.1 7 7/tcp",
                    "1.1.1.1 8 8/tcp",
                ],
                "1.1.1.1:5->5/tcp, 1.1.1.1:7-8->7-8/tcp, 1.1.1.1:9000->9/tcp",
            ),
        ] {
            assert_eq!(column(&ports(&given)), want, "{given:?}");
        }
    }

    #[test]
    fn lines_of_port() {
        let all = ports(&[
            "0.0.0.0 8443 443/tcp",
            ":: 8080 80/tcp",
            "0.0.0.0 8080 80/tcp",
            "- 0 9/udp",
        ]);
        assert_eq!(
            lines(&all, None),
            [
                "80/tcp -> 0.0.0.0:8080",
                "80/tcp -> [::]:8080",
                "443/tcp -> 0.0.0.0:8443"
            ]
        );
        assert_eq!(lines(&all, Some("80/tcp")), ["0.0.0.0:8080", "[::]:8080"]);
        assert!(lines(&all, Some("9/udp")).is_empty());
        assert_eq!(wanted("80").unwrap(), "80/tcp");
        assert_eq!(wanted("53/udp").unwrap(), "53/udp");
        assert_eq!(
            wanted("x").unwrap_err().to_string(),
            "invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert!(wanted("70000").unwrap_err().to_string().ends_with("value out of range"));
    }
}
