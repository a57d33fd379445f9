//! Small values as Docker's command line writes them, each read by one function. Errors are the text after the flag's name.

mod blkio;
mod config;
mod durations;
mod env;
mod health;
mod hosts;
mod ipam;
mod mount;
mod mounts;
mod networks;
mod ports;

use std::collections::HashMap;

use gantry_proto::gantry::v1 as pb;

pub(crate) use blkio::{weight, well_formed as device_rate};
pub(crate) use config::{Wanted, container};
pub(crate) use durations::duration;
pub(crate) use env::{env_name, environment};
pub(crate) use hosts::{address, domain, extra_host, link};
pub(crate) use ipam::ipam;
pub(crate) use mount::mount;
pub(crate) use networks::{check as network, endpoint};

use crate::error::{Error, Result};

/// Names of resource limits.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// "nofile=1024:2048"; one number sets both limits, -1 means unlimited.
pub(crate) fn ulimit(text: &str) -> Result<pb::Ulimit, String> {
    let malformed = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(malformed)?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let mut parts = limits.split(':');
    let soft = number(parts.next().unwrap_or_default())?;
    let hard = parts.next().map_or(Ok(soft), number)?;
    if parts.next().is_some() {
        return Err(format!(
            "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        ));
    }
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(pb::Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// "on-failure:3".
pub(crate) fn restart(text: &str) -> Result<pb::RestartPolicy, String> {
    let invalid = |why: &str| Err(format!("invalid restart policy format: {why}"));
    let (name, retries) = match text.split_once(':') {
        None => (text, 0),
        Some(("", _)) => return invalid("no policy provided before colon"),
        Some((name, count)) => match count.parse() {
            Ok(count) => (name, count),
            Err(_) => return invalid("maximum retry count must be an integer"),
        },
    };
    Ok(pb::RestartPolicy {
        name: name.to_owned(),
        maximum_retries: retries,
    })
}

/// "1.5", "1/2": billionths of a CPU.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let plain = |text: &str| -> Option<f64> {
        let digits = !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
        digits.then(|| text.parse().ok()).flatten()
    };
    let cpus = match text.split_once('/') {
        Some((over, under)) => plain(over)
            .zip(plain(under).filter(|under| *under != 0.0))
            .map(|(over, under)| over / under),
        None => plain(text),
    };
    let nanos = cpus.ok_or_else(bad)? * 1e9;
    if (nanos - nanos.round()).abs() > 1e-3 {
        return Err("value is too precise".into());
    }
    if !nanos.is_finite() || nanos.abs() >= i64::MAX as f64 {
        return Err(bad());
    }
    Ok(nanos.round() as i64)
}

/// "stdin", "STDOUT", "stderr".
pub(crate) fn stream(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "stdin" | "stdout" | "stderr") {
        return Ok(lower);
    }
    Err("valid streams are STDIN, STDOUT and STDERR".into())
}

/// "name=value" or "name".
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.trim().is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if name.contains(char::is_whitespace) {
        return Err(format!("invalid label '{text}': name contains whitespace"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// "status=exited".
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("bad format of filter (expected name=value)")?;
    Ok((key.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// All `--filter`s together.
pub(crate) fn filters(given: &[String]) -> Result<Option<pb::Filters>> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut filters = pb::Filters::default();
    for text in given {
        let (key, value) = filter(text).map_err(Error::refused)?;
        filters.by_key.entry(key).or_default().items.push(value);
    }
    Ok(Some(filters))
}

/// "name=value" pairs as a map; the last of a name wins.
pub(crate) fn pairs(given: &[String]) -> HashMap<String, String> {
    let split = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    given.iter().map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits() {
        let read = |text| ulimit(text).map(|it| (it.name, it.soft, it.hard));
        assert_eq!(read("nofile=1024:2048"), Ok(("nofile".into(), 1024, 2048)));
        assert_eq!(read("core=-1"), Ok(("core".into(), -1, -1)));
        assert_eq!(read("nproc=5:-1"), Ok(("nproc".into(), 5, -1)));
        assert_eq!(read("foo").unwrap_err(), "invalid ulimit argument: foo");
        assert_eq!(read("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert!(read("nofile=9:1").unwrap_err().contains("9 > 1"));
        assert!(read("nofile=-1:1").is_err() && read("nofile=a").is_err() && read("nofile=1:2:3").is_err());
    }

    #[test]
    fn policies() {
        let read = |text| restart(text).map(|it| (it.name, it.maximum_retries));
        assert_eq!(read("always"), Ok(("always".into(), 0)));
        assert_eq!(read("on-failure:3"), Ok(("on-failure".into(), 3)));
        assert!(read("on-failure:x").unwrap_err().contains("must be an integer"));
        assert!(read(":3").unwrap_err().contains("no policy"));
    }

    #[test]
    fn cpus() {
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus("1/2"), Ok(500_000_000));
        assert_eq!(nano_cpus("0.000000001"), Ok(1));
        for text in ["x", "", "1/0", "inf", "nan", "0.0000000001"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_and_filters() {
        assert_eq!(label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(label("=x").is_err() && label("a b=c").is_err());
        assert_eq!(filter("Label=a=b"), Ok(("label".into(), "a=b".into())));
        assert!(filter("x").is_err());
        let both = filters(&["status=exited".into(), "status=dead".into()])
            .unwrap()
            .unwrap();
        assert_eq!(both.by_key["status"].items, ["exited", "dead"]);
        assert_eq!(stream("STDIN"), Ok("stdin".into()));
    }
}
