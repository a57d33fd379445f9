//! The process of a container, and of an exec in it.

use super::{CapSet, HostFacts, ResolvedUser, SpecInput, Warning, env, rlimits, security::Security};
use crate::container::ContainerConfig;
use crate::{Error, Result};
use oci_spec::runtime::{Box as Console, BoxBuilder as ConsoleBuilder, LinuxCapabilities, Process, Spec, User};
use std::path::PathBuf;

pub(super) fn build(
    input: &SpecInput<'_>,
    facts: &HostFacts,
    security: &Security,
    caps: CapSet,
    warnings: &mut Vec<Warning>,
) -> Result<Process> {
    if input.args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    let config = input.config;
    let mut args = input.args.to_vec();
    if input.shared.init.is_some() {
        args.splice(0..0, [super::INIT.to_owned(), "--".to_owned()]);
    }
    let mut process = bare(&args, &config.working_dir, config.tty);
    process.set_user(user(&input.user, input.umask));
    process.set_env(Some(env::build(
        &full_hostname(&super::hostname(input), &config.domainname),
        config.tty,
        &[input.linked, &config.env],
        &input.user.home,
    )));
    process.set_capabilities(Some(capabilities(caps)));
    process.set_no_new_privileges(Some(security.no_new_privileges));
    process.set_rlimits(rlimits::build(input, facts, warnings)?);
    process.set_oom_score_adj(Some(rlimits::oom_score_adj(input.host.oom_score_adj, facts, warnings)?));
    process.set_apparmor_profile(apparmor(input.host.privileged, security, facts)?);
    process.set_console_size(console_size(config.tty, input.host.console_size));
    Ok(process)
}

fn apparmor(privileged: bool, security: &Security, facts: &HostFacts) -> Result<Option<String>> {
    match (&security.apparmor, &facts.apparmor_profile) {
        (None, _) if privileged => Ok(None),
        (None, default) => Ok(default.clone()),
        (Some(asked), _) if asked == "unconfined" => Ok(None),
        (Some(asked), Some(_)) => Ok(Some(asked.clone())),
        (Some(asked), None) => Err(Error::invalid(format!(
            "AppArmor profile \"{asked}\" cannot be applied: AppArmor is not built yet; leave it out, or say apparmor=unconfined"
        ))),
    }
}

/// The size a terminal begins with.
fn console_size(tty: bool, size: Option<(u16, u16)>) -> Option<Console> {
    let (height, width) = size.filter(|_| tty)?;
    let size = ConsoleBuilder::default().height(height).width(width).build();
    Some(size.expect("both sides are given"))
}

/// A process with nothing in it but what it runs, where, and on what.
fn bare(args: &[String], cwd: &str, tty: bool) -> Process {
    let mut process = Process::default();
    process.set_args(Some(args.to_vec()));
    process.set_cwd(PathBuf::from(if cwd.is_empty() { "/" } else { cwd }));
    process.set_terminal(Some(tty));
    process.set_rlimits(None);
    process
}

/// The primary group is among the additional ones too, lest a setgid program drop out of it (CVE-2022-36109).
fn user(resolved: &ResolvedUser, umask: Option<u32>) -> User {
    let mut groups = vec![resolved.gid];
    for gid in &resolved.additional_gids {
        if !groups.contains(gid) {
            groups.push(*gid);
        }
    }
    let mut user = User::default();
    user.set_uid(resolved.uid);
    user.set_gid(resolved.gid);
    user.set_additional_gids(Some(groups));
    user.set_umask(umask);
    user
}

/// Nothing inheritable and nothing ambient, as Docker since CVE-2022-24769.
fn capabilities(caps: CapSet) -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    all.set_bounding(Some(caps.to_oci()));
    all.set_effective(Some(caps.to_oci()));
    all.set_permitted(Some(caps.to_oci()));
    all.set_inheritable(None);
    all.set_ambient(None);
    all
}

fn full_hostname(hostname: &str, domainname: &str) -> String {
    if domainname.is_empty() {
        hostname.to_owned()
    } else {
        format!("{hostname}.{domainname}")
    }
}

/// What an exec asks for.
#[derive(Debug, Clone)]
pub struct ExecInput<'a> {
    pub args: &'a [String],
    /// The container's configuration, merged with the image's.
    pub config: &'a ContainerConfig,
    /// Variables below those of `config`.
    pub linked: &'a [String],
    /// Over the container's environment.
    pub env: &'a [String],
    /// Empty = the container's.
    pub cwd: &'a str,
    /// `None` = the container's.
    pub user: Option<ResolvedUser>,
    /// Home of whoever runs it, when `user` is `None`.
    pub home: &'a str,
    pub tty: bool,
    /// Rows and columns of the terminal at first.
    pub console_size: Option<(u16, u16)>,
    /// All capabilities of `bounding`.
    pub privileged: bool,
    pub bounding: CapSet,
    /// `None` = the container's.
    pub umask: Option<u32>,
}

/// The OCI process of an exec: what it does not ask for is as in the container's own.
pub fn exec_process(container: &Spec, input: &ExecInput<'_>) -> Result<Process> {
    if input.args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("No exec command specified"));
    }
    if !input.cwd.is_empty() && !input.cwd.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            input.cwd
        )));
    }
    let own = container
        .process()
        .as_ref()
        .ok_or_else(|| Error::internal("the container's spec has no process"))?;
    let mut process = own.clone();
    process.set_args(Some(input.args.to_vec()));
    process.set_terminal(Some(input.tty));
    process.set_console_size(console_size(input.tty, input.console_size));
    if !input.cwd.is_empty() {
        process.set_cwd(PathBuf::from(input.cwd));
    }
    let umask = input.umask.or(own.user().umask());
    let home = match &input.user {
        Some(asked) => {
            process.set_user(user(asked, umask));
            asked.home.as_str()
        }
        None => {
            let mut same = own.user().clone();
            same.set_umask(umask);
            process.set_user(same);
            input.home
        }
    };
    let hostname = container.hostname().as_deref().unwrap_or_default();
    process.set_env(Some(env::build(
        &full_hostname(hostname, &input.config.domainname),
        input.tty,
        &[input.linked, &input.config.env, input.env],
        if home.is_empty() { "/" } else { home },
    )));
    if input.privileged {
        process.set_capabilities(Some(capabilities(CapSet::KNOWN.and(input.bounding))));
        process.set_apparmor_profile(None);
    }
    Ok(process)
}
