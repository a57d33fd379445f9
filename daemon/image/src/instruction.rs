//! Dockerfile instructions that change an image's config without running anything (`import --change`, `commit --change`).
//! (Dockerfile reference.)

use crate::config::{Healthcheck, RunConfig};
use crate::error::{ImageError, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Applies `changes` in order.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<()> {
    let mut has_command = false;
    for text in changes {
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name = name.to_ascii_uppercase();
        if name == "ENTRYPOINT" && !has_command {
            // A command that belonged to another entry point makes no sense with this one.
            config.cmd = None;
        }
        has_command |= name == "CMD";
        apply_one(config, &name, rest.trim()).map_err(|detail| ImageError::BadChange {
            text: text.to_owned(),
            detail,
        })?;
    }
    Ok(())
}

type Outcome = std::result::Result<(), String>;

fn apply_one(config: &mut RunConfig, name: &str, rest: &str) -> Outcome {
    if rest.is_empty() && !matches!(name, "CMD" | "ENTRYPOINT" | "") {
        return Err(format!("{name} requires at least one argument"));
    }
    let env = config.env.clone();
    let plain = match name {
        "EXPOSE" | "USER" | "WORKDIR" | "VOLUME" | "STOPSIGNAL" => substituted(rest, &env)?,
        _ => String::new(),
    };
    let rest = if plain.is_empty() { rest } else { &plain };
    match name {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "ENV" => {
            for (key, value) in pairs(rest, &env)? {
                set_env(&mut config.env, &key, &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, &env)?),
        "EXPOSE" => {
            for word in rest.split_whitespace() {
                expose(&mut config.exposed_ports, word)?;
            }
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = join(&config.working_dir, rest),
        "VOLUME" => {
            let paths = exec_form(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            for path in paths {
                if path.is_empty() {
                    return Err("VOLUME specified can not be an empty string".to_owned());
                }
                config.volumes.insert(path, json!({}));
            }
        }
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "ONBUILD" => config.on_build.push(onbuild(rest)?),
        "" => return Err("it is empty".to_owned()),
        _ => return Err(format!("{name} is not a valid change command")),
    }
    Ok(())
}

/// `["a", "b"]`, or a line for the shell.
fn command(rest: &str) -> Option<Vec<String>> {
    if rest.is_empty() {
        return None;
    }
    let shell = || vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()];
    Some(exec_form(rest).unwrap_or_else(shell))
}

fn exec_form(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let known = env.iter_mut().find(|known| known.split('=').next() == Some(key));
    match known {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

/// `a=1 b="two words"`, or the old `a one value`.
fn pairs(rest: &str, env: &[String]) -> std::result::Result<Vec<(String, String)>, String> {
    let first = rest.split_whitespace().next().unwrap_or("");
    if !first.contains('=') {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("\"{rest}\" is not key=value"))?;
        return Ok(vec![(key.to_owned(), substituted(value.trim(), env)?)]);
    }
    let mut found = Vec::new();
    for word in words(rest, env)? {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => found.push((key.to_owned(), value.to_owned())),
            _ => return Err(format!("\"{word}\" is not key=value")),
        }
    }
    Ok(found)
}

/// A text with its variables; `\\$` is a dollar.
fn substituted(text: &str, env: &[String]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str(&variable(&mut chars, env)?),
            '\\' if chars.peek() == Some(&'$') => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// What stands for `$NAME`, `${NAME}`, `${NAME:-else}` or `${NAME:+instead}`, whose dollar is read already.
fn variable(chars: &mut Peekable<Chars<'_>>, env: &[String]) -> std::result::Result<String, String> {
    let in_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let value = |name: &str| {
        let entry = env.iter().rev().filter_map(|entry| entry.split_once('='));
        entry
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let braced = chars.next_if_eq(&'{').is_some();
    let name: String = std::iter::from_fn(|| chars.next_if(in_name)).collect();
    if !braced {
        return Ok(match name.is_empty() {
            true => "$".to_owned(),
            false => value(&name).unwrap_or_default(),
        });
    }
    let rest: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
    if chars.next().is_none() || name.is_empty() {
        return Err("a ${ is not closed, or has no name".to_owned());
    }
    let found = value(&name).filter(|value| !value.is_empty());
    match (rest.split_at_checked(2), found) {
        (None, found) if rest.is_empty() => Ok(found.unwrap_or_default()),
        (Some((":-", other)), found) => Ok(found.unwrap_or_else(|| other.to_owned())),
        (Some((":+", other)), found) => Ok(found.map(|_| other.to_owned()).unwrap_or_default()),
        _ => Err(format!("unsupported modifier in ${{{name}{rest}}}")),
    }
}

/// Words with quotes, backslashes and variables resolved.
fn words(text: &str, env: &[String]) -> std::result::Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.push(c),
            (None | Some('"'), '$') => {
                word.push_str(&variable(&mut chars, env)?);
                begun = true;
            }
            (None | Some('"'), '\\') => word.push(chars.next().ok_or("it ends in a backslash")?),
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                begun = true;
            }
            (None, c) if c.is_whitespace() => {
                if begun {
                    found.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            (None, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if begun {
        found.push(word);
    }
    Ok(found)
}

fn expose(ports: &mut BTreeMap<String, Value>, word: &str) -> Outcome {
    let bad = || format!("invalid port \"{word}\"");
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
    if low > high {
        return Err(bad());
    }
    ports.extend((low..=high).map(|port| (format!("{port}/{protocol}"), json!({}))));
    Ok(())
}

fn join(base: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", base.trim_end_matches('/')),
    }
}

fn onbuild(rest: &str) -> std::result::Result<String, String> {
    let first = rest.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    match first.as_str() {
        "ONBUILD" => Err("chaining ONBUILD is not allowed".to_owned()),
        "FROM" | "MAINTAINER" => Err(format!("{first} isn't allowed as an ONBUILD trigger")),
        _ => Ok(rest.to_owned()),
    }
}

/// `NONE`, or options and then `CMD` in either form.
fn healthcheck(rest: &str) -> std::result::Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (word, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("option --{word} has no value"))?;
        match name {
            "interval" => check.interval = duration(value)?,
            "timeout" => check.timeout = duration(value)?,
            "start-period" => check.start_period = duration(value)?,
            "start-interval" => check.start_interval = duration(value)?,
            "retries" => {
                check.retries = value
                    .parse()
                    .map_err(|_| format!("--retries \"{value}\" is not a number"))?
            }
            "health-exit-on-unhealthy" => {
                check.exit_on_unhealthy = value
                    .parse()
                    .map_err(|_| format!("--{name} \"{value}\" is neither true nor false"))?
            }
            _ => return Err(format!("unknown option --{name}")),
        }
        rest = after.trim_start();
    }
    let (kind, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if arguments.trim().is_empty() => vec!["NONE".to_owned()],
        "CMD" if arguments.trim().is_empty() => return Err("missing command after HEALTHCHECK CMD".to_owned()),
        "CMD" => match exec_form(arguments.trim()) {
            Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), arguments.trim().to_owned()],
        },
        _ => return Err(format!("unknown type \"{kind}\" in HEALTHCHECK (try CMD)")),
    };
    Ok(check)
}

/// Go's durations (`1m30s`, `500ms`) in nanoseconds.
fn duration(text: &str) -> std::result::Result<i64, String> {
    let bad = || format!("invalid duration \"{text}\"");
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        total += number
            * match &rest[digits..unit_end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(bad()),
            };
        rest = &rest[unit_end..];
    }
    // Whole nanoseconds below 292 years; anything else is a mistake.
    match !text.is_empty() && total < 9.2e18 {
        true => Ok(total as i64),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig> {
        let mut config = RunConfig {
            cmd: Some(vec!["old".into()]),
            env: vec!["PATH=/bin".into(), "A=0".into()],
            ..RunConfig::default()
        };
        let changes: Vec<String> = changes.iter().map(|s| (*s).to_owned()).collect();
        apply_changes(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn variables_are_those_of_before() {
        let config = changed(&[
            "ENV A=$PATH:/x B=\"$A ${PATH}\" C='$PATH' D=\\$PATH E=${NONE:-else} F=${PATH:+set} G=a$",
            "ENV H $PATH is",
            "LABEL at=${A}",
            "WORKDIR /w$F",
            "USER ${NONE:-web}",
        ])
        .unwrap();
        let expected = [
            "PATH=/bin",
            "A=/bin:/x",
            "B=0 /bin",
            "C=$PATH",
            "D=$PATH",
            "E=else",
            "F=set",
            "G=a$",
            "H=/bin is",
        ];
        assert_eq!(config.env, expected);
        let rest = (
            config.labels["at"].as_str(),
            config.working_dir.as_str(),
            config.user.as_str(),
        );
        assert_eq!(rest, ("/bin:/x", "/wset", "web"));
        for bad in ["ENV A=${PATH", "ENV A=${PATH:?x}", "USER ${}"] {
            assert!(changed(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_instruction_does_its_part() {
        let config = changed(&[
            "ENTRYPOINT [\"/init\"]",
            "ENV A=1 B=\"two words\" C=a\\ b",
            "env D the rest",
            "EXPOSE 80 53/udp 8000-8002",
            "USER 1000:1000",
            "WORKDIR /srv",
            "WORKDIR app",
            "LABEL a='1 2'",
            "VOLUME [\"/data\", \"/x y\"]",
            "VOLUME /a /b",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f localhost",
            "ONBUILD RUN true",
        ])
        .unwrap();
        assert_eq!(config.cmd, None);
        assert_eq!(config.entrypoint, Some(vec!["/init".to_owned()]));
        assert_eq!(config.env, ["PATH=/bin", "A=1", "B=two words", "C=a b", "D=the rest"]);
        let ports: Vec<_> = config.exposed_ports.keys().cloned().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(config.working_dir, "/srv/app");
        assert_eq!(config.labels["a"], "1 2");
        assert_eq!(config.volumes.len(), 4);
        let check = config.healthcheck.unwrap();
        assert_eq!(
            (check.interval, check.timeout, check.retries),
            (90_000_000_000, 500_000_000, 3)
        );
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
        let kept = changed(&["CMD echo hi", "ENTRYPOINT [\"/x\"]"]).unwrap();
        assert_eq!(kept.cmd.unwrap(), ["/bin/sh", "-c", "echo hi"]);
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "",
            "RUN x",
            "ENV",
            "ENV A",
            "ENV A=\"x",
            "EXPOSE 99999",
            "EXPOSE 9-1",
            "EXPOSE 1/icmp",
            "HEALTHCHECK --interval=1 CMD x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --nope=1 CMD x",
            "HEALTHCHECK maybe",
            "ONBUILD FROM x",
            "LABEL =x",
        ] {
            let error = changed(&[bad]).expect_err(bad);
            assert!(error.to_string().contains(&format!("\"{bad}\"")), "{error}");
        }
    }
}
