//! `--network` and the flags that belong to the first of them.

use std::collections::HashMap;

use gantry_proto::gantry::v1 as pb;

use super::hosts;
use crate::cli::verb::Parsed;
use crate::error::{Error, Result};

/// What a container is to join.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// The network mode: the first network's name.
    pub(super) mode: String,
    /// What is asked of each network by name; the mode's own only if something is asked of it.
    pub(super) networks: HashMap<String, pb::EndpointSettings>,
    /// Links of the default bridge; those of other networks are in their settings.
    pub(super) links: Vec<String>,
}

/// One `--network`.
#[derive(Debug, Default)]
struct Attachment {
    target: String,
    settings: pb::EndpointSettings,
}

/// Whether a `--network` can be read.
pub(crate) fn check(text: &str) -> Result<(), String> {
    attachment(text).map(drop)
}

/// All `--network`s and what other flags say of the first.
pub(super) fn joining(parsed: &Parsed) -> Result<Joining> {
    let mut given = parsed
        .all("network")
        .iter()
        .map(|text| attachment(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::refused)?;
    if given.is_empty() {
        given.push(attachment("bridge").map_err(Error::refused)?);
    }
    let links = apply(&mut given[0], parsed)?;
    for one in &given {
        sound(one).map_err(Error::refused)?;
    }
    let (users, others) = given.iter().partition::<Vec<_>, _>(|one| is_users(&one.target));
    if !users.is_empty() && !others.is_empty() {
        return Err(Error::refused(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    let (mode, alone) = (given[0].target.clone(), given.len() == 1);
    let mut networks = HashMap::new();
    for one in given {
        if alone && one.settings == pb::EndpointSettings::default() {
            break;
        }
        if networks.contains_key(&one.target) {
            return Err(Error::refused(format!(
                "network {:?} is specified multiple times",
                one.target
            )));
        }
        networks.insert(one.target, one.settings);
    }
    Ok(Joining { mode, networks, links })
}

/// A network that somebody made: not one of the modes.
fn is_users(target: &str) -> bool {
    !matches!(target, "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// "web", or "name=web,alias=a,ip=172.20.0.5,...".
fn attachment(text: &str) -> Result<Attachment, String> {
    let mut out = Attachment::default();
    if !is_long(text) {
        out.target = plain(text);
        return Ok(out);
    }
    for field in fields(text)? {
        let (key, value) = field
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field {field}"))?;
        set(&mut out, key.trim(), value.trim())?;
    }
    if out.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(out)
}

fn set(out: &mut Attachment, key: &str, value: &str) -> Result<(), String> {
    let settings = &mut out.settings;
    match key {
        "name" => out.target = plain(value),
        "alias" => settings.aliases.push(value.to_owned()),
        "ip" => settings.ipv4_address = value.to_owned(),
        "ip6" => settings.ipv6_address = value.to_owned(),
        "mac-address" => settings.mac_address = value.to_owned(),
        "link-local-ip" => settings.link_local.push(hosts::address(value)?),
        "driver-opt" => {
            let (name, value) = option(value).ok_or("invalid key value pair format in driver options")?;
            settings.driver_options.insert(name, value);
        }
        "gw-priority" => {
            settings.gateway_priority = value
                .parse()
                .map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
        }
        other => return Err(format!("invalid field key {other}")),
    }
    Ok(())
}

/// Docker's other name of the default network is "default".
fn plain(name: &str) -> String {
    if name == "default" { "bridge" } else { name }.to_owned()
}

/// Somewhere in it a word, "=" and the beginning of a word.
fn is_long(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.as_bytes()
        .windows(3)
        .any(|part| word(part[0]) && part[1] == b'=' && word(part[2]))
}

/// The fields of a line of CSV: one in quotes may hold commas, and a quote written twice.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut out = vec![String::new()];
    let mut letters = line.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let last = out.last_mut().expect("there is always a field");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                last.push('"');
                letters.next();
            }
            '"' if quoted => quoted = false,
            '"' if last.is_empty() => quoted = true,
            ',' if !quoted => out.push(String::new()),
            other => last.push(other),
        }
    }
    if quoted {
        return Err("parse error on line 1: extraneous or missing \" in quoted-field".into());
    }
    Ok(out)
}

/// "key=value" of a driver.
fn option(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty()).then(|| (name.trim().to_owned(), value.trim().to_owned()))
}

/// Gives the first network what flags of their own say; the links that are the container's, not the network's.
fn apply(first: &mut Attachment, parsed: &Parsed) -> Result<Vec<String>> {
    let settings = &mut first.settings;
    let conflicts = [
        (!settings.aliases.is_empty(), "network-alias", "alias"),
        (!settings.ipv4_address.is_empty(), "ip", "IPv4 address"),
        (!settings.ipv6_address.is_empty(), "ip6", "IPv6 address"),
        (!settings.mac_address.is_empty(), "mac-address", "MAC address"),
        (
            !settings.link_local.is_empty(),
            "link-local-ip",
            "link-local IP addresses",
        ),
    ];
    for (has, flag, what) in conflicts {
        if has && parsed.is_given(flag) {
            return Err(Error::refused(format!(
                "conflicting options: cannot specify both --{flag} and per-network {what}"
            )));
        }
    }
    settings.aliases.extend_from_slice(parsed.all("network-alias"));
    if let Some(address) = parsed.text("ip") {
        settings.ipv4_address = address.to_owned();
    }
    if let Some(address) = parsed.text("ip6") {
        settings.ipv6_address = address.to_owned();
    }
    settings.link_local.extend(addresses(parsed.all("link-local-ip"))?);
    let links = links(parsed.all("link"))?;
    if is_users(&first.target) {
        settings.links = links;
        return Ok(Vec::new());
    }
    Ok(links)
}

fn sound(one: &Attachment) -> Result<(), String> {
    if one.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !one.settings.aliases.is_empty() && !is_users(&one.target) {
        return Err("network-scoped aliases are only supported for user-defined networks".into());
    }
    match one.settings.mac_address.as_str() {
        "" => Ok(()),
        address => hosts::mac(address),
    }
}

fn links(given: &[String]) -> Result<Vec<String>> {
    given
        .iter()
        .map(|text| hosts::link(text))
        .collect::<Result<_, _>>()
        .map_err(Error::refused)
}

fn addresses(given: &[String]) -> Result<Vec<String>> {
    given
        .iter()
        .map(|text| hosts::address(text))
        .collect::<Result<_, _>>()
        .map_err(Error::refused)
}

/// What `network connect` asks of the network.
pub(crate) fn endpoint(parsed: &Parsed) -> Result<pb::EndpointSettings> {
    let text = |name: &str| parsed.text(name).unwrap_or_default().to_owned();
    let mut driver_options = HashMap::new();
    for given in parsed.all("driver-opt") {
        let (name, value) =
            option(given).ok_or_else(|| Error::refused("invalid key/value pair format in driver options"))?;
        driver_options.insert(name, value);
    }
    let priority = parsed.int("gw-priority").unwrap_or(0);
    let gateway_priority = i32::try_from(priority)
        .map_err(|_| Error::refused(format!("invalid gw-priority ({priority}): value out of range")))?;
    Ok(pb::EndpointSettings {
        ipv4_address: text("ip"),
        ipv6_address: text("ip6"),
        link_local: addresses(parsed.all("link-local-ip"))?,
        mac_address: String::new(),
        aliases: parsed.all("alias").to_vec(),
        links: links(parsed.all("link"))?,
        driver_options,
        gateway_priority,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Outcome};

    fn parsed(line: &str) -> Parsed {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match cli::parse(&words, None, 80) {
            Outcome::Run { parsed, .. } => parsed,
            Outcome::Fail(text, _) => panic!("{line}: {text}"),
            Outcome::Print(_) => panic!("{line}"),
        }
    }

    fn join(flags: &str) -> Result<Joining> {
        joining(&parsed(&format!("run {flags} x")))
    }

    #[test]
    fn the_first_network_is_the_mode() {
        for (flags, mode, asked) in [
            ("", "bridge", vec![]),
            ("--network default", "bridge", vec![]),
            ("--net host", "host", vec![]),
            ("--network container:web", "container:web", vec![]),
            ("--network web", "web", vec![]),
            ("--network web --ip 10.0.0.2", "web", vec!["web"]),
            ("--network web --network db", "web", vec!["db", "web"]),
            ("--ip 10.0.0.2", "bridge", vec!["bridge"]),
        ] {
            let joining = join(flags).unwrap();
            let mut names: Vec<&str> = joining.networks.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!((joining.mode.as_str(), names), (mode, asked), "{flags}");
        }
    }

    #[test]
    fn the_long_form_says_everything() {
        let long = "--network name=web,alias=a,alias=b,ip=10.0.0.2,ip6=fd00::2,mac-address=02:42:ac:11:00:02,\
                    link-local-ip=169.254.1.1,driver-opt=a.b=c=d,gw-priority=-3";
        let joining = join(long).unwrap();
        let settings = &joining.networks["web"];
        assert_eq!(settings.aliases, ["a", "b"]);
        assert_eq!(
            (settings.ipv4_address.as_str(), settings.ipv6_address.as_str()),
            ("10.0.0.2", "fd00::2")
        );
        assert_eq!(settings.mac_address, "02:42:ac:11:00:02");
        assert_eq!(settings.link_local, ["169.254.1.1"]);
        assert_eq!(settings.driver_options["a.b"], "c=d");
        assert_eq!(settings.gateway_priority, -3);
        let quoted = attachment("name=web,\"driver-opt=x=1,2\"").unwrap();
        assert_eq!(quoted.settings.driver_options["x"], "1,2");
    }

    #[test]
    fn links_belong_to_the_network_or_to_the_container() {
        let own = join("--network web --link db:store --network-alias w").unwrap();
        assert_eq!(own.networks["web"].links, ["db:store"]);
        assert_eq!(own.networks["web"].aliases, ["w"]);
        assert!(own.links.is_empty());
        let old = join("--link db").unwrap();
        assert_eq!(old.links, ["db:db"]);
        assert!(old.networks.is_empty());
    }

    #[test]
    fn errors_are_docker_s() {
        for (text, want) in [
            ("name=web,foo=1", "invalid field key foo"),
            ("name=web,foo", "invalid field foo"),
            ("alias=web", "network name/id is not specified"),
            (
                "name=web,driver-opt=x",
                "invalid key value pair format in driver options",
            ),
            ("name=web,gw-priority=x", "invalid gw-priority (x): invalid syntax"),
        ] {
            assert_eq!(check(text).unwrap_err(), want, "{text}");
        }
        for (flags, want) in [
            (
                "--network web --network host",
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                "--network web --network web",
                "network \"web\" is specified multiple times",
            ),
            (
                "--network-alias a",
                "network-scoped aliases are only supported for user-defined networks",
            ),
            (
                "--network name=web,alias=a --network-alias b",
                "conflicting options: cannot specify both --network-alias and per-network alias",
            ),
            (
                "--network name=web,ip=1.2.3.4 --ip 1.2.3.5",
                "conflicting options: cannot specify both --ip and per-network IPv4 address",
            ),
            ("--network=", "no name set for network"),
            ("--network name=web,mac-address=xx", "xx is not a valid mac address"),
        ] {
            assert_eq!(join(flags).unwrap_err().to_string(), want, "{flags}");
        }
    }

    #[test]
    fn connect_has_its_own_flags() {
        let line = "network connect --ip 10.0.0.9 --alias a --link db --driver-opt x=y --gw-priority 5 web c";
        let settings = endpoint(&parsed(line)).unwrap();
        assert_eq!(settings.ipv4_address, "10.0.0.9");
        assert_eq!(
            (settings.aliases[0].as_str(), settings.links[0].as_str()),
            ("a", "db:db")
        );
        assert_eq!(
            (settings.driver_options["x"].as_str(), settings.gateway_priority),
            ("y", 5)
        );
        let bad = endpoint(&parsed("network connect --driver-opt x web c")).unwrap_err();
        assert_eq!(bad.to_string(), "invalid key/value pair format in driver options");
    }
}
