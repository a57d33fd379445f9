//! Limits that cgroups keep, checked as Docker checks them.

use super::{Cgroup, HostFacts, Warning, block};
use crate::container::HostConfig;
use crate::{Error, Result};
use oci_spec::runtime::{
    LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources,
};
use std::collections::{BTreeMap, BTreeSet};

/// Docker's least memory: 6 MiB.
pub const MIN_MEMORY: i64 = 6 * 1024 * 1024;
/// Microseconds over which a share of CPU time is counted.
const PERIOD: u64 = 100_000;

pub(super) fn build(
    host: &HostConfig,
    facts: &HostFacts,
    devices: &BTreeMap<String, (i64, i64)>,
    warnings: &mut Vec<Warning>,
) -> Result<LinuxResources> {
    if host.kernel_memory != 0 {
        warnings.push(
            "the kernel memory limit is ignored: such limits are unstable and gone from newer kernels, --memory counts kernel memory too"
                .to_owned(),
        );
    }
    let mut resources = LinuxResources::default();
    resources.set_memory(memory(host, facts, warnings)?);
    resources.set_cpu(cpu(host, facts)?);
    resources.set_block_io(block::limits(&host.blkio, facts, devices)?);
    resources.set_pids((host.pids_limit > 0).then(|| {
        let mut pids = LinuxPids::default();
        pids.set_limit(host.pids_limit);
        pids
    }));
    Ok(resources)
}

fn memory(host: &HostConfig, facts: &HostFacts, warnings: &mut Vec<Warning>) -> Result<Option<LinuxMemory>> {
    let invalid = |text: &str| Err(Error::invalid(text));
    let (limit, swap, reservation) = (host.memory, host.memory_swap, host.memory_reservation);
    if limit != 0 && limit < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if swap < -1 {
        return invalid("Invalid memory swap limit: -1 (no limit) is the only negative value");
    }
    if limit > 0 && swap > 0 && swap < limit {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limit == 0 && swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if reservation != 0 && reservation < MIN_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limit > 0 && reservation > limit {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    let mut memory = LinuxMemory::default();
    let swappiness = host.memory_swappiness.filter(|value| *value != -1);
    if let Some(value) = swappiness {
        let Some(percent) = u64::try_from(value).ok().filter(|value| *value <= 100) else {
            return Err(Error::invalid(format!(
                "Invalid value: {value}, valid memory swappiness range is 0-100"
            )));
        };
        match facts.cgroup {
            Cgroup::V2 => warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded."
                    .to_owned(),
            ),
            Cgroup::V1 | Cgroup::Hybrid => drop(memory.set_swappiness(Some(percent))),
        }
    }
    if host.oom_kill_disable {
        match facts.cgroup {
            Cgroup::V2 => {
                warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned())
            }
            Cgroup::V1 | Cgroup::Hybrid => {
                if limit == 0 {
                    warnings.push(
                        "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                            .to_owned(),
                    );
                }
                memory.set_disable_oom_killer(Some(true));
            }
        }
    }
    if limit == 0 && reservation == 0 {
        return Ok(Some(memory).filter(|memory| *memory != LinuxMemory::default()));
    }
    memory.set_limit((limit > 0).then_some(limit));
    memory.set_reservation((reservation > 0).then_some(reservation));
    if limit > 0 {
        if facts.swap_limit {
            memory.set_swap(Some(if swap == 0 { limit.saturating_mul(2) } else { swap }));
        } else if swap > 0 {
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                    .to_owned(),
            );
        }
    }
    Ok(Some(memory))
}

fn cpu(host: &HostConfig, facts: &HostFacts) -> Result<Option<LinuxCpu>> {
    let most = i64::from(facts.cpus) * 1_000_000_000;
    // A hundredth of a CPU is the kernel's least quota (1 ms of 100 ms).
    if host.nano_cpus != 0 && !(10_000_000..=most).contains(&host.nano_cpus) {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
            facts.cpus
        )));
    }
    quota(host)?;
    real_time(host, facts)?;
    if host.cpu_shares < 0 {
        return Err(Error::invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        )));
    }
    within("cpuset cpus", "CPUs", &host.cpuset_cpus, &facts.cpuset_cpus)?;
    within("cpuset mems", "memory nodes", &host.cpuset_mems, &facts.cpuset_mems)?;
    let mut cpu = LinuxCpu::default();
    cpu.set_period(u64::try_from(host.cpu_period).ok().filter(|period| *period > 0));
    cpu.set_quota((host.cpu_quota != 0).then_some(host.cpu_quota));
    cpu.set_realtime_period(u64::try_from(host.cpu_rt_period).ok().filter(|period| *period > 0));
    cpu.set_realtime_runtime((host.cpu_rt_runtime != 0).then_some(host.cpu_rt_runtime));
    if host.nano_cpus > 0 {
        cpu.set_period(Some(PERIOD));
        cpu.set_quota(Some(host.nano_cpus / (1_000_000_000 / PERIOD.cast_signed())));
    }
    // The kernel's own least is 2; v2 converts it to a weight.
    cpu.set_shares((host.cpu_shares > 0).then(|| host.cpu_shares.unsigned_abs().max(2)));
    cpu.set_cpus(Some(host.cpuset_cpus.clone()).filter(|text| !text.is_empty()));
    cpu.set_mems(Some(host.cpuset_mems.clone()).filter(|text| !text.is_empty()));
    Ok(Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()))
}

fn quota(host: &HostConfig) -> Result<()> {
    let invalid = |text: &str| Err(Error::invalid(text));
    let (period, quota) = (host.cpu_period, host.cpu_quota);
    if host.nano_cpus > 0 && period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if period != 0 && !(1_000..=1_000_000).contains(&period) {
        return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if quota > 0 && quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    Ok(())
}

fn real_time(host: &HostConfig, facts: &HostFacts) -> Result<()> {
    let invalid = |text: &str| Err(Error::invalid(text));
    let (period, runtime) = (host.cpu_rt_period, host.cpu_rt_runtime);
    if period == 0 && runtime == 0 {
        return Ok(());
    }
    if !facts.real_time {
        return invalid(
            "Your kernel does not support CPU real-time scheduler: its cpu controller has no cpu.rt_runtime_us (cgroup v2 has none)",
        );
    }
    if period < 0 {
        return invalid("cpu real-time period cannot be negative");
    }
    if period != 0 && runtime > period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

/// What cgroups keep of a container, for one that runs.
pub fn update(
    host: &HostConfig,
    facts: &HostFacts,
    devices: &BTreeMap<String, (i64, i64)>,
) -> Result<(LinuxResources, Vec<Warning>)> {
    let mut warnings = Vec::new();
    let mut resources = build(host, facts, devices, &mut warnings)?;
    if resources.pids().is_none() {
        // A new cgroup has no bound by itself; one in use may have had one.
        let mut pids = LinuxPids::default();
        pids.set_limit(-1);
        resources.set_pids(Some(pids));
    }
    Ok((resources, warnings))
}

/// Reads `c 42:* rmw`.
pub fn device_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split(' ').collect();
    let [typ, numbers, access] = words.as_slice() else {
        return Err(bad());
    };
    let typ = match *typ {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(bad()),
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text
            .parse::<u32>()
            .map(|number| Some(i64::from(number)))
            .map_err(|_| bad()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let (major, minor) = (number(major)?, number(minor)?);
    let odd = access.is_empty() || access.len() > 3 || access.chars().any(|c| !"rwm".contains(c));
    if odd {
        return Err(bad());
    }
    Ok(rule(true, typ, major, minor, access))
}

/// Leave to use a device of the host.
pub fn device_leave(device: &LinuxDevice, permissions: &str) -> Result<LinuxDeviceCgroup> {
    if permissions.is_empty() || permissions.chars().any(|c| !"rwm".contains(c)) {
        return Err(Error::invalid(format!("invalid device permissions: {permissions}")));
    }
    Ok(rule(
        true,
        device.typ(),
        Some(device.major()),
        Some(device.minor()),
        permissions,
    ))
}

/// Checks a list such as `0-2,5` against what there is.
fn within(option: &str, what: &str, asked: &str, available: &str) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let asked_set = list(asked).ok_or_else(|| Error::invalid(format!("Invalid value {asked} for {option}")))?;
    // A host that does not say is believed to have them.
    let Some(there) = list(available).filter(|there| !there.is_empty()) else {
        return Ok(());
    };
    if asked_set.is_subset(&there) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Requested {what} are not available - requested {asked}, available: {available}"
    )))
}

/// The numbers of `0-2,5`; at most 8192 as Docker bounds it.
fn list(text: &str) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= 8192 {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// Which device nodes may be opened: all for privileged, else none but the harmless ones; making nodes is a matter of
/// CAP_MKNOD.
pub(super) fn device_rules(privileged: bool) -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    if privileged {
        return vec![rule(true, A, None, None, "rwm")];
    }
    let mut rules = vec![
        rule(false, A, None, None, "rwm"),
        rule(true, C, None, None, "m"),
        rule(true, B, None, None, "m"),
    ];
    // null, zero, full, random, urandom, tty, console, ptmx.
    let open = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(open.map(|(major, minor)| rule(true, C, Some(major), Some(minor), "rwm")));
    // Pseudo-terminals.
    rules.push(rule(true, C, Some(136), None, "rwm"));
    rules
}

fn rule(allow: bool, typ: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(typ))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}
