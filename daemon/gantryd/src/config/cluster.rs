//! Options about networks over several hosts, under the names that dockerd had for them, and about networks by plugins.

use crate::error::{Error, Result};
use clap::Args;
use gantry_engine::{ClusterConfig, CniConfig};
use gantry_network::overlay::{Tls, User};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// In the file, and what the command line calls them.
const KEYS: [(&str, &str); 5] = [
    ("cluster-advertise", "cluster-advertise"),
    ("cluster-store", "cluster-store"),
    ("cluster-store-opts", "cluster-store-opt"),
    ("cni-bin-dir", "cni-bin-dir"),
    ("cni-conf-dir", "cni-conf-dir"),
];

/// A host is silent for so long before it counts as gone, unless it is said otherwise.
const LEASE: Duration = Duration::from_secs(60);

/// etcd's port, where none is said.
const PORT: u16 = 2379;

pub fn is_key(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

pub fn flag_of(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag)
}

#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterOptions {
    /// etcd that hosts share for overlay networks: etcd://HOST:PORT[,HOST:PORT...]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_store: Option<String>,
    /// kv.cacertfile, kv.certfile, kv.keyfile, kv.username, kv.password, kv.passwordfile, discovery.ttl
    #[arg(long = "cluster-store-opt", value_name = "NAME=VALUE")]
    #[serde(
        rename = "cluster-store-opts",
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "super::flags::pairs"
    )]
    cluster_store_opt: Vec<String>,
    /// Where other hosts reach this one: its address, or the interface that has it
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_advertise: Option<String>,
    /// Directories of CNI plugins, with colons between (default /opt/cni/bin:/usr/lib/cni)
    #[arg(long, value_name = "DIRS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cni_bin_dir: Option<String>,
    /// Directory of the configurations of CNI networks (default /etc/cni/net.d)
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cni_conf_dir: Option<String>,
}

/// Takes the options about CNI out of what is given.
pub fn read_cni(given: &mut Map<String, Value>) -> Result<CniConfig> {
    let mut config = CniConfig::default();
    let plugins = text(given, "cni-bin-dir")?;
    if !plugins.is_empty() {
        config.plugins = plugins
            .split(':')
            .map(|dir| absolute("cni-bin-dir", dir))
            .collect::<Result<_>>()?;
    }
    let configurations = text(given, "cni-conf-dir")?;
    if !configurations.is_empty() {
        config.configurations = absolute("cni-conf-dir", &configurations)?;
    }
    Ok(config)
}

fn absolute(key: &str, dir: &str) -> Result<PathBuf> {
    match dir.starts_with('/') {
        true => Ok(PathBuf::from(dir)),
        false => Err(Error::bad(key, format!("{dir:?}: an absolute path is expected"))),
    }
}

/// Takes the options about clusters out of what is given; `None` = there is no cluster.
pub fn read(given: &mut Map<String, Value>) -> Result<Option<ClusterConfig>> {
    let store = text(given, "cluster-store")?;
    let advertise = text(given, "cluster-advertise")?;
    let options: BTreeMap<String, String> = match given.remove("cluster-store-opts") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(value) => {
            serde_json::from_value(value).map_err(|error| Error::bad("cluster-store-opts", error.to_string()))?
        }
    };
    if store.is_empty() {
        return match (advertise.is_empty(), options.is_empty()) {
            (true, true) => Ok(None),
            _ => Err(Error::bad("cluster-store", "it is missing: cluster options are given")),
        };
    }
    if advertise.is_empty() {
        let reason = "it is missing: say the address of this host that others reach, or the interface that has it";
        return Err(Error::bad("cluster-advertise", reason));
    }
    let secrets = secrets(options)?;
    Ok(Some(ClusterConfig {
        endpoints: endpoints(&store, secrets.tls.is_some())?,
        user: secrets.user,
        tls: secrets.tls,
        advertise: host(&advertise).to_owned(),
        lease: secrets.lease,
    }))
}

fn text(given: &mut Map<String, Value>, key: &str) -> Result<String> {
    match given.remove(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Error::bad(key, format!("{other}: a text is expected"))),
    }
}

struct Secrets {
    user: Option<User>,
    tls: Option<Tls>,
    lease: Duration,
}

fn secrets(options: BTreeMap<String, String>) -> Result<Secrets> {
    let bad = |name: &str, reason: &str| Error::bad("cluster-store-opts", format!("{name}: {reason}"));
    let (mut tls, mut secure) = (Tls::default(), false);
    let (mut name, mut password, mut lease) = (None, None, LEASE);
    for (key, value) in options {
        let file = || (!value.is_empty()).then(|| PathBuf::from(&value));
        match key.as_str() {
            "kv.cacertfile" => (tls.authorities, secure) = (file(), true),
            "kv.certfile" => (tls.certificate, secure) = (file(), true),
            "kv.keyfile" => (tls.key, secure) = (file(), true),
            "kv.username" => name = Some(value),
            "kv.password" => password = Some(value),
            "kv.passwordfile" => {
                let read = std::fs::read_to_string(&value).map_err(|error| bad(&key, &format!("{value}: {error}")))?;
                password = Some(read.trim_end_matches('\n').to_owned());
            }
            "discovery.ttl" => {
                let seconds = value
                    .parse::<u64>()
                    .ok()
                    .filter(|seconds| (3..=86_400).contains(seconds));
                let seconds = seconds.ok_or_else(|| bad(&key, "seconds from 3 to 86400 are expected"))?;
                lease = Duration::from_secs(seconds);
            }
            _ => {
                let known = "kv.cacertfile, kv.certfile, kv.keyfile, kv.username, kv.password, kv.passwordfile and discovery.ttl are known";
                return Err(bad(&key, known));
            }
        }
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        return Err(bad(
            "kv.certfile",
            "a certificate needs its key, and a key its certificate",
        ));
    }
    let user = match (name, password) {
        (None, None) => None,
        (Some(name), Some(password)) => Some(User { name, password }),
        _ => return Err(bad("kv.username", "a name needs a password, and a password a name")),
    };
    Ok(Secrets {
        user,
        tls: secure.then_some(tls),
        lease,
    })
}

/// `etcd://a:2379,b:2379`, as dockerd had it, or the addresses as etcd says them.
fn endpoints(store: &str, secure: bool) -> Result<Vec<String>> {
    let bad = |reason: String| Error::bad("cluster-store", format!("{store:?}: {reason}"));
    let (scheme, rest) = store
        .split_once("://")
        .ok_or_else(|| bad("etcd://HOST:PORT is expected".to_owned()))?;
    let scheme = match (scheme, secure) {
        ("etcd", false) | ("http", false) => "http",
        ("etcd", true) | ("https", _) => "https",
        ("http", true) => return Err(bad("certificates are for https".to_owned())),
        (other, _) => {
            return Err(bad(format!(
                "{other} is not known; clusters are kept in etcd: etcd://HOST:PORT"
            )));
        }
    };
    let one = |text: &str| {
        // Each member may say the scheme anew.
        let text = text
            .trim()
            .trim_start_matches(&format!("{scheme}://"))
            .trim_end_matches('/');
        if text.is_empty() || text.contains(['/', '?', '#', '@']) {
            return Err(bad("HOST:PORT[,HOST:PORT...] is expected after the scheme".to_owned()));
        }
        let has_port = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')));
        match has_port {
            true => Ok(format!("{scheme}://{text}")),
            false if text.contains(':') && !text.ends_with(']') => Err(bad(format!("{text}: a port is expected"))),
            false => Ok(format!("{scheme}://{text}:{PORT}")),
        }
    };
    rest.split(',').map(one).collect()
}

/// dockerd wanted a port behind it, which nobody asks at.
fn host(advertise: &str) -> &str {
    if advertise.parse::<std::net::IpAddr>().is_ok() {
        return advertise;
    }
    let host = match advertise.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => advertise,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reading(value: Value) -> Result<Option<ClusterConfig>> {
        let Value::Object(mut map) = value else {
            panic!("an object")
        };
        let read = read(&mut map);
        assert!(map.is_empty() || read.is_err(), "{map:?}");
        read
    }

    #[test]
    fn dockerd_s_words() {
        assert!(reading(json!({})).unwrap().is_none());
        let plain = reading(
            json!({"cluster-store": "etcd://10.0.0.1:2379,[fd00::1]:2380,three/", "cluster-advertise": "eth0:2376"}),
        );
        let plain = plain.unwrap().unwrap();
        assert_eq!(
            plain.endpoints,
            ["http://10.0.0.1:2379", "http://[fd00::1]:2380", "http://three:2379"]
        );
        assert_eq!((plain.advertise.as_str(), plain.lease), ("eth0", LEASE));
        let secure = reading(json!({
            "cluster-store": "etcd://one:2379", "cluster-advertise": "[fd00::9]:2376",
            "cluster-store-opts": {"kv.cacertfile": "/ca", "kv.certfile": "/c", "kv.keyfile": "/k", "kv.username": "u", "kv.password": "p",
                "discovery.ttl": "10"},
        }));
        let secure = secure.unwrap().unwrap();
        assert_eq!(secure.endpoints, ["https://one:2379"]);
        assert_eq!((secure.advertise.as_str(), secure.lease.as_secs()), ("fd00::9", 10));
        assert!(secure.user.is_some() && secure.tls.is_some());
        assert!(!format!("{secure:?}").contains("\"p\""));
    }

    #[test]
    fn where_plugins_are() {
        let reading = |value: Value| {
            let Value::Object(mut map) = value else {
                panic!("an object")
            };
            read_cni(&mut map)
        };
        let plain = reading(json!({})).unwrap();
        assert_eq!(
            (plain.plugins.len(), plain.configurations),
            (2, PathBuf::from("/etc/cni/net.d"))
        );
        let own = reading(json!({"cni-bin-dir": "/a:/b", "cni-conf-dir": "/c"})).unwrap();
        assert_eq!(own.plugins, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(own.configurations, PathBuf::from("/c"));
        assert!(reading(json!({"cni-bin-dir": "/a:b"})).is_err());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |more: Value| {
            let mut all = json!({"cluster-store": "etcd://one:2379", "cluster-advertise": "eth0"});
            let Value::Object(more) = more else { panic!("an object") };
            all.as_object_mut().unwrap().extend(more);
            all
        };
        for (value, says) in [
            (json!({"cluster-advertise": "eth0"}), "cluster-store"),
            (json!({"cluster-store": "etcd://one:2379"}), "cluster-advertise"),
            (with(json!({"cluster-store": "consul://one:8500"})), "consul"),
            (with(json!({"cluster-store": "one:2379"})), "etcd://"),
            (with(json!({"cluster-store": "etcd://"})), "HOST:PORT"),
            (with(json!({"cluster-store": "etcd://fd00::1"})), "port"),
            (with(json!({"cluster-store-opts": {"kv.path": "x"}})), "kv.path"),
            (with(json!({"cluster-store-opts": {"kv.keyfile": "/k"}})), "kv.certfile"),
            (with(json!({"cluster-store-opts": {"kv.username": "u"}})), "kv.username"),
            (
                with(json!({"cluster-store-opts": {"discovery.ttl": "1"}})),
                "discovery.ttl",
            ),
        ] {
            let text = reading(value.clone()).unwrap_err().to_string();
            assert!(text.contains(says), "{value}: {text}");
        }
    }
}
