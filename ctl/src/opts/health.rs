//! `--health-*`.

use gantry_proto::gantry::v1 as pb;

use super::duration;
use crate::cli::verb::Parsed;
use crate::error::{Error, Result};

/// The check that the flags ask for; none if none of them is given.
pub(super) fn check(parsed: &Parsed) -> Result<Option<pb::HealthCheck>> {
    let flags = [
        "health-cmd",
        "health-interval",
        "health-timeout",
        "health-retries",
        "health-start-period",
        "health-start-interval",
        "health-exit-on-unhealthy",
    ];
    let given = flags.iter().any(|flag| parsed.is_given(flag));
    if parsed.on("no-healthcheck") {
        if given {
            return Err(Error::refused("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(pb::HealthCheck {
            test: vec!["NONE".to_owned()],
            ..pb::HealthCheck::default()
        }));
    }
    if !given {
        return Ok(None);
    }
    let time = |flag: &str| -> Result<i64> {
        let nanos = parsed.text(flag).map_or(Ok(0), duration).map_err(Error::refused)?;
        match nanos {
            0.. => Ok(nanos),
            _ => Err(Error::refused(format!("--{flag} cannot be negative"))),
        }
    };
    let retries = parsed.int("health-retries").unwrap_or(0);
    if retries < 0 {
        return Err(Error::refused("--health-retries cannot be negative"));
    }
    let command = parsed.text("health-cmd").filter(|command| !command.is_empty());
    Ok(Some(pb::HealthCheck {
        test: command.map_or_else(Vec::new, |command| vec!["CMD-SHELL".to_owned(), command.to_owned()]),
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries,
        exit_on_unhealthy: parsed
            .text("health-exit-on-unhealthy")
            .map(|_| parsed.on("health-exit-on-unhealthy")),
    }))
}
