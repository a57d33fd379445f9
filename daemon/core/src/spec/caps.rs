//! Capabilities: names, sets, and which of them a container gets.
//!
//! Numbers of `linux/capability.h`; the default set and the rules of `--cap-add` and `--cap-drop` are Docker's.

use super::Warning;
use crate::container::HostConfig;
use crate::{Error, Result};
use oci_spec::runtime::{Capabilities, Capability};

/// Every capability, at the place of its number.
const ALL: [(&str, Capability); 41] = [
    ("CAP_CHOWN", Capability::Chown),
    ("CAP_DAC_OVERRIDE", Capability::DacOverride),
    ("CAP_DAC_READ_SEARCH", Capability::DacReadSearch),
    ("CAP_FOWNER", Capability::Fowner),
    ("CAP_FSETID", Capability::Fsetid),
    ("CAP_KILL", Capability::Kill),
    ("CAP_SETGID", Capability::Setgid),
    ("CAP_SETUID", Capability::Setuid),
    ("CAP_SETPCAP", Capability::Setpcap),
    ("CAP_LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("CAP_NET_BIND_SERVICE", Capability::NetBindService),
    ("CAP_NET_BROADCAST", Capability::NetBroadcast),
    ("CAP_NET_ADMIN", Capability::NetAdmin),
    ("CAP_NET_RAW", Capability::NetRaw),
    ("CAP_IPC_LOCK", Capability::IpcLock),
    ("CAP_IPC_OWNER", Capability::IpcOwner),
    ("CAP_SYS_MODULE", Capability::SysModule),
    ("CAP_SYS_RAWIO", Capability::SysRawio),
    ("CAP_SYS_CHROOT", Capability::SysChroot),
    ("CAP_SYS_PTRACE", Capability::SysPtrace),
    ("CAP_SYS_PACCT", Capability::SysPacct),
    ("CAP_SYS_ADMIN", Capability::SysAdmin),
    ("CAP_SYS_BOOT", Capability::SysBoot),
    ("CAP_SYS_NICE", Capability::SysNice),
    ("CAP_SYS_RESOURCE", Capability::SysResource),
    ("CAP_SYS_TIME", Capability::SysTime),
    ("CAP_SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("CAP_MKNOD", Capability::Mknod),
    ("CAP_LEASE", Capability::Lease),
    ("CAP_AUDIT_WRITE", Capability::AuditWrite),
    ("CAP_AUDIT_CONTROL", Capability::AuditControl),
    ("CAP_SETFCAP", Capability::Setfcap),
    ("CAP_MAC_OVERRIDE", Capability::MacOverride),
    ("CAP_MAC_ADMIN", Capability::MacAdmin),
    ("CAP_SYSLOG", Capability::Syslog),
    ("CAP_WAKE_ALARM", Capability::WakeAlarm),
    ("CAP_BLOCK_SUSPEND", Capability::BlockSuspend),
    ("CAP_AUDIT_READ", Capability::AuditRead),
    ("CAP_PERFMON", Capability::Perfmon),
    ("CAP_BPF", Capability::Bpf),
    ("CAP_CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// What a container gets when nothing is asked for.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities, a bit for each as in `/proc/<pid>/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// All that this table knows.
    pub const KNOWN: CapSet = CapSet((1 << ALL.len()) - 1);

    /// The mask of a line such as `CapBnd:\t000001fffeffffff` of `/proc/<pid>/status`.
    pub fn from_status(status: &str, field: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        u64::from_str_radix(line.trim(), 16).ok().map(CapSet)
    }

    /// Of full names; unknown ones are left out.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        CapSet(names.into_iter().filter_map(bit).fold(0, |mask, bit| mask | bit))
    }

    /// By its full name.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    pub fn and(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    pub fn or(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }

    pub fn without(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Full names in the order of their numbers.
    pub fn names(self) -> Vec<&'static str> {
        self.rows().map(|(name, _)| *name).collect()
    }

    pub(super) fn to_oci(self) -> Capabilities {
        self.rows().map(|(_, capability)| *capability).collect()
    }

    fn rows(self) -> impl Iterator<Item = &'static (&'static str, Capability)> {
        ALL.iter()
            .enumerate()
            .filter(move |(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, row)| row)
    }
}

fn bit(name: &str) -> Option<u64> {
    ALL.iter().position(|(known, _)| *known == name).map(|place| 1 << place)
}

/// A list as a user writes it: any case, `CAP_` or not, `ALL` for all.
struct Asked {
    all: bool,
    named: CapSet,
}

fn parse(list: &[String], option: &str) -> Result<Asked> {
    let mut asked = Asked {
        all: false,
        named: CapSet::default(),
    };
    for text in list {
        let upper = text.trim().to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            asked.all = true;
            continue;
        }
        let name = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        let bit =
            bit(&name).ok_or_else(|| Error::invalid(format!("invalid {option}: unknown capability: \"{name}\"")))?;
        asked.named.0 |= bit;
    }
    Ok(asked)
}

/// The capabilities of a container, never more than `bounding`.
///
/// `ALL` and `--privileged` mean all that there are here, with a warning about those that are not; a capability that is
/// added by name and is not here is an error.
pub(super) fn resolve(host: &HostConfig, bounding: CapSet, warnings: &mut Vec<Warning>) -> Result<CapSet> {
    let add = parse(&host.cap_add, "CapAdd")?;
    let drop = parse(&host.cap_drop, "CapDrop")?;
    if host.privileged {
        warn_missing("--privileged", CapSet::KNOWN.without(bounding), warnings);
        return Ok(CapSet::KNOWN.and(bounding));
    }
    let missing = add.named.without(bounding);
    if !missing.is_empty() {
        return Err(Error::invalid(format!(
            "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \"{}\"",
            missing.names().join("\", \"")
        )));
    }
    if add.all {
        let wanted = CapSet::KNOWN.without(drop.named);
        warn_missing("--cap-add=ALL", wanted.without(bounding), warnings);
        return Ok(wanted.and(bounding));
    }
    if drop.all {
        return Ok(add.named);
    }
    let wanted = CapSet::of(DEFAULT).without(drop.named);
    warn_missing("the default set", wanted.without(bounding), warnings);
    Ok(wanted.and(bounding).or(add.named))
}

fn warn_missing(what: &str, missing: CapSet, warnings: &mut Vec<Warning>) {
    if !missing.is_empty() {
        warnings.push(format!(
            "{what} was given without {}: the daemon does not have it",
            missing.names().join(", ")
        ));
    }
}
