//! Where a container's output is kept, and how: what the options of its log come to.

use crate::context::Context;
use gantry_core::container::ContainerRecord;
use gantry_core::{Error, Result};
use gantry_task::{LogConfig, Rotation};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `local` does unless it is told otherwise, as Docker's.
const LOCAL: Rotation = Rotation::At {
    size: 20 << 20,
    files: 5,
    compress: true,
};

/// The file that a container's output is read back from; none if its driver keeps none.
pub(crate) fn path(context: &Context, record: &ContainerRecord) -> Option<PathBuf> {
    let dir = context.state_dir(&record.id);
    match context.log(record).0 {
        "json-file" => Some(dir.join(format!("{}-json.log", record.id))),
        // The format is our own affair, and the name says so.
        "local" => Some(dir.join("local.log")),
        _ => None,
    }
}

/// Drivers that keep what is written, by name.
pub const DRIVERS: [&str; 2] = ["json-file", "local"];

/// Drivers that Docker has and this engine has not.
const ELSEWHERE: [&str; 9] = [
    "awslogs",
    "etwlogs",
    "fluentd",
    "gcplogs",
    "gelf",
    "journald",
    "logentries",
    "splunk",
    "syslog",
];

/// What the shim does with the output, from the container's log options or else the daemon's.
pub(crate) fn config(context: &Context, record: &ContainerRecord) -> Result<LogConfig> {
    let (driver, options) = context.log(record);
    delivery(options)?;
    match driver {
        "none" => {
            refuse_options(driver, options.keys(), &[])?;
            Ok(LogConfig::None)
        }
        "json-file" => {
            refuse_options(
                driver,
                options.keys(),
                &[
                    "max-size",
                    "max-file",
                    "compress",
                    "labels",
                    "labels-regex",
                    "env",
                    "env-regex",
                    "tag",
                ],
            )?;
            Ok(LogConfig::JsonFile {
                path: None,
                rotation: rotation(options, Rotation::default())?,
                attrs: attributes(record, options)?,
            })
        }
        "local" => {
            refuse_options(driver, options.keys(), &["max-size", "max-file", "compress"])?;
            Ok(LogConfig::JsonFile {
                path: path(context, record),
                rotation: rotation(options, LOCAL)?,
                attrs: BTreeMap::new(),
            })
        }
        other if ELSEWHERE.contains(&other) => Err(Error::new(
            gantry_core::ErrorKind::Unimplemented,
            format!("logger: log driver '{other}' is not built; json-file, local and none are"),
        )),
        other => Err(Error::invalid(format!(
            "logger: no log driver named '{other}' is registered"
        ))),
    }
}

/// How lines come to the log: each of them, which is what `blocking` means.
fn delivery(options: &BTreeMap<String, String>) -> Result<()> {
    match options.get("mode").map(String::as_str) {
        None | Some("" | "blocking") => {}
        Some("non-blocking") => {
            return Err(Error::invalid(
                "log opt mode=non-blocking is refused: no line is dropped here, and a full disk stops no container",
            ));
        }
        Some(other) => return Err(Error::invalid(format!("logger: logging mode not supported: {other}"))),
    }
    match options.contains_key("max-buffer-size") {
        true => Err(Error::invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        )),
        false => Ok(()),
    }
}

fn refuse_options<'a>(driver: &str, given: impl Iterator<Item = &'a String>, known: &[&str]) -> Result<()> {
    for name in given {
        // Every driver has them.
        if matches!(name.as_str(), "mode" | "max-buffer-size") {
            continue;
        }
        if !known.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "unknown log opt '{name}' for {driver} log driver"
            )));
        }
    }
    Ok(())
}

fn rotation(options: &BTreeMap<String, String>, preset: Rotation) -> Result<Rotation> {
    let bad = |name: &str, value: &str| Error::invalid(format!("invalid value for log opt {name}: \"{value}\""));
    let Rotation::At {
        mut size,
        mut files,
        mut compress,
    } = preset
    else {
        return Ok(Rotation::Never);
    };
    if let Some(text) = options.get("max-file") {
        files = text
            .parse()
            .ok()
            .filter(|files| *files > 0)
            .ok_or_else(|| bad("max-file", text))?;
    }
    if let Some(text) = options.get("compress") {
        compress = text.parse().map_err(|_| bad("compress", text))?;
    }
    match options.get("max-size").map(String::as_str) {
        Some("-1") => return Ok(Rotation::Never),
        Some(text) => {
            size = parse_size(text)
                .filter(|size| *size > 0)
                .ok_or_else(|| bad("max-size", text))?
        }
        None => {}
    }
    Ok(Rotation::At { size, files, compress })
}

/// The options that are in force for containers that name none: what the daemon was told, and what rotation adds to it.
pub(crate) fn in_force(driver: &str, told: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut options = told.clone();
    if driver == "json-file"
        && let Ok(Rotation::At { size, files, compress }) = rotation(told, Rotation::default())
    {
        let mib = 1 << 20;
        let size = if size % mib == 0 {
            format!("{}m", size / mib)
        } else {
            size.to_string()
        };
        for (name, value) in [
            ("max-size", size),
            ("max-file", files.to_string()),
            ("compress", compress.to_string()),
        ] {
            options.entry(name.to_owned()).or_insert(value);
        }
    }
    options
}

/// `10m`, `512k`, `1g`, `4096`: powers of 1024, as Docker reads them.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// What goes into every line: labels and variables, by name or by pattern, and the tag.
fn attributes(record: &ContainerRecord, options: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::new();
    let labels = record
        .config
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let env = record.config.env.iter().filter_map(|entry| entry.split_once('='));
    pick("labels", options, labels, &mut attributes)?;
    pick("env", options, env, &mut attributes)?;
    match options.get("tag") {
        Some(text) if !text.is_empty() => {
            attributes.insert("tag".to_owned(), tag(text, record)?);
        }
        Some(_) | None => {}
    }
    Ok(attributes)
}

/// Those of the pairs that an option names, with commas between, or that its pattern fits.
fn pick<'a>(
    option: &str,
    options: &BTreeMap<String, String>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    into: &mut BTreeMap<String, String>,
) -> Result<()> {
    let names: Vec<&str> = options
        .get(option)
        .map_or_else(Vec::new, |names| names.split(',').collect());
    let pattern = options.get(&format!("{option}-regex")).filter(|text| !text.is_empty());
    let pattern = pattern
        .map(|text| {
            regex_lite::Regex::new(text)
                .map_err(|error| Error::invalid(format!("invalid value for log opt {option}-regex: {text}: {error}")))
        })
        .transpose()?;
    for (name, value) in pairs {
        if names.contains(&name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
            into.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// A tag with what stands for the container filled in.
fn tag(text: &str, record: &ContainerRecord) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let bad = || Error::invalid(format!("invalid value for log opt tag: {text:?}"));
        let (field, after) = behind.split_once("}}").ok_or_else(bad)?;
        let image = record.image_id.to_string();
        filled.push_str(before);
        filled.push_str(match field.trim() {
            ".ID" => record.id.short(),
            ".FullID" => record.id.as_str(),
            ".Name" => &record.name,
            ".ImageID" => image.get(..12).unwrap_or(&image),
            ".ImageFullID" => &image,
            ".ImageName" => &record.config.image,
            ".DaemonName" => "gantry",
            other => {
                return Err(Error::invalid(format!(
                    "log opt tag: {{{{{other}}}}} is not known; .ID, .FullID, .Name, .ImageID, .ImageFullID, .ImageName and .DaemonName are"
                )));
            }
        });
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_goes_into_a_line() {
        let mut picked = BTreeMap::new();
        let pairs = || [("a", "1"), ("ab", "2"), ("c", "3")].into_iter();
        pick(
            "labels",
            &options(&[("labels", "c,x"), ("labels-regex", "^ab")]),
            pairs(),
            &mut picked,
        )
        .unwrap();
        assert_eq!(picked, options(&[("ab", "2"), ("c", "3")]));
        assert!(pick("env", &options(&[("env-regex", "(")]), pairs(), &mut picked).is_err());
    }

    #[test]
    fn every_line_is_delivered() {
        assert!(delivery(&options(&[("mode", "blocking")])).is_ok());
        for bad in [("mode", "non-blocking"), ("mode", "x"), ("max-buffer-size", "1m")] {
            assert!(delivery(&options(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10", Some(10)),
            ("1k", Some(1024)),
            ("20m", Some(20 << 20)),
            ("1GB", Some(1 << 30)),
            ("x", None),
            ("1q", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
