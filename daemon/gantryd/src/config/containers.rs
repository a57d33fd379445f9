//! Options about what containers have that do not say otherwise.

use crate::error::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// In the file and, with dashes before them, on the command line.
const KEYS: [&str; 6] = [
    "cpu-rt-period",
    "cpu-rt-runtime",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "init",
    "init-path",
];

pub fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ContainerOptions {
    /// Put an init process into containers that do not say
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<bool>,
    /// The program for it; docker-init on the daemon's PATH if not given
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    init_path: Option<String>,
    /// private or shareable, for containers that do not say
    #[arg(long, value_name = "MODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_ipc_mode: Option<String>,
    /// host or private, for containers that do not say (default private under cgroup v2, else host)
    #[arg(long, value_name = "MODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_cgroupns_mode: Option<String>,
    /// Microseconds over which real-time processes of all containers are counted (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_rt_period: Option<i64>,
    /// Microseconds that they may run in it, all together (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_rt_runtime: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presets {
    pub init: bool,
    pub init_path: Option<PathBuf>,
    pub ipc_mode: String,
    pub cgroupns_mode: String,
    pub cpu_rt_period: i64,
    pub cpu_rt_runtime: i64,
}

/// Takes its keys out.
pub fn read(given: &mut Map<String, Value>) -> Result<Presets> {
    let presets = Presets {
        init: take(given, "init")?.unwrap_or(false),
        init_path: take::<String>(given, "init-path")?
            .filter(|text| !text.is_empty())
            .map(program)
            .transpose()?,
        ipc_mode: mode(given, "default-ipc-mode", &["private", "shareable"])?,
        cgroupns_mode: mode(given, "default-cgroupns-mode", &["host", "private"])?,
        cpu_rt_period: take(given, "cpu-rt-period")?.unwrap_or(0),
        cpu_rt_runtime: take(given, "cpu-rt-runtime")?.unwrap_or(0),
    };
    let (period, runtime) = (presets.cpu_rt_period, presets.cpu_rt_runtime);
    for (key, value) in [("cpu-rt-period", period), ("cpu-rt-runtime", runtime)] {
        if value < 0 {
            return Err(Error::bad(key, format!("{value} is less than 0")));
        }
    }
    if period > 0 && runtime > period {
        return Err(Error::bad(
            "cpu-rt-runtime",
            format!("{runtime} is more than cpu-rt-period, {period}"),
        ));
    }
    Ok(presets)
}

fn take<T: serde::de::DeserializeOwned>(given: &mut Map<String, Value>, key: &str) -> Result<Option<T>> {
    match given.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::bad(key, error.to_string())),
    }
}

fn program(text: String) -> Result<PathBuf> {
    let path = PathBuf::from(&text);
    match (path.is_absolute(), path.is_file()) {
        (true, true) => Ok(path),
        (false, _) => Err(Error::bad("init-path", format!("{text:?} is no absolute path"))),
        (true, false) => Err(Error::bad("init-path", format!("{text} is no file"))),
    }
}

fn mode(given: &mut Map<String, Value>, key: &str, known: &[&str]) -> Result<String> {
    let mode: String = take(given, key)?.unwrap_or_default();
    match mode.as_str() {
        "" => Ok(mode),
        text if known.contains(&text) => Ok(mode),
        other => Err(Error::bad(
            key,
            format!("{other:?} is no mode; {} are", known.join(" and ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(key: &str, value: Value) -> Result<Presets> {
        read(&mut Map::from_iter([(key.to_owned(), value)]))
    }

    #[test]
    fn what_is_said_is_preset_and_nonsense_is_named() {
        assert_eq!(read(&mut Map::new()).unwrap(), Presets::default());
        assert!(told("init", json!(true)).unwrap().init);
        assert_eq!(
            told("default-ipc-mode", json!("shareable")).unwrap().ipc_mode,
            "shareable"
        );
        assert_eq!(told("cpu-rt-runtime", json!(5)).unwrap().cpu_rt_runtime, 5);
        for (key, value) in [
            ("init", json!("x")),
            ("init-path", json!("tini")),
            ("init-path", json!("/no/such")),
            ("default-ipc-mode", json!("host")),
            ("default-cgroupns-mode", json!("x")),
            ("cpu-rt-period", json!(-1)),
        ] {
            let text = told(key, value).unwrap_err().to_string();
            assert!(text.contains(key), "{text}");
        }
    }
}
