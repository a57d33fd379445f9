//! An image's configuration under a user's, by Docker's rules.

use super::env;
use crate::container::{ContainerConfig, HealthCheck};
use crate::{Error, Result, signal};
use oci_spec::image::Config;

/// The user's configuration with the image's where the user said nothing.
pub fn merge(user: ContainerConfig, image: Option<&Config>) -> Result<ContainerConfig> {
    let mut merged = user;
    let empty = Config::default();
    let image = image.unwrap_or(&empty);
    if merged.user.is_empty() {
        merged.user = image.user().clone().unwrap_or_default();
    }
    command_of(&mut merged, image);
    for entry in image.env().iter().flatten() {
        if !merged.env.iter().any(|own| env::name(own) == env::name(entry)) {
            merged.env.push(entry.clone());
        }
    }
    for (key, value) in image.labels().iter().flatten() {
        merged.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    add_missing(&mut merged.exposed_ports, image.exposed_ports().iter().flatten());
    add_missing(&mut merged.volumes, image.volumes().iter().flatten());
    if merged.working_dir.is_empty() {
        merged.working_dir = image.working_dir().clone().unwrap_or_default();
    }
    merged.working_dir = cleaned(&merged.working_dir);
    if merged.stop_signal.is_empty() {
        merged.stop_signal = image.stop_signal().clone().unwrap_or_default();
    }
    check(&merged)?;
    Ok(merged)
}

/// The user's check of health with the image's where the user said nothing.
pub fn merge_health(user: &mut Option<HealthCheck>, image: Option<HealthCheck>) {
    let (Some(own), Some(image)) = (user.as_mut(), image.as_ref()) else {
        *user = user.take().or(image);
        return;
    };
    if own.test.is_empty() {
        own.test = image.test.clone();
    }
    own.exit_on_unhealthy = own.exit_on_unhealthy.or(image.exit_on_unhealthy);
    for (own, preset) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = preset;
        }
    }
}

/// What is wrong with a check, in Docker's words.
pub fn check_health(check: &HealthCheck) -> Result<()> {
    const MILLISECOND: i64 = 1_000_000;
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < MILLISECOND {
            return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    match check.test.first().map(String::as_str) {
        None | Some("" | "NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => Err(Error::invalid(format!("unknown type of health check: {other}"))),
    }
}

/// An entrypoint of the user's puts the image's command aside too; `[""]` stands for no entrypoint.
fn command_of(merged: &mut ContainerConfig, image: &Config) {
    if merged.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if merged.cmd.is_empty() {
            merged.cmd = image.cmd().clone().unwrap_or_default();
        }
        if merged.entrypoint.is_none() {
            merged.entrypoint = image.entrypoint().clone();
        }
    }
    if merged.entrypoint.as_deref() == Some(&[String::new()]) {
        merged.entrypoint = Some(Vec::new());
    }
}

fn add_missing<'a>(into: &mut Vec<String>, from: impl Iterator<Item = &'a String>) {
    for item in from {
        if !into.contains(item) {
            into.push(item.clone());
        }
    }
}

/// Without what means nothing in a path: `/a//b/./c/../` is `/a/b`.
fn cleaned(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn check(merged: &ContainerConfig) -> Result<()> {
    if !merged.working_dir.is_empty() && !merged.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            merged.working_dir
        )));
    }
    if let Some(bad) = merged
        .env
        .iter()
        .find(|entry| env::name(entry).is_empty() || entry.contains('\0'))
    {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if !merged.stop_signal.is_empty() {
        signal::parse(&merged.stop_signal)?;
    }
    Ok(())
}

/// Program and arguments: entrypoint, then command.
pub fn command(config: &ContainerConfig) -> Result<Vec<String>> {
    let args: Vec<String> = config.entrypoint.iter().flatten().chain(&config.cmd).cloned().collect();
    if args.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Config {
        serde_json::from_value(serde_json::json!({
            "User": "web", "Env": ["PATH=/bin", "A=image"], "Entrypoint": ["/init"], "Cmd": ["serve"],
            "WorkingDir": "/srv", "Labels": {"l": "image", "m": "image"}, "StopSignal": "SIGQUIT",
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}
        }))
        .unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command() {
        let run = |entrypoint: Option<&[&str]>, cmd: &[&str]| {
            let user = ContainerConfig {
                entrypoint: entrypoint.map(strings),
                cmd: strings(cmd),
                ..ContainerConfig::default()
            };
            command(&merge(user, Some(&image())).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(run(None, &[]).unwrap(), ["/init", "serve"]);
        assert_eq!(run(None, &["ls"]).unwrap(), ["/init", "ls"]);
        assert_eq!(
            run(Some(&["sh"]), &[]).unwrap(),
            ["sh"],
            "the image's command belongs to its entrypoint"
        );
        assert_eq!(run(Some(&["sh"]), &["-c", "x"]).unwrap(), ["sh", "-c", "x"]);
        assert_eq!(run(Some(&[]), &[]).unwrap(), ["serve"]);
        assert_eq!(run(Some(&[""]), &["ls"]).unwrap(), ["ls"]);
        assert_eq!(run(Some(&[""]), &[]).unwrap_err(), "no command specified");
    }

    #[test]
    fn what_the_user_says_wins() {
        let user = ContainerConfig {
            env: strings(&["A=user", "B=1"]),
            labels: [("l".to_owned(), "user".to_owned())].into(),
            ..ContainerConfig::default()
        };
        let merged = merge(user, Some(&image())).unwrap();
        assert_eq!(merged.env, ["A=user", "B=1", "PATH=/bin"]);
        assert_eq!(merged.labels["l"], "user");
        assert_eq!(merged.labels["m"], "image");
        assert_eq!((merged.user.as_str(), merged.working_dir.as_str()), ("web", "/srv"));
        assert_eq!(merged.stop_signal, "SIGQUIT");
        assert_eq!(
            (merged.exposed_ports, merged.volumes),
            (strings(&["80/tcp"]), strings(&["/data"]))
        );
    }

    #[test]
    fn bad_values_are_named() {
        let text = |user: ContainerConfig| merge(user, None).unwrap_err().to_string();
        let config = ContainerConfig::default;
        assert!(
            text(ContainerConfig {
                working_dir: "x".into(),
                ..config()
            })
            .contains("'x'")
        );
        assert!(
            text(ContainerConfig {
                env: strings(&["=v"]),
                ..config()
            })
            .contains("=v")
        );
        assert!(
            text(ContainerConfig {
                stop_signal: "SIGNOPE".into(),
                ..config()
            })
            .contains("SIGNOPE")
        );
    }
}
