//! `/etc/hosts` (hosts(5)).

use crate::Result;
use gantry_core::Error;
use std::fmt::Write;
use std::net::IpAddr;

/// What a container's hosts file says.
#[derive(Debug, Clone, Default)]
pub struct Hosts<'a> {
    pub hostname: &'a str,
    /// May be empty.
    pub domainname: &'a str,
    /// Whether the sandbox has IPv6 at all.
    pub ipv6: bool,
    /// As `--add-host` and compose give them: `name:address`, `name=address`, `name:host-gateway`.
    pub extra: &'a [String],
    /// What `host-gateway` stands for: one line for each.
    pub host_gateways: &'a [IpAddr],
    /// Other containers by legacy links, each with its names.
    pub links: &'a [(IpAddr, Vec<String>)],
    /// The container's own addresses.
    pub addresses: &'a [IpAddr],
}

/// Localhost, then what the user added, then links, then the container itself.
pub fn hosts(wanted: &Hosts<'_>) -> Result<String> {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if wanted.ipv6 {
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str(
            "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for entry in wanted.extra {
        for (address, name) in extra(entry, wanted.host_gateways)? {
            line(&mut text, address, name);
        }
    }
    for (address, names) in wanted.links {
        line(&mut text, *address, &names.join(" "));
    }
    for address in wanted.addresses {
        // The whole name may stand in the hostname, or in both.
        let whole = match wanted.domainname {
            "" => wanted.hostname.to_owned(),
            domain => format!("{}.{domain}", wanted.hostname),
        };
        match whole.split_once('.') {
            Some((bare, _)) => line(&mut text, *address, &format!("{whole} {bare}")),
            None => line(&mut text, *address, &whole),
        }
    }
    Ok(text)
}

fn line(text: &mut String, address: IpAddr, names: &str) {
    writeln!(text, "{address}\t{names}").expect("a string takes all that is written");
}

/// One entry of the user's; IPv6 addresses may stand in brackets.
fn extra<'a>(entry: &'a str, gateways: &[IpAddr]) -> Result<Vec<(IpAddr, &'a str)>> {
    let parts = entry.split_once(['=', ':']);
    let bad = || Error::invalid(format!("bad format for add-host: \"{entry}\""));
    let (name, address) = parts.filter(|(name, _)| is_name(name)).ok_or_else(bad)?;
    if address == "host-gateway" {
        if gateways.is_empty() {
            let text = "unable to derive the IP value for host-gateway: the default bridge has no address";
            return Err(Error::invalid(text).into());
        }
        return Ok(gateways.iter().map(|gateway| (*gateway, name)).collect());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = bare.unwrap_or(address).parse();
    let parsed = parsed.map_err(|_| Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok(vec![(parsed, name)])
}

/// Nothing that would begin another field or line.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_hosts() {
        let text = hosts(&Hosts {
            hostname: "web",
            domainname: "example.org",
            ipv6: true,
            extra: &["db:10.0.0.9".into(), "up=host-gateway".into(), "six:[fd00::9]".into()],
            host_gateways: &["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            links: &[(
                "172.17.0.3".parse().unwrap(),
                vec!["alias".into(), "abc".into(), "name".into()],
            )],
            addresses: &["172.17.0.2".parse().unwrap()],
        })
        .unwrap();
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.0.0.9\tdb\n172.17.0.1\tup\n\
             fd00::1\tup\nfd00::9\tsix\n172.17.0.3\talias abc name\n172.17.0.2\tweb.example.org web\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_cannot_be_a_line() {
        for (entry, words) in [
            ("db", "bad format for add-host: \"db\""),
            (":10.0.0.1", "bad format"),
            ("a b:10.0.0.1", "bad format"),
            ("a\n1.2.3.4 b:10.0.0.1", "bad format"),
            ("db:10.0.0", "invalid IP address in add-host: \"10.0.0\""),
            ("db:host-gateway", "host-gateway"),
        ] {
            let extra = [entry.to_owned()];
            let wanted = Hosts {
                hostname: "h",
                extra: &extra,
                ..Hosts::default()
            };
            let error = hosts(&wanted).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(
            hosts(&Hosts::default()).unwrap(),
            "127.0.0.1\tlocalhost\n",
            "no IPv6, nothing of it"
        );
    }
}
