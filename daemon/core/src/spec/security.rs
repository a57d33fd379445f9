//! `--security-opt`.

use super::Defaults;
use crate::{Error, Result};

/// Which system calls are let through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    #[default]
    Default,
    Unconfined,
    /// A profile in Docker's JSON form.
    Profile(String),
}

/// What the options say, over the daemon's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// `systempaths=unconfined`: no masked and no read-only paths.
    pub unmasked: bool,
    /// `apparmor=<profile>`.
    pub apparmor: Option<String>,
}

/// Reads options: `key=value`, `key:value` (Docker's old form) or the bare `no-new-privileges`.
pub fn parse(options: &[String], defaults: &Defaults) -> Result<Security> {
    let mut security = Security {
        no_new_privileges: defaults.no_new_privileges,
        seccomp: defaults.seccomp.clone(),
        unmasked: false,
        apparmor: None,
    };
    for option in options {
        if option == "no-new-privileges" {
            security.no_new_privileges = true;
            continue;
        }
        let (key, value) = option
            .split_once('=')
            .or_else(|| option.split_once(':'))
            .ok_or_else(|| Error::invalid(format!("invalid --security-opt 1: \"{option}\"")))?;
        match key {
            "no-new-privileges" => security.no_new_privileges = boolean(option, value)?,
            "seccomp" => security.seccomp = seccomp(value),
            "apparmor" => security.apparmor = Some(value.to_owned()),
            "systempaths" if value == "unconfined" => security.unmasked = true,
            "label" if value == "disable" => {}
            "label" => {
                return Err(Error::invalid(format!(
                    "SELinux labels are not built yet: --security-opt {option} is refused"
                )));
            }
            _ => return Err(Error::invalid(format!("invalid --security-opt 2: \"{option}\""))),
        }
    }
    Ok(security)
}

fn seccomp(value: &str) -> Seccomp {
    match value {
        "unconfined" => Seccomp::Unconfined,
        "builtin" | "" => Seccomp::Default,
        profile => Seccomp::Profile(profile.to_owned()),
    }
}

fn boolean(option: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid --security-opt 2: \"{option}\""))),
    }
}
