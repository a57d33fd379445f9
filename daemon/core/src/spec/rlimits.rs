//! Resource limits of processes, and the out-of-memory score.

use super::{HostFacts, SpecInput, Warning};
use crate::container::Ulimit;
use crate::{Error, Result};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

/// A pair of limits; `u64::MAX` = unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub soft: u64,
    pub hard: u64,
}

const TYPES: [(&str, PosixRlimitType); 15] = [
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

fn rlimit(ulimit: &Ulimit) -> Result<PosixRlimit> {
    let name = ulimit.name.to_ascii_lowercase();
    let (_, typ) = TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", ulimit.name)))?;
    let (soft, hard) = (value(ulimit, ulimit.soft)?, value(ulimit, ulimit.hard)?);
    if soft > hard {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            ulimit.soft, ulimit.hard
        )));
    }
    let rlimit = PosixRlimitBuilder::default().typ(*typ).soft(soft).hard(hard).build();
    Ok(rlimit.expect("every field has a default"))
}

fn value(ulimit: &Ulimit, value: i64) -> Result<u64> {
    match value {
        -1 => Ok(u64::MAX),
        0.. => Ok(value.unsigned_abs()),
        _ => Err(Error::invalid(format!("invalid ulimit value: {}={value}", ulimit.name))),
    }
}

/// Why the daemon could not set this limit, if so.
fn obstacle(ulimit: &Ulimit, rlimit: &PosixRlimit, facts: &HostFacts) -> Option<String> {
    let name = ulimit.name.to_ascii_lowercase();
    if name == "nofile" && rlimit.hard() > facts.nr_open {
        return Some(format!(
            "the kernel allows at most {} open files (fs.nr_open)",
            facts.nr_open
        ));
    }
    if facts.bounding.has("CAP_SYS_RESOURCE") {
        return None;
    }
    let own = facts.rlimits.get(&name)?.hard;
    (rlimit.hard() > own)
        .then(|| format!("the daemon's own hard limit is {own} and it lacks CAP_SYS_RESOURCE to raise it"))
}

/// The limits of a container: those asked for, over the daemon's defaults.
pub(super) fn build(
    input: &SpecInput<'_>,
    facts: &HostFacts,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Vec<PosixRlimit>>> {
    let mut all: Vec<PosixRlimit> = Vec::new();
    for ulimit in &input.host.ulimits {
        let limit = rlimit(ulimit)?;
        if let Some(why) = obstacle(ulimit, &limit, facts) {
            return Err(Error::invalid(format!(
                "ulimit {}={}:{} cannot be applied: {why}",
                ulimit.name, ulimit.soft, ulimit.hard
            )));
        }
        all.retain(|other| other.typ() != limit.typ());
        all.push(limit);
    }
    for ulimit in &input.defaults.ulimits {
        let limit = rlimit(ulimit)?;
        if all.iter().any(|other| other.typ() == limit.typ()) {
            continue;
        }
        match obstacle(ulimit, &limit, facts) {
            None => all.push(limit),
            Some(why) => warnings.push(format!("default ulimit {} was left out: {why}", ulimit.name)),
        }
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}

/// The score of a container's process: the one asked for, else 0, or the daemon's own if that is higher and cannot be
/// lowered.
pub(super) fn oom_score_adj(asked: Option<i32>, facts: &HostFacts, warnings: &mut Vec<Warning>) -> Result<i32> {
    let can_lower = facts.bounding.has("CAP_SYS_RESOURCE");
    match asked {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Error::invalid(format!(
            "Invalid value {score}, range for oom score adj is [-1000, 1000]"
        ))),
        Some(score) if score < facts.oom_score_adj && !can_lower => Err(Error::invalid(format!(
            "oom score adj {score} cannot be applied: the daemon's own is {} and it lacks CAP_SYS_RESOURCE to lower it",
            facts.oom_score_adj
        ))),
        Some(score) => Ok(score),
        None if facts.oom_score_adj > 0 && !can_lower => {
            warnings.push(format!(
                "the container runs with the daemon's oom score adj of {}: the daemon lacks CAP_SYS_RESOURCE to lower it",
                facts.oom_score_adj
            ));
            Ok(facts.oom_score_adj)
        }
        None => Ok(0),
    }
}
