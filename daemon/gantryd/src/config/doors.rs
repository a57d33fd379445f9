//! Where the Docker API is served: sockets, and TLS.

use crate::error::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// In the file, and what the command line calls them.
const KEYS: [(&str, &str); 7] = [
    ("group", "group"),
    ("hosts", "host"),
    ("tls", "tls"),
    ("tlscacert", "tlscacert"),
    ("tlscert", "tlscert"),
    ("tlskey", "tlskey"),
    ("tlsverify", "tlsverify"),
];

const SOCKET: &str = "docker.sock";
/// The group that may use a socket where nobody says.
const GROUP: &str = "docker";
/// dockerd's ports, without TLS and with it.
const PLAIN: u16 = 2375;
const SAFE: u16 = 2376;

pub fn is_key(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

pub fn flag_of(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag)
}

#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DoorOptions {
    /// Where the Docker API is served: unix://PATH, tcp://ADDRESS:PORT, or fd:// for sockets that are inherited
    #[arg(long = "host", short = 'H', value_name = "ADDRESS")]
    #[serde(rename = "hosts", skip_serializing_if = "Vec::is_empty")]
    host: Vec<String>,
    /// Group that may use the Docker API's unix sockets (default docker, if there is one)
    #[arg(long, short = 'G', value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// TLS on TCP sockets; =false serves everyone who can connect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<bool>,
    /// TLS, and only clients whose certificate tlscacert signed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tlsverify: Option<bool>,
    /// Certificates of those who sign for clients (default ~/.docker/ca.pem)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tlscacert: Option<PathBuf>,
    /// Our own certificate (default ~/.docker/cert.pem)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tlscert: Option<PathBuf>,
    /// The key of our own certificate (default ~/.docker/key.pem)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tlskey: Option<PathBuf>,
}

/// One place where the Docker API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    /// An address and a port.
    Tcp(String),
    /// Sockets that whoever started us has bound.
    Inherited,
}

/// What TLS takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who signs for clients; `None` = anyone may come in.
    pub clients: Option<PathBuf>,
}

/// Where the Docker API is served, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doors {
    pub hosts: Vec<Host>,
    /// Of unix sockets.
    pub group: Option<u32>,
    /// Of TCP sockets.
    pub tls: Option<Tls>,
}

fn take<T: DeserializeOwned>(given: &mut Map<String, Value>, key: &str) -> Result<Option<T>> {
    match given.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::bad(key, error.to_string())),
    }
}

/// Takes the options about the Docker API's sockets out of what is given.
pub fn read(given: &mut Map<String, Value>, exec_root: &Path, warnings: &mut Vec<String>) -> Result<Doors> {
    let said: Vec<String> = take(given, "hosts")?.unwrap_or_default();
    let (asked, tls) = tls(given)?;
    let mut hosts = Vec::new();
    for text in &said {
        let host = host(text, exec_root, tls.is_some())?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        hosts.push(Host::Unix(exec_root.join(SOCKET)));
    }
    for host in &hosts {
        if let Host::Tcp(address) = host {
            check(address, asked, tls.as_ref(), warnings)?;
        }
    }
    Ok(Doors {
        hosts,
        group: group(take(given, "group")?)?,
        tls,
    })
}

/// Whether TLS was spoken of, and what it takes.
fn tls(given: &mut Map<String, Value>) -> Result<(Option<bool>, Option<Tls>)> {
    let on: Option<bool> = take(given, "tls")?;
    let verify: bool = take(given, "tlsverify")?.unwrap_or(false);
    let home = std::env::var_os("DOCKER_CERT_PATH").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker"),
        PathBuf::from,
    );
    let mut file = |key: &str, default: &str| -> Result<PathBuf> {
        let named: Option<PathBuf> = take(given, key)?;
        Ok(named
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or_else(|| home.join(default)))
    };
    let clients = file("tlscacert", "ca.pem")?;
    let (certificate, key) = (file("tlscert", "cert.pem")?, file("tlskey", "key.pem")?);
    if verify && on == Some(false) {
        return Err(Error::bad("tls", "false excludes tlsverify"));
    }
    let safe = verify || on == Some(true);
    Ok((
        on,
        safe.then_some(Tls {
            certificate,
            key,
            clients: verify.then_some(clients),
        }),
    ))
}

/// Whoever may talk to this daemon is root on this host, so that a socket without TLS must be asked for.
fn check(address: &str, asked: Option<bool>, tls: Option<&Tls>, warnings: &mut Vec<String>) -> Result<()> {
    match tls {
        Some(Tls { clients: Some(_), .. }) => {}
        Some(Tls { clients: None, .. }) => warnings.push(format!(
            "hosts: everyone who can connect to tcp://{address} is root on this host; ask for certificates of clients by --tlsverify"
        )),
        None if asked == Some(false) => warnings.push(format!(
            "hosts: tcp://{address} is served without TLS: everyone who can connect to it, and everyone on the way, is root on this host"
        )),
        None => {
            return Err(Error::bad(
                "hosts",
                format!(
                    "tcp://{address} without TLS makes everyone who can connect root on this host; give --tlsverify with certificates, or --tls=false to have it all the same"
                ),
            ));
        }
    }
    Ok(())
}

fn host(text: &str, exec_root: &Path, safe: bool) -> Result<Host> {
    let bad = |reason: &str| Error::bad("hosts", format!("{text:?}: {reason}"));
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.is_empty() => Ok(Host::Unix(exec_root.join(SOCKET))),
        "unix" => match Path::new(rest).is_absolute() {
            true => Ok(Host::Unix(PathBuf::from(rest))),
            false => Err(bad("an absolute path is expected")),
        },
        "fd" if matches!(rest, "" | "*") => Ok(Host::Inherited),
        "fd" => Err(bad("all inherited sockets are served together: say fd://")),
        "tcp" => {
            let port = if safe { SAFE } else { PLAIN };
            let address = match rest {
                "" => format!("127.0.0.1:{port}"),
                rest if rest.ends_with(']') || !rest.contains(':') => format!("{rest}:{port}"),
                rest if rest.starts_with(':') => format!("0.0.0.0{rest}"),
                rest => rest.to_owned(),
            };
            let numbered = address
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            numbered
                .then_some(Host::Tcp(address))
                .ok_or_else(|| bad("ADDRESS:PORT is expected"))
        }
        _ => Err(bad("unix://PATH, tcp://ADDRESS:PORT or fd:// is expected")),
    }
}

/// A group that is named must be there; the default one need not.
fn group(named: Option<String>) -> Result<Option<u32>> {
    let named = named.filter(|name| !name.is_empty());
    let name = named.as_deref().unwrap_or(GROUP);
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let found = nix::unistd::Group::from_name(name).ok().flatten();
    match (found, named) {
        (Some(group), _) => Ok(Some(group.gid.as_raw())),
        (None, None) => Ok(None),
        (None, Some(name)) => Err(Error::bad("group", format!("there is no group {name:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(given: Value) -> Result<(Doors, Vec<String>)> {
        let Value::Object(mut given) = given else {
            panic!("an object")
        };
        let mut warnings = Vec::new();
        let doors = read(&mut given, Path::new("/run/x"), &mut warnings)?;
        assert!(given.is_empty());
        Ok((doors, warnings))
    }

    #[test]
    fn places() {
        let (doors, _) = parse(json!({})).unwrap();
        assert_eq!(doors.hosts, [Host::Unix("/run/x/docker.sock".into())]);
        let (doors, warnings) = parse(json!({
            "hosts": ["unix:///a", "fd://", "tcp://", "tcp://:1", "[::1]:5", "unix:///a"], "tls": false
        }))
        .unwrap();
        let tcp = |text: &str| Host::Tcp(text.to_owned());
        let expected = [
            Host::Unix("/a".into()),
            Host::Inherited,
            tcp("127.0.0.1:2375"),
            tcp("0.0.0.0:1"),
            tcp("[::1]:5"),
        ];
        assert_eq!(doors.hosts, expected);
        assert_eq!(warnings.len(), 3);
        for bad in ["unix://a", "fd://3", "npipe://x", "tcp://h:x"] {
            assert!(parse(json!({ "hosts": [bad], "tls": false })).is_err(), "{bad}");
        }
    }

    #[test]
    fn tcp_without_tls_must_be_asked_for() {
        let error = parse(json!({ "hosts": ["tcp://127.0.0.1:1"] }))
            .unwrap_err()
            .to_string();
        assert!(error.contains("--tls=false"), "{error}");
        let (doors, warnings) = parse(json!({
            "hosts": ["tcp://h"], "tlsverify": true, "tlscacert": "/ca", "tlscert": "/c", "tlskey": "/k"
        }))
        .unwrap();
        assert!(warnings.is_empty());
        assert_eq!(doors.hosts, [Host::Tcp("h:2376".to_owned())]);
        let tls = doors.tls.unwrap();
        assert_eq!((tls.clients, tls.key), (Some("/ca".into()), "/k".into()));
        let (_, warnings) = parse(json!({ "hosts": ["tcp://h"], "tls": true })).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(parse(json!({ "tls": false, "tlsverify": true })).is_err());
        assert!(parse(json!({ "group": "no-such-group-here" })).is_err());
    }
}
