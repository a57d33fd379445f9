//! A seccomp profile as users write it.

use super::{Host, Rule, When, architectures, join};
use crate::{Error, Result};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    syscalls: Option<Vec<Syscall>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Syscall {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

pub(super) fn filter(text: &str, host: &Host<'_>) -> Result<LinuxSeccomp> {
    let profile: Profile = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))?;
    if !profile.listener_path.is_empty() || uses_notify(&profile) {
        return Err(Error::invalid(
            "a seccomp profile with a listener (SCMP_ACT_NOTIFY) is not built yet",
        ));
    }
    let mut filter = LinuxSeccomp::default();
    filter.set_default_action(profile.default_action);
    filter.set_default_errno_ret(profile.default_errno_ret);
    filter.set_flags(profile.flags.filter(|flags| !flags.is_empty()));
    filter.set_architectures(arches(profile.architectures, profile.arch_map, host)?);
    let rules: Result<Vec<Rule>> = profile.syscalls.unwrap_or_default().into_iter().map(rule).collect();
    filter.set_syscalls(Some(join(rules?, host)));
    Ok(filter)
}

fn uses_notify(profile: &Profile) -> bool {
    let notify = |action| action == LinuxSeccompAction::ScmpActNotify;
    notify(profile.default_action) || profile.syscalls.iter().flatten().any(|syscall| notify(syscall.action))
}

fn arches(plain: Option<Vec<Arch>>, map: Option<Vec<ArchMap>>, host: &Host<'_>) -> Result<Option<Vec<Arch>>> {
    let plain = plain.filter(|list| !list.is_empty());
    let map = map.filter(|list| !list.is_empty());
    match (plain, map) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        )),
        (Some(list), None) => Ok(Some(list)),
        (None, None) => Ok(None),
        (None, Some(map)) => {
            let own = architectures(host.arch).and_then(|list| list.first().copied());
            Ok(map.into_iter().find(|row| Some(row.architecture) == own).map(|row| {
                let mut list = vec![row.architecture];
                list.extend(row.sub_architectures.unwrap_or_default());
                list
            }))
        }
    }
}

fn rule(syscall: Syscall) -> Result<Rule> {
    let names = match (syscall.name.is_empty(), syscall.names.is_empty()) {
        (false, false) => {
            return Err(Error::invalid(
                "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
            ));
        }
        (false, true) => vec![syscall.name],
        (true, _) => syscall.names,
    };
    Ok(Rule {
        names,
        action: syscall.action,
        errno: syscall.errno_ret,
        args: syscall.args.unwrap_or_default(),
        includes: when(syscall.includes)?,
        excludes: when(syscall.excludes)?,
    })
}

fn when(condition: Option<Condition>) -> Result<When> {
    let Some(condition) = condition else {
        return Ok(When::default());
    };
    let min_kernel = condition
        .min_kernel
        .filter(|text| !text.is_empty())
        .map(|text| kernel(&text))
        .transpose()?;
    Ok(When {
        caps: condition.caps,
        arches: condition.arches,
        min_kernel,
    })
}

/// `4.8` of a profile.
fn kernel(text: &str) -> Result<(u32, u32)> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| Error::invalid(format!("invalid kernel version: {text}, expected <major>.<minor>")))
}
