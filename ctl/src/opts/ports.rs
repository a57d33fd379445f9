//! `-p` and `--expose`: ports and ranges of them, expanded port by port.

use std::net::IpAddr;

use gantry_proto::gantry::v1 as pb;

/// All `-p`s: each binding is of one port of the container.
pub(super) fn bindings(given: &[String]) -> Result<Vec<pb::PortBinding>, String> {
    let mut out = Vec::new();
    for text in given {
        out.extend(publish(&standard(text)?)?);
    }
    Ok(out)
}

/// The ports that are exposed, as "80/tcp": those of `--expose`, and what is published.
pub(super) fn exposed(given: &[String], published: &[pb::PortBinding]) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = published.iter().map(|binding| binding.container.clone()).collect();
    for text in given {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (ports, protocol) = with_protocol(text);
        let (first, last) =
            range(ports).map_err(|why| format!("invalid range format for --expose: {text}, error: {why}"))?;
        known(&protocol)?;
        out.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    out.sort_by(|a, b| crate::format::natural::compare(a, b));
    out.dedup();
    Ok(out)
}

/// "published=8080,target=80,protocol=udp" as "8080:80/udp"; anything else as it is.
fn standard(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) if !name.is_empty() => {}
            _ => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// "[host address:][host port[-last]:]port[-last][/protocol]".
fn publish(text: &str) -> Result<Vec<pb::PortBinding>, String> {
    let (front, inside) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, outside) = front.rsplit_once(':').unwrap_or(("", front));
    let (ports, protocol) = with_protocol(inside);
    if ports.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    known(&protocol)?;
    let host_ip = bare(address)?;
    let (first, last) = range(ports).map_err(|_| format!("invalid containerPort: {ports}"))?;
    let host = match outside {
        "" => None,
        outside => Some(range(outside).map_err(|_| format!("invalid hostPort: {outside}"))?),
    };
    let uneven = host.is_some_and(|(host_first, host_last)| last - first != host_last - host_first);
    if uneven && first != last {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {ports} and {outside}"
        ));
    }
    let host_port = |port: u16| match host {
        None => String::new(),
        // One free port of the range is taken.
        Some((host_first, host_last)) if uneven => format!("{host_first}-{host_last}"),
        Some((host_first, _)) => (host_first + (port - first)).to_string(),
    };
    let binding = |port: u16| pb::PortBinding {
        container: format!("{port}/{protocol}"),
        host_ip: host_ip.clone(),
        host_port: host_port(port),
    };
    Ok((first..=last).map(binding).collect())
}

/// An address without its brackets.
fn bare(address: &str) -> Result<String, String> {
    let inner = match address.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| format!("invalid IP address {address}: address {address}:: missing ']' in address"))?,
        None => address,
    };
    if !inner.is_empty() && inner.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {inner}"));
    }
    Ok(inner.to_owned())
}

/// Ports and protocol in small letters; tcp if none is named.
fn with_protocol(text: &str) -> (&str, String) {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    (ports, protocol.to_ascii_lowercase())
}

fn known(protocol: &str) -> Result<(), String> {
    match protocol {
        "tcp" | "udp" | "sctp" => Ok(()),
        other => Err(format!("invalid proto: {other}")),
    }
}

/// "80" or "8000-8010".
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("value is empty".into());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let start = number(first).map_err(|why| format!("invalid start port '{first}': {why}"))?;
    let end = number(last).map_err(|why| format!("invalid end port '{last}': {why}"))?;
    if end < start {
        return Err(format!("invalid port range: {text}"));
    }
    Ok((start, end))
}

fn number(text: &str) -> Result<u16, &'static str> {
    match text {
        "" => Err("value is empty"),
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err("invalid syntax"),
        _ => text.parse().map_err(|_| "value out of range (0–65535)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let shown = |it: pb::PortBinding| format!("{}|{}|{}", it.host_ip, it.host_port, it.container);
        bindings(&[text.to_owned()]).map(|all| all.into_iter().map(shown).collect())
    }

    #[test]
    fn every_form_of_publish() {
        for (text, want) in [
            ("80", vec!["||80/tcp"]),
            ("8080:80", vec!["|8080|80/tcp"]),
            (":80/UDP", vec!["||80/udp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1|8080|80/tcp"]),
            ("127.0.0.1::80", vec!["127.0.0.1||80/tcp"]),
            ("[::1]:80:80", vec!["::1|80|80/tcp"]),
            ("::1:80:80", vec!["::1|80|80/tcp"]),
            ("[::]::53/udp", vec!["::||53/udp"]),
            ("8000-8001:80-81/sctp", vec!["|8000|80/sctp", "|8001|81/sctp"]),
            ("80-81", vec!["||80/tcp", "||81/tcp"]),
            ("8000-8010:80", vec!["|8000-8010|80/tcp"]),
            ("published=8080,target=80,protocol=udp", vec!["|8080|80/udp"]),
            ("target=80", vec!["||80/tcp"]),
        ] {
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
        assert_eq!(read("1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn errors_of_publish_are_docker_s() {
        for (text, want) in [
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("80/xyz", "invalid proto: xyz"),
            ("x", "invalid containerPort: x"),
            ("80:70000", "invalid containerPort: 70000"),
            ("90-80", "invalid containerPort: 90-80"),
            ("x:80", "invalid hostPort: x"),
            ("+1:80", "invalid hostPort: +1"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("localhost:80:80", "invalid IP address: localhost"),
            (
                "1-3:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 1-3",
            ),
            (
                "80:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 80",
            ),
            (
                "target=80,x",
                "invalid publish opts format (should be name=value but got 'x')",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn exposed_ports_are_ranges_and_what_is_published() {
        let ask = |given: &[&str], published: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            exposed(&owned(given), &bindings(&owned(published)).unwrap())
        };
        assert_eq!(
            ask(&["81-82", "53/udp", "80"], &["8080:80"]).unwrap(),
            ["53/udp", "80/tcp", "81/tcp", "82/tcp"]
        );
        assert_eq!(
            ask(&["80:80"], &[]).unwrap_err(),
            "invalid port format for --expose: 80:80"
        );
        assert_eq!(
            ask(&["90-80"], &[]).unwrap_err(),
            "invalid range format for --expose: 90-80, error: invalid port range: 90-80"
        );
        assert_eq!(
            ask(&["x"], &[]).unwrap_err(),
            "invalid range format for --expose: x, error: invalid start port 'x': invalid syntax"
        );
        assert!(ask(&["80/ip"], &[]).is_err());
    }
}
