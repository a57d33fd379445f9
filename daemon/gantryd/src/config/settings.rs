//! The configuration, checked and complete.

use super::containerd::Tuning;
use super::containers::Presets;
use super::doors::{self, Doors};
use super::values::{self, PROXY_PLUGINS, ProxyPlugin};
use super::{DEFAULT_EXEC_ROOT, Places, cluster, containers, networks};
use crate::error::{Error, Result};
use gantry_core::container::{LogConfig, Ulimit};
use gantry_engine::NamedRuntime;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Keys of `daemon.json` that do something. `address` is ours, the other names are dockerd's.
pub const KEYS: &[&str] = &[
    "address",
    "cgroup-parent",
    "data-root",
    "debug",
    "default-runtime",
    "default-shm-size",
    "default-ulimits",
    "exec-opts",
    "exec-root",
    "hook-spec",
    "insecure-registries",
    "labels",
    "live-restore",
    "log-driver",
    "log-format",
    "log-level",
    "log-opts",
    "max-concurrent-downloads",
    "no-new-privileges",
    "pidfile",
    PROXY_PLUGINS.0,
    "raw-logs",
    "runtimes",
    "seccomp-profile",
    "shutdown-timeout",
    "storage-driver",
    "userland-proxy",
];

/// How lines of the daemon's own log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Which snapshotter; `None` in [`Settings`] = the best that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    Overlayfs,
    Native,
    /// One of [`Settings::proxies`].
    Proxy(String),
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub network: gantry_engine::NetworkConfig,
    /// The gRPC socket.
    pub address: PathBuf,
    pub address_uid: u32,
    pub address_gid: u32,
    /// Where the Docker API is served; nowhere = not at all.
    pub doors: Doors,
    pub pidfile: PathBuf,
    pub storage_driver: Option<Driver>,
    /// Snapshots services outside.
    pub proxies: Vec<ProxyPlugin>,
    pub debug: bool,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    pub raw_logs: bool,
    pub live_restore: bool,
    /// `None` = as long as the containers' own stop timeouts.
    pub shutdown_timeout: Option<Duration>,
    /// Empty = built in.
    pub default_runtime: String,
    pub runtimes: BTreeMap<String, NamedRuntime>,
    pub log: LogConfig,
    pub default_ulimits: Vec<Ulimit>,
    pub hook_spec: Option<PathBuf>,
    /// `builtin`, `unconfined` or JSON text.
    pub seccomp_profile: String,
    pub no_new_privileges: bool,
    /// Bytes, 0 = 64 MiB.
    pub shm_size: i64,
    pub labels: Vec<String>,
    pub insecure_registries: Vec<String>,
    pub cgroup_parent: String,
    /// What containers have that do not say.
    pub presets: Presets,
    pub max_concurrent_downloads: usize,
    /// What only containerd's file says.
    pub tuning: Tuning,
    /// To be said once logging is up.
    pub warnings: Vec<String>,
}

/// Takes typed values out of a map; an error names the key.
struct Reader(Map<String, Value>);

impl Reader {
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Error::bad(key, error.to_string())),
        }
    }

    fn text(&mut self, key: &str) -> Result<String> {
        Ok(self.take(key)?.unwrap_or_default())
    }

    fn truth(&mut self, key: &str, default: bool) -> Result<bool> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// A path made absolute; an empty one counts as not given.
    fn path(&mut self, key: &str, default: &Path) -> Result<PathBuf> {
        let given = self.take::<PathBuf>(key)?.filter(|path| !path.as_os_str().is_empty());
        let path = given.unwrap_or_else(|| default.to_owned());
        std::path::absolute(&path).map_err(|error| Error::bad(key, error.to_string()))
    }
}

impl Settings {
    pub(super) fn read(
        given: Map<String, Value>,
        tuning: Tuning,
        mut warnings: Vec<String>,
        places: &Places,
    ) -> Result<Self> {
        let mut reader = Reader(given);
        let data_root = reader.path("data-root", Path::new(places.data_root))?;
        let exec_root = reader.path("exec-root", Path::new(places.exec_root))?;
        let instance = instance(&exec_root);
        let mut network = networks::read(&mut reader.0, &instance, &mut warnings)?;
        let mut doors = doors::read(&mut reader.0, &exec_root, &mut warnings)?;
        if !places.docker {
            network.bridge = None;
            doors.hosts.clear();
        }
        let presets = containers::read(&mut reader.0)?;
        network.cluster = cluster::read(&mut reader.0)?;
        network.cni = cluster::read_cni(&mut reader.0)?;
        let address = address(&mut reader, &exec_root, places)?;
        let proxies = reader
            .take(PROXY_PLUGINS.0)?
            .map_or_else(|| Ok(Vec::new()), values::proxies)?;
        let debug = reader.truth("debug", false)?;
        exec_opts(reader.take("exec-opts")?.unwrap_or_default())?;
        if reader.truth("userland-proxy", false)? {
            warnings.push("userland-proxy: published ports need no proxy here; the option does nothing".to_owned());
        }
        let runtimes = reader
            .take("runtimes")?
            .map_or_else(|| Ok(BTreeMap::new()), values::runtimes)?;
        Ok(Self {
            pidfile: reader.path("pidfile", &exec_root.join("gantryd.pid"))?,
            address,
            doors,
            address_uid: reader.take("address-uid")?.unwrap_or(0),
            address_gid: reader.take("address-gid")?.unwrap_or(0),
            storage_driver: driver(&reader.text("storage-driver")?, &proxies)?,
            proxies,
            log_level: level(&reader.text("log-level")?, debug)?,
            log_format: format(&reader.text("log-format")?)?,
            raw_logs: reader.truth("raw-logs", false)?,
            live_restore: reader.truth("live-restore", true)?,
            shutdown_timeout: u64::try_from(reader.take("shutdown-timeout")?.unwrap_or(15_i64))
                .ok()
                .map(Duration::from_secs),
            default_runtime: default_runtime(reader.text("default-runtime")?, &runtimes)?,
            runtimes,
            log: log(&mut reader)?,
            default_ulimits: reader
                .take("default-ulimits")?
                .map_or_else(|| Ok(Vec::new()), values::ulimits)?,
            hook_spec: hook_spec(reader.take("hook-spec")?)?,
            seccomp_profile: seccomp(reader.text("seccomp-profile")?)?,
            no_new_privileges: reader.truth("no-new-privileges", false)?,
            shm_size: shm_size(reader.take("default-shm-size")?)?,
            labels: labels(reader.take("labels")?.unwrap_or_default())?,
            insecure_registries: reader.take("insecure-registries")?.unwrap_or_default(),
            cgroup_parent: cgroup_parent(reader.text("cgroup-parent")?, &instance)?,
            max_concurrent_downloads: downloads(reader.take("max-concurrent-downloads")?)?,
            presets,
            network,
            data_root,
            exec_root,
            debug,
            tuning,
            warnings,
        })
    }
}

impl Settings {
    /// Where clients of containerd's API install programs.
    pub fn opt(&self) -> PathBuf {
        self.tuning.opt.clone().unwrap_or_else(|| self.data_root.join("opt"))
    }
}

/// Daemons on another exec root carry a number of their own in the names of what they make.
fn instance(exec_root: &Path) -> String {
    if exec_root == Path::new(DEFAULT_EXEC_ROOT) {
        return String::new();
    }
    let digest = Sha256::digest(exec_root.as_os_str().as_encoded_bytes());
    hex::encode(&digest[..4])
}

fn address(reader: &mut Reader, exec_root: &Path, places: &Places) -> Result<PathBuf> {
    let text = reader.text("address")?;
    if text.is_empty() {
        return Ok(places
            .address
            .map_or_else(|| exec_root.join("gantry.sock"), PathBuf::from));
    }
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    if path.contains("://") {
        return Err(Error::Unbuilt {
            option: "--address".to_owned(),
            value: text,
            instead: "give the path of a unix socket".to_owned(),
        });
    }
    std::path::absolute(path).map_err(|error| Error::bad("address", error.to_string()))
}

fn driver(name: &str, proxies: &[ProxyPlugin]) -> Result<Option<Driver>> {
    match name {
        "" => Ok(None),
        "overlayfs" | "overlay2" | "overlay" => Ok(Some(Driver::Overlayfs)),
        "native" | "vfs" => Ok(Some(Driver::Native)),
        outside if proxies.iter().any(|proxy| proxy.name == outside) => Ok(Some(Driver::Proxy(outside.to_owned()))),
        other => {
            let known: Vec<&str> = ["overlayfs", "native"]
                .into_iter()
                .chain(proxies.iter().map(|proxy| proxy.name.as_str()))
                .collect();
            let reason = format!(
                "{other:?} is not known; {} are, and what {} names",
                known.join(", "),
                PROXY_PLUGINS.0
            );
            Err(Error::bad("storage-driver", reason))
        }
    }
}

/// Whether a text of another file says what the key means. The error is the reason.
pub(super) fn check_text(key: &str, text: &str) -> Result<(), String> {
    let outcome = match key {
        "log-level" => level(text, false).map(drop),
        "log-format" => format(text).map(drop),
        _ => Ok(()),
    };
    outcome.map_err(|error| match error {
        Error::BadValue { reason, .. } => reason,
        other => other.to_string(),
    })
}

fn level(name: &str, debug: bool) -> Result<LevelFilter> {
    let level = match name {
        "" | "info" => LevelFilter::INFO,
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        other => {
            let reason = format!("{other:?} is no level; trace, debug, info, warn, error and fatal are");
            return Err(Error::bad("log-level", reason));
        }
    };
    Ok(if debug { level.max(LevelFilter::DEBUG) } else { level })
}

fn format(name: &str) -> Result<LogFormat> {
    match name {
        "" | "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(Error::bad(
            "log-format",
            format!("{other:?} is not known; text and json are"),
        )),
    }
}

fn default_runtime(name: String, runtimes: &BTreeMap<String, NamedRuntime>) -> Result<String> {
    match name.as_str() {
        "" | "gantry" | "io.containerd.gantry.v1" => Ok(String::new()),
        known if runtimes.contains_key(known) || on_path(known) => Ok(name),
        shim if shim.starts_with("io.containerd.") || shim.starts_with('/') => match gantry_task::shim_program(shim) {
            Ok(_) => Ok(name),
            Err(error) => Err(Error::bad("default-runtime", error.message())),
        },
        other => {
            let reason = format!("no program {other:?} is on the PATH; name its path by --add-runtime {other}=PATH");
            Err(Error::bad("default-runtime", reason))
        }
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !program.contains('/') && std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The only choice there is today is cgroupfs and the normal umask.
fn exec_opts(options: Vec<String>) -> Result<()> {
    for option in options {
        let instead = "remove it; cgroups are driven through cgroupfs, the umask is the image's".to_owned();
        match option.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs")) | Some(("native.umask", "normal")) => {}
            Some(("native.cgroupdriver" | "native.umask", _)) => {
                return Err(Error::Unbuilt {
                    option: "--exec-opt".to_owned(),
                    value: option,
                    instead,
                });
            }
            _ => {
                return Err(Error::bad(
                    "exec-opts",
                    format!("{option:?} is not known; native.cgroupdriver and native.umask are"),
                ));
            }
        }
    }
    Ok(())
}

fn log(reader: &mut Reader) -> Result<LogConfig> {
    let driver = match reader.text("log-driver")? {
        name if name.is_empty() => "json-file".to_owned(),
        name => name,
    };
    if !matches!(driver.as_str(), "json-file" | "local" | "none") {
        let instead = "use json-file, local or none".to_owned();
        return Err(Error::Unbuilt {
            option: "--log-driver".to_owned(),
            value: driver,
            instead,
        });
    }
    Ok(LogConfig {
        driver,
        options: reader.take("log-opts")?.unwrap_or_default(),
    })
}

/// The file itself is read at each create; that it is there is checked now.
fn hook_spec(path: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    if !path.is_absolute() {
        return Err(Error::bad(
            "hook-spec",
            format!("{}: an absolute path is expected", path.display()),
        ));
    }
    match std::fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(Some(path)),
        Ok(_) => Err(Error::bad(
            "hook-spec",
            format!("{} is not a regular file", path.display()),
        )),
        Err(error) => Err(Error::bad("hook-spec", format!("{}: {error}", path.display()))),
    }
}

fn seccomp(profile: String) -> Result<String> {
    match profile.as_str() {
        "" | "builtin" => Ok("builtin".to_owned()),
        "unconfined" => Ok(profile),
        path => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::bad("seccomp-profile", format!("{path}: {error}")))?;
            serde_json::from_str::<Map<String, Value>>(&text)
                .map_err(|error| Error::bad("seccomp-profile", format!("{path} is not a profile: {error}")))?;
            Ok(text)
        }
    }
}

fn shm_size(value: Option<Value>) -> Result<i64> {
    let bytes = match &value {
        None => Some(0),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => values::size(text),
        Some(_) => None,
    };
    bytes
        .filter(|bytes| *bytes >= 0)
        .ok_or_else(|| Error::bad("default-shm-size", "a size such as 64m is expected"))
}

fn labels(labels: Vec<String>) -> Result<Vec<String>> {
    let mut seen = BTreeMap::new();
    for label in &labels {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        if key.is_empty() {
            return Err(Error::bad("labels", format!("{label:?}: NAME=VALUE is expected")));
        }
        if let Some(other) = seen.insert(key, value)
            && other != value
        {
            return Err(Error::bad(
                "labels",
                format!("{key} is given twice, as {other:?} and {value:?}"),
            ));
        }
    }
    Ok(labels)
}

fn cgroup_parent(given: String, instance: &str) -> Result<String> {
    match given.as_str() {
        "" if instance.is_empty() => Ok("/gantry".to_owned()),
        "" => Ok(format!("/gantry-{instance}")),
        path if path.split('/').any(|part| part == "..") => {
            Err(Error::bad("cgroup-parent", format!("{path:?} leads upwards")))
        }
        path => Ok(format!("/{}", path.trim_matches('/'))),
    }
}

fn downloads(count: Option<i64>) -> Result<usize> {
    match count {
        None => Ok(3),
        Some(count @ 1..=64) => Ok(usize::try_from(count).unwrap_or(3)),
        Some(other) => Err(Error::bad(
            "max-concurrent-downloads",
            format!("{other} is not between 1 and 64"),
        )),
    }
}
