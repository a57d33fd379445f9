//! `hosts.toml`: which hosts serve a registry, for what, and with which certificates (containerd docs/hosts.md).

use super::http::{Can, Client, Endpoint};
use super::{RegistryConfig, Scheme};
use crate::error::{ImageError, Result};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Largest `hosts.toml` read.
const MAX_FILE: u64 = 1 << 20;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<String, Host>,
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: Option<BTreeMap<String, OneOrMore>>,
    override_path: Option<bool>,
    dial_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    header: Option<BTreeMap<String, OneOrMore>>,
    override_path: Option<bool>,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// Certificates that a directory or an entry adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    pub authorities: Vec<PathBuf>,
    /// Certificate and key; the key may be in the certificate's file.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
}

impl Certificates {
    fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_empty()
    }
}

/// The endpoints for `host` by its directory below `root`, in order; `None` if there is none.
pub(super) fn endpoints(
    root: &Path,
    host: &str,
    origin: &str,
    scheme: Option<Scheme>,
    config: &RegistryConfig,
) -> Result<Option<Vec<Endpoint>>> {
    let Some(dir) = directory(root, host) else {
        return Ok(None);
    };
    let path = dir.join("hosts.toml");
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let certificates = beside(&dir)?;
            if certificates.is_empty() {
                return Ok(None);
            }
            let server = format!("{}://{origin}", scheme.unwrap_or(Scheme::Https).name());
            let host = Host::default();
            return Ok(Some(vec![endpoint(&dir, &server, host, certificates, config, None)?]));
        }
        Err(error) => return Err(bad(&path, error)),
    };
    let file: File = toml::from_str(&text).map_err(|error| bad(&path, error.message()))?;
    let mut entries: Vec<(String, Host)> = file.host.into_iter().collect();
    // In the order in which the file names them: a table has none.
    entries.sort_by_key(|(url, _)| text.find(url.as_str()));
    let mut endpoints = Vec::new();
    for (url, host) in entries {
        let url = with_scheme(&url, scheme);
        endpoints.push(endpoint(
            &dir,
            &url,
            host,
            Certificates::default(),
            config,
            Some(origin),
        )?);
    }
    let server = Host {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        header: file.header,
        override_path: file.override_path,
        dial_timeout: file.dial_timeout,
    };
    let url = with_scheme(file.server.as_deref().unwrap_or(origin), scheme);
    endpoints.push(endpoint(&dir, &url, server, Certificates::default(), config, None)?);
    Ok(Some(endpoints))
}

/// `host_port_`, `host:port` or `_default`, whichever is there.
fn directory(root: &Path, host: &str) -> Option<PathBuf> {
    let ported = host.rsplit_once(':').map(|(name, port)| format!("{name}_{port}_"));
    let names = ported.into_iter().chain([host.to_owned(), "_default".to_owned()]);
    // A host is a registry's domain: it has no slash and is no way out of the directory.
    names
        .filter(|name| !name.contains('/') && name != "..")
        .map(|name| root.join(name))
        .find(|dir| dir.is_dir())
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn with_scheme(url: &str, scheme: Option<Scheme>) -> String {
    match url.contains("://") {
        true => url.to_owned(),
        false => format!("{}://{url}", scheme.unwrap_or(Scheme::Https).name()),
    }
}

/// One entry. `mirrors` names the host that it stands in for.
fn endpoint(
    dir: &Path,
    url: &str,
    host: Host,
    mut certificates: Certificates,
    config: &RegistryConfig,
    mirrors: Option<&str>,
) -> Result<Endpoint> {
    let lax = host.skip_verify.unwrap_or(false);
    let mut endpoint = Endpoint::mirror(url, lax)?;
    endpoint.lax = lax || url.starts_with("http://");
    endpoint.mirror = mirrors.is_some();
    endpoint.stands_for = mirrors.filter(|origin| *origin != endpoint.host).map(str::to_owned);
    if host.override_path.unwrap_or(false) || endpoint.base.ends_with("/v2") {
        endpoint.api.clone_from(&endpoint.base);
    }
    endpoint.can = capabilities(dir, host.capabilities)?;
    endpoint.headers = headers(dir, host.header)?;
    let files = host.ca.map(OneOrMore::all).unwrap_or_default();
    certificates.authorities.extend(files.iter().map(|file| dir.join(file)));
    certificates.client.extend(client_files(dir, host.client)?);
    let dial = host
        .dial_timeout
        .map(|text| duration(&text).ok_or_else(|| bad(&dir.join("hosts.toml"), format!("dial_timeout \"{text}\""))))
        .transpose()?;
    if !certificates.is_empty() || dial.is_some() {
        let mut own = config.clone();
        own.ca_files.extend(certificates.authorities);
        own.connect_timeout = dial.unwrap_or(own.connect_timeout);
        endpoint.client = Some(Arc::new(Client::with_certificates(&own, certificates.client)));
    }
    Ok(endpoint)
}

fn capabilities(dir: &Path, given: Option<Vec<String>>) -> Result<Can> {
    let Some(given) = given else { return Ok(Can::ALL) };
    let mut can = Can::default();
    for one in given {
        match one.as_str() {
            "pull" => can.pull = true,
            "resolve" => can.resolve = true,
            "push" => can.push = true,
            // Asked of registries by other programs than this.
            "referrers" => {}
            other => return Err(bad(&dir.join("hosts.toml"), format!("unknown capability \"{other}\""))),
        }
    }
    Ok(can)
}

fn headers(dir: &Path, given: Option<BTreeMap<String, OneOrMore>>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, values) in given.unwrap_or_default() {
        let fault = || bad(&dir.join("hosts.toml"), format!("header \"{name}\" is not sound"));
        let key = HeaderName::try_from(name.as_str()).map_err(|_| fault())?;
        for value in values.all() {
            headers.append(key.clone(), HeaderValue::from_str(&value).map_err(|_| fault())?);
        }
    }
    Ok(headers)
}

/// `"file"`, `["file", ...]` or `[["certificate", "key"], ...]`.
fn client_files(dir: &Path, given: Option<toml::Value>) -> Result<Vec<(PathBuf, Option<PathBuf>)>> {
    let fault = || {
        bad(
            &dir.join("hosts.toml"),
            "client must be a file, files, or pairs of files",
        )
    };
    let file = |value: &toml::Value| value.as_str().map(|file| dir.join(file)).ok_or_else(fault);
    match given {
        None => Ok(Vec::new()),
        Some(toml::Value::Array(all)) => {
            let one = |value: &toml::Value| match value.as_array().map(Vec::as_slice) {
                None => Ok((file(value)?, None)),
                Some([certificate]) => Ok((file(certificate)?, None)),
                Some([certificate, key]) => {
                    let key = key.as_str().filter(|key| !key.is_empty()).map(|key| dir.join(key));
                    Ok((file(certificate)?, key))
                }
                Some(_) => Err(fault()),
            };
            all.iter().map(one).collect()
        }
        Some(one) => Ok(vec![(file(&one)?, None)]),
    }
}

/// Docker's layout: `*.crt` are authorities, `*.cert` with `*.key` the client's.
fn beside(dir: &Path) -> Result<Certificates> {
    let mut found = Certificates::default();
    let entries = std::fs::read_dir(dir).map_err(|error| bad(dir, error))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                found.client.push((file, Some(key)));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Go's form, as far as time-outs use it: `1.5s`, `300ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn bad(path: &Path, detail: impl std::fmt::Display) -> ImageError {
    ImageError::Settings {
        detail: format!("{}: {detail}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)], host: &str) -> Result<Option<Vec<Endpoint>>> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        endpoints(root.path(), host, host, None, &RegistryConfig::default())
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file_and_the_server_last() {
        let text = r#"
            server = "https://origin.test"
            [host."https://z.test"]
              capabilities = ["pull", "resolve"]
            [host."http://a.test/prefix/v2"]
              override_path = true
              [host."http://a.test/prefix/v2".header]
                x-one = ["1", "2"]
        "#;
        let found = of(&[("r.test/hosts.toml", text)], "r.test").unwrap().unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.api.as_str(), one.mirror, one.can.push, one.headers.len()))
            .collect();
        let want = [
            ("https://z.test/v2", true, false, 0),
            ("http://a.test/prefix/v2", true, true, 2),
            ("https://origin.test/v2", false, true, 0),
        ];
        assert_eq!(shown, want);
        assert_eq!(found[0].stands_for.as_deref(), Some("r.test"));
        assert!(of(&[("other/hosts.toml", text)], "r.test").unwrap().is_none());
        assert!(of(&[("_default/hosts.toml", text)], "r.test").unwrap().is_some());
        assert!(
            of(&[("r.test_5000_/hosts.toml", text)], "r.test:5000")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, said) in [
            ("server = 1", "hosts.toml"),
            ("sever = \"x\"", "sever"),
            ("capabilities = [\"fly\"]", "fly"),
            ("dial_timeout = \"soon\"", "soon"),
            ("client = 1", "client"),
        ] {
            let error = of(&[("r/hosts.toml", text)], "r").err().expect(text);
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn dockers_directory_of_certificates_is_one() {
        let found = of(&[("r/ca.crt", ""), ("r/me.cert", ""), ("r/me.key", "")], "r")
            .unwrap()
            .unwrap();
        assert!(found.len() == 1 && found[0].client.is_some() && !found[0].mirror);
    }
}
