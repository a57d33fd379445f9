//! The seccomp filter of a container: one, whatever rules it is made of.
//!
//! Rules are of Docker's profile form: a list of names, an action, conditions on arguments, and for which capabilities,
//! architectures and kernels they count. Here they are decided for one container and host, and rules that end alike are
//! joined, so that the runtime compiles few of them.

mod profile;
mod table;

use super::CapSet;
use crate::Result;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

/// What rules are decided by.
pub struct Host<'a> {
    /// As Go names it.
    pub arch: &'a str,
    pub kernel: (u32, u32),
    pub caps: CapSet,
}

/// On what a rule depends. All of `caps`, and one of `arches`.
#[derive(Debug, Clone, Default)]
struct When {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<(u32, u32)>,
}

#[derive(Debug, Clone)]
struct Rule {
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
    includes: When,
    excludes: When,
}

impl Rule {
    fn counts(&self, host: &Host<'_>) -> bool {
        let (with, without) = (&self.includes, &self.excludes);
        let arch = |when: &When| when.arches.iter().any(|arch| arch == host.arch);
        let has = |cap: &String| host.caps.has(cap);
        (with.arches.is_empty() || arch(with))
            && with.caps.iter().all(has)
            && with.min_kernel.is_none_or(|least| host.kernel >= least)
            && !arch(without)
            && !without.caps.iter().any(has)
            && without.min_kernel.is_none_or(|least| host.kernel < least)
    }
}

/// Docker's default profile.
pub fn default_filter(host: &Host<'_>) -> LinuxSeccomp {
    let mut filter = LinuxSeccomp::default();
    filter.set_default_action(LinuxSeccompAction::ScmpActErrno);
    filter.set_default_errno_ret(Some(1));
    filter.set_architectures(architectures(host.arch));
    filter.set_syscalls(Some(join(table::rules(), host)));
    filter
}

/// A profile of the user's, in Docker's JSON form.
pub fn profile_filter(text: &str, host: &Host<'_>) -> Result<LinuxSeccomp> {
    profile::filter(text, host)
}

/// Rules that count, those of one action and one condition joined, each name once.
fn join(rules: Vec<Rule>, host: &Host<'_>) -> Vec<LinuxSyscall> {
    let mut joined: Vec<Rule> = Vec::new();
    for rule in rules.into_iter().filter(|rule| rule.counts(host)) {
        let same =
            |other: &&mut Rule| other.action == rule.action && other.errno == rule.errno && other.args == rule.args;
        match joined.iter_mut().find(same) {
            Some(other) => {
                for name in rule.names {
                    if !other.names.contains(&name) {
                        other.names.push(name);
                    }
                }
            }
            None => joined.push(rule),
        }
    }
    joined.into_iter().map(to_oci).collect()
}

fn to_oci(rule: Rule) -> LinuxSyscall {
    let mut syscall = LinuxSyscall::default();
    syscall.set_names(rule.names);
    syscall.set_action(rule.action);
    syscall.set_errno_ret(rule.errno);
    syscall.set_args(Some(rule.args).filter(|args| !args.is_empty()));
    syscall
}

fn arg(index: usize, op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    oci_spec::runtime::LinuxSeccompArgBuilder::default()
        .index(index)
        .op(op)
        .value(value)
        .value_two(value_two.unwrap_or(0))
        .build()
        .expect("every field has a default")
}

/// The host's architecture with those whose programs it runs too.
fn architectures(arch: &str) -> Option<Vec<Arch>> {
    let list = match arch {
        "amd64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "arm64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        "mips64" => vec![Arch::ScmpArchMips64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
        "mips64le" => vec![Arch::ScmpArchMipsel64, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
        "s390x" => vec![Arch::ScmpArchS390x, Arch::ScmpArchS390],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        "loong64" => vec![Arch::ScmpArchLoongarch64],
        // libseccomp takes its own architecture where none is named.
        _ => return None,
    };
    Some(list)
}
